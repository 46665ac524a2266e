"""Steps per second of training, of one source tree or of several in turns.

``python benchmarks/step_speed.py before=../old now=.`` writes
benchmarks/results/steps-<machine>.csv. Each tree trains in a process of its own; they take turns,
so that other work on the machine slows all of them alike. CPU seconds tell more than wall seconds
where something else runs. One row a tree, size, method and number of threads; a step includes
drawing its batch.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

METHODS = ("labels_only", "ua_mt", "embedding_matching", "medl")
STEPS = {"bench": 2, "class": 1}  # a turn
WHEN = 0.85  # the fraction of training at which every stage of every method has begun


def serve(size: str) -> None:
    """Steps of each method that standard input names; prints seconds a step: CPU, and the clock."""
    import torch

    from ssltut.methods.registry import make_method
    from ssltut.synthetic.cohorts import synthetic_cohort
    from ssltut.training.config import profile_named
    from ssltut.training.steps import Training, open_run

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    side = 48 if size == "bench" else 64
    cohort = synthetic_cohort(n=8, size=side, labelled=2, validation=1, test=1)
    config = replace(profile_named("class").train, precision="32-true")
    if size == "bench":  # the sizes of results/synthetic_bench.py
        config = replace(config, width=4, patch=(24, 24, 24), steps=600, lr=5e-3)
    trainings: dict[str, Training] = {}
    for line in sys.stdin:
        name = line.strip()
        if name not in trainings:
            with tempfile.TemporaryDirectory() as folder:
                trainings[name] = open_run(make_method(name), cohort, config, Path(folder))
        training = trainings[name]
        training.done = round(WHEN * config.steps)
        cpu, wall = time.process_time(), time.perf_counter()
        for _ in range(STEPS[size]):
            training.step(training.draw(training.done))
        seconds = time.process_time() - cpu, time.perf_counter() - wall
        print(json.dumps([s / STEPS[size] for s in seconds]), flush=True)


def measure(
    trees: dict[str, Path], methods: Sequence[str], size: str, threads: int, turns: int
) -> list[dict[str, Any]]:
    """A row for each tree and method: medians over ``turns``, after one that is not counted."""
    import numpy as np

    workers = {}
    for tree, path in trees.items():
        environment = os.environ | {"PYTHONPATH": str(path), "OMP_NUM_THREADS": str(threads)}
        workers[tree] = subprocess.Popen(
            [sys.executable, __file__, "--serve", size],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
    spent: dict[tuple[str, str], list[list[float]]] = {}
    for _ in range(turns + 1):
        for name in methods:
            for tree, worker in workers.items():
                assert worker.stdin is not None
                assert worker.stdout is not None
                print(name, file=worker.stdin, flush=True)
                spent.setdefault((tree, name), []).append(json.loads(worker.stdout.readline()))
    for worker in workers.values():
        worker.communicate()
    rows = []
    for (tree, name), seconds in spent.items():
        cpu, wall = np.median(seconds[1:], axis=0)
        row = {"tree": tree, "size": size, "method": name, "threads": threads, "turns": turns}
        rows.append(row | {"cpu_s": cpu, "wall_s": wall, "steps_per_cpu_s": 1 / cpu})
        print(f"{tree:8} {size:6} {name:20} {threads} threads: CPU {cpu:.3f} s, {wall:.3f} s")
    return rows


def main() -> None:
    import pandas as pd
    import torch

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("trees", nargs="*", default=["now=."], help="a name and a path: now=.")
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--sizes", nargs="+", choices=STEPS, default=list(STEPS))
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--serve", choices=STEPS)
    args = parser.parse_args()
    if args.serve:
        serve(args.serve)
        return
    trees = {name: Path(path).resolve() for name, path in (t.split("=", 1) for t in args.trees)}
    rows = []
    for threads in args.threads:
        for size in args.sizes:
            rows += measure(trees, args.methods, size, threads, args.turns)
    machine = f"{platform.machine()}-{os.cpu_count()}-cores"
    table = pd.DataFrame(rows).round(4)
    table = table.assign(cpu=torch.backends.cpu.get_cpu_capability(), torch=torch.__version__)
    results = Path(__file__).parent / "results"
    table.to_csv(results / f"steps-{machine}.csv", index=False)


if __name__ == "__main__":
    main()
