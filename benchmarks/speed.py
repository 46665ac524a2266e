"""Speed of the views and of every method, which have no peer: ``python benchmarks/speed.py
[precision|methods|explorer|training_view|pick ...]`` writes
benchmarks/results/speed-<what>-<machine>.csv.

Each value is the median of repeats, with the fastest and slowest beside it; nothing else should run
meanwhile.
"""

import argparse
import json
import os
import platform
import re
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import torch

RESULTS = Path(__file__).parent / "results"


def timed(work: Callable[[], object], repeats: int, warm_up: int = 1) -> dict[str, float]:
    for _ in range(warm_up):
        work()
    seconds = []
    for _ in range(repeats):
        begun = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begun)
    return {
        "median_s": float(np.median(seconds)),
        "min_s": min(seconds),
        "max_s": max(seconds),
        "repeats": repeats,
    }


def precision() -> list[dict]:
    """A labelled training step of the U-Net with 16 channels, depth 4, on 2 x 64^3, in fp32 and in
    bf16 autocast.
    """
    from ssltut.nets.build import build_net

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    net = build_net("unet", 1, 3, width=16, depth=4, dropout=0.15, norm="instance", seed=0).to(
        device
    )
    optimizer = torch.optim.Adam(net.parameters())
    x, y = (
        torch.randn(2, 1, 64, 64, 64, device=device),
        torch.randint(3, (2, 64, 64, 64), device=device),
    )

    def step(low: bool) -> None:
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=low):
            loss = torch.nn.functional.cross_entropy(net(x).logits.float(), y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return [
        {"what": f"U-Net step 2 x 64^3, {name}"} | timed(lambda low=low: step(low), 5)
        for name, low in (("fp32", False), ("bf16", True))
    ]


def methods() -> list[dict]:
    """One training step of every method at the class profile in one thread, each in a process of
    its own, and the memory it adds at its peak.
    """
    from ssltut.methods.registry import METHODS

    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as alone:
        return list(alone.map(step_of, METHODS))


def step_of(name: str) -> dict:
    """A step of the training loop: seconds, and MiB above what the process held before its scans
    and networks were there.
    """
    from step_cost import late_training

    from ssltut.synthetic.cohorts import synthetic_cohort
    from ssltut.training.config import profile_named

    torch.set_num_threads(1)
    profile = profile_named("class")
    cohort = synthetic_cohort(**replace(profile, cases=20).cohort)
    before = peak()
    training = late_training(name, cohort, profile.train)
    batch = training.draw(training.done)
    measured = timed(lambda: training.step(batch), 5)
    more = {"peak_mib": round(peak() - before)}
    return {"what": f"step of {name}, class profile"} | measured | more


def peak() -> float:
    """The most memory this process has held so far, in MiB."""
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return held / 2**20 if platform.system() == "Darwin" else held / 2**10


def in_kernel(name: str) -> list[dict]:
    """The rows of a function of benchmarks/views.py, run in a notebook's kernel."""
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(
        env=os.environ | {"SSLTUT_FRONTEND": "lab"}, extra_arguments=["--log-level=ERROR"]
    )
    code = f"""
%matplotlib inline
import json, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import views
print(json.dumps(views.{name}()))
"""
    printed = []

    def read(message: dict) -> None:
        content = message["content"]
        if message["msg_type"] == "error":
            raise RuntimeError("\n".join(content["traceback"]))
        if content.get("name") == "stdout":
            printed.append(content["text"])

    try:
        client.execute_interactive(code, output_hook=read, timeout=3600)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    return json.loads(next(line for line in "".join(printed).splitlines() if line.startswith("[{")))


def explorer() -> list[dict]:
    """A step of a slider through a scan (benchmarks/views.py)."""
    return in_kernel("explorer")


def training_view() -> list[dict]:
    """What the live view costs of a training (benchmarks/views.py)."""
    return in_kernel("training_view")


def pick() -> list[dict]:
    """A pick in the correspondence explorer (benchmarks/views.py)."""
    return in_kernel("pick")


def main() -> None:
    benches = {
        bench.__name__: bench for bench in (precision, methods, explorer, training_view, pick)
    }
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", nargs="*", choices=[*benches, []], default=list(benches))
    accelerator = (
        torch.cuda.get_device_name(0)
        if torch.cuda.is_available()
        else f"{platform.machine()}-{os.cpu_count()}-cores"
    )
    machine = re.sub(r"\W+", "-", accelerator).lower()
    RESULTS.mkdir(exist_ok=True)
    for name in parser.parse_args().what:
        amx = torch.cpu._is_amx_tile_supported()
        table = pd.DataFrame(benches[name]()).assign(
            machine=machine,
            amx=amx,
            torch=torch.__version__,
            command=f"python benchmarks/speed.py {name}",
        )
        print(
            table[
                [
                    "what",
                    "median_s",
                    "min_s",
                    "max_s",
                    *table.columns.intersection(["share", "peak_mib"]),
                ]
            ]
            .round(4)
            .to_string(index=False)
        )
        table.to_csv(RESULTS / f"speed-{name}-{machine}.csv", index=False)


if __name__ == "__main__":
    main()
