"""Ours and its peers in turns in one process: CPU time and wall time, medians and spread.

Other work on the machine slows all of them alike, and CPU time hardly at all. Trust ratios to about
a tenth.
"""

import importlib
import json
import os
import platform
import re
import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("torch", "numpy", "scipy", "nibabel", "monai", "torchio", "faiss-cpu", "isal")
PACKAGES += ("surface-distance", "scikit-image")


@dataclass
class Row:
    """One line of the table. ``timings`` are of all contestants, ours first, in milliseconds."""

    what: str
    goal: str
    timings: dict[str, dict[str, float]]
    skipped: list[str] = field(default_factory=list)  # peers that are not installed
    notes: dict[str, Any] = field(default_factory=dict)  # equal results, memory, exponents

    def ratios(self) -> dict[str, float]:
        """CPU time of ours as a share of that of each other contestant."""
        first, *others = self.timings
        ours = self.timings[first]["cpu"]
        return {name: ours / self.timings[name]["cpu"] for name in others}


def in_turns(
    contestants: Mapping[str, Callable[[], object]], rounds: int = 7
) -> dict[str, dict[str, float]]:
    """Median, least and most milliseconds of each, after a round that is not counted."""
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
    for _ in range(rounds + 1):
        for name, work in contestants.items():
            cpu, wall = time.process_time(), time.perf_counter()
            work()
            seconds = time.process_time() - cpu, time.perf_counter() - wall
            spent[name].append((1e3 * seconds[0], 1e3 * seconds[1]))
    return {name: summary(np.array(values[1:])) for name, values in spent.items()}


def summary(times: np.ndarray) -> dict[str, float]:
    """Of times (rounds, 2), CPU and wall."""
    cpu, wall = times.T
    numbers = {"cpu": np.median(cpu), "cpu_least": cpu.min(), "cpu_most": cpu.max()}
    numbers |= {"wall": np.median(wall), "wall_least": wall.min(), "wall_most": wall.max()}
    return {name: round(float(value), 3) for name, value in numbers.items()} | {"rounds": len(cpu)}


def peer(name: str) -> ModuleType | None:
    """A peer's module, or None where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def peak() -> float:
    """The most memory this process has held so far, in MiB."""
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return held / 2**20 if platform.system() == "Darwin" else held / 2**10


def machine() -> dict[str, Any]:
    """What runs here, and how busy it is."""
    import torch

    cpu = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        names = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
        cpu = names[0] if names else cpu
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "amx": torch.cpu._is_amx_tile_supported(),
        "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none",
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "versions": {name: found for name in PACKAGES if (found := installed(name))},
    }


def installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def record(name: str, rows: list[Row]) -> None:
    """Write benchmarks/results/bench-NAME.json."""
    content = {"machine": machine(), "rows": [asdict(row) for row in rows]}
    text = json.dumps(content, indent=1, ensure_ascii=False)
    (RESULTS / f"bench-{name}.json").write_text(text + "\n", encoding="utf-8")
