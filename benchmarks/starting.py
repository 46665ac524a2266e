"""What a user waits for first: the command line, and the first figure of notebook 01."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from turns import Row, summary

ROOT = Path(__file__).resolve().parents[1]
FIGURE = """
import matplotlib; matplotlib.use("agg")
import nibabel, numpy as np, pandas
from ssltut import profile_named, read_case, show, synthetic_cohort
from ssltut.data.crop_hips import crop_hips
from ssltut.exercises import check
from ssltut.io import public
from ssltut.synthetic.anatomy import Pathology
from ssltut.synthetic.hip import make_case
case = make_case(0, size=96, pathology=Pathology())
at = np.rint(np.argwhere(case.label > 0).mean(axis=0)).astype(int)
base = {"image": case.image, "spacing": case.spacing, "at": at}
show.grid({w: base | {"window": w} for w in ("bone", "soft", (488, 3024))}, columns=3, alt="a hip")
"""
CLI = "from ssltut.cli.main import main; main(['{}'])"


def process(code: str) -> Callable[[], tuple[float, float]]:
    """CPU and wall milliseconds of a Python process."""

    def run() -> tuple[float, float]:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        timed = f"import time; t = time.perf_counter()\n{code}\nw = time.perf_counter() - t"
        timed += "\nimport sys; print(w, file=sys.stderr)"
        command = [sys.executable, "-c", timed]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return 1e3 * cpu, 1e3 * float(done.stderr.split()[-1])

    return run


def rows() -> list[Row]:
    codes = {
        "import ssltut": ("import ssltut", "0.3 s"),
        "ssltut methods": (CLI.format("methods"), "1 s"),
        "ssltut doctor": (CLI.format("doctor"), "-"),
        "first figure of notebook 01": (FIGURE, "4 s"),
    }
    works = {name: process(code) for name, (code, _) in codes.items()}
    works["python alone"], works["import torch"] = process("pass"), process("import torch")
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
    for _ in range(4):
        for name, work in works.items():
            spent[name].append(work())
    times = {name: summary(np.array(values[1:])) for name, values in spent.items()}
    others = {name: times[name] for name in ("python alone", "import torch")}
    return [Row(name, goal, {name: times[name]} | others) for name, (_, goal) in codes.items()]
