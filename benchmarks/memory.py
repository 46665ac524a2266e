"""Is the forecast of memory right? What training, prediction and resampling take, beside it.

``python benchmarks/memory.py`` prints the table of docs/speed.md. Each measurement is a process of
its own, which has done something small before; what it adds to its most memory is compared.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import torch
from turns import peak

from ssltut.data.case import Case
from ssltut.data.patches import Intensity
from ssltut.data.resample import bytes_of_resampling, resample
from ssltut.methods.registry import make_method
from ssltut.synthetic.cohorts import synthetic_cohort
from ssltut.training.config import profile_named
from ssltut.training.memory import bytes_of_prediction, bytes_of_training
from ssltut.training.networks import build_nets
from ssltut.training.steps import open_run
from ssltut.training.windows import most_probable, predict_probabilities

CLASS = replace(profile_named("class").train, precision="32-true", steps=4)
MIB = 2**20
Pair = tuple[float, float]  # forecast and taken, in MiB
STEPS = [
    ("labels_only", "unet", 8, 32),
    ("ua_mt", "unet", 8, 32),
    ("embedding_matching", "unet", 8, 32),
    ("medl", "unet", 8, 32),
    ("labels_only", "vnet", 8, 32),
    ("labels_only", "unet", 16, 48),
]
SCANS = [(160, 4, 32, True), (160, 4, 32, False), (224, 4, 32, True), (160, 8, 48, True)]


def cube(side: int, labelled: bool = False) -> Case:
    image = np.random.default_rng(0).integers(-1000, 2000, (side,) * 3, np.int16)
    label = (image > 500).astype(np.uint8) if labelled else None
    return Case("cube", "cube", image, label, np.eye(4))


def of_a_step(name: str, arch: str, width: int, side: int) -> Pair:
    """The pools of six small scans and two steps."""
    cohort = synthetic_cohort(6, seed=1, size=48, labelled=2, test=1)
    cases = cohort.training("labelled") + cohort.training("unlabelled")
    config = replace(CLASS, width=width, patch=(side,) * 3, arch=arch)
    method = make_method(name)
    small = replace(config, patch=(16, 16, 16), width=2)
    warm = open_run(method, cohort, small, Path(mkdtemp()), log=lambda line: None)
    warm.step(warm.draw(0))
    forecast = bytes_of_training(method, build_nets(method, config, 3), config, cases)
    before = peak()
    training = open_run(method, cohort, config, Path(mkdtemp()), log=lambda line: None)
    for step in range(2):
        training.step(training.draw(step))
    return forecast / MIB, peak() - before


def of_a_prediction(side: int, width: int, patch: int, labels: bool) -> Pair:
    config = replace(CLASS, width=width, patch=(patch,) * 3)
    method = make_method("labels_only")
    nets = build_nets(method, config, 3)
    keep = most_probable if labels else torch.Tensor.clone

    def predict(case: Case, size: int) -> None:
        given = method, nets, case, Intensity(0, 500), (size,) * 3
        predict_probabilities(*given, keep=keep)

    case = cube(side)
    predict(cube(20), 16)
    net = next(iter(nets.values()))
    forecast = bytes_of_prediction(net, case.image.shape, 3, config.patch, labels=labels)
    before = peak()
    predict(case, patch)
    return forecast / MIB, peak() - before


def of_resampling(side: int, spacing: float) -> Pair:
    case = cube(side, labelled=True)
    resample(cube(20, labelled=True), (2.0,) * 3, 2)
    before = peak()
    new = resample(case, (spacing,) * 3, 2)
    return bytes_of_resampling(case, new.image.shape) / MIB, peak() - before


def jobs() -> Iterator[tuple[str, Callable[..., Pair], tuple[Any, ...]]]:
    """What is measured, by which function, and what that is given."""
    for name, arch, width, side in STEPS:
        what = f"training {name}, {arch} of {width}, patches of {side}³"
        yield what, of_a_step, (name, arch, width, side)
    for side, width, patch, labels in SCANS:
        kind = "labels" if labels else "probabilities"
        what = f"{kind} of {side}³, unet of {width}, windows of {patch}³"
        yield what, of_a_prediction, (side, width, patch, labels)
    for side, spacing in ((160, 0.8), (224, 1.5)):
        what = f"resampling {side}³ from 1 to {spacing:g} mm, with labels"
        yield what, of_resampling, (side, spacing)


def main() -> None:
    print("| what | forecast, MiB | taken, MiB | forecast / taken |\n|---|---|---|---|")
    alone = {"mp_context": get_context("spawn"), "max_tasks_per_child": 1}
    with ProcessPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,), **alone) as pool:
        for what, work, given in jobs():
            forecast, taken = pool.submit(work, *given).result()
            print(f"| {what} | {forecast:.0f} | {taken:.0f} | {forecast / taken:.2f} |", flush=True)


if __name__ == "__main__":
    main()
