"""A tiny cohort for tests: noisy blocks of three classes; and tables as views get them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ssltut.data.batch import Batch, PatchLocation
from ssltut.data.case import Case
from ssltut.data.cohort import Cohort, Split
from ssltut.data.labels import HIP
from ssltut.data.patches import Intensity
from ssltut.methods.registry import make_method
from ssltut.synthetic.cohorts import synthetic_cohort
from ssltut.training.callbacks import Callback
from ssltut.training.config import TrainConfig
from ssltut.training.loop import train
from ssltut.training.networks import build_nets
from ssltut.training.run import Run
from ssltut.training.windows import validation_scores

SMALL = TrainConfig(steps=4, patch=(8, 8, 8), width=4, depth=2, validate_every=2, lr=1e-2)
ON_HIPS = replace(SMALL, steps=30, validate_every=30, norm="instance", lr=6e-3, patch=(16, 16, 16))
TABLE = pd.DataFrame(
    [(m, "dice", v, v - 0.1, v + 0.1) for m, v in (("low", 0.5), ("ours", 0.7), ("high", 0.9))],
    columns=["method", "metric", "mean", "low", "high"],
)
STEPS = pd.concat(
    [
        TABLE.assign(
            budget=b,
            mean=TABLE["mean"] + b / 100,
            part=b // 2,
            easiest=float(b),
            hardest=b + 1.5,
            cases=b,
        )
        for b in (2, 4, 8)
    ]
)


def toy_case(i: int, size: int = 16) -> Case:
    rng = np.random.default_rng(i)
    label = np.zeros((size, size, size), np.uint8)
    a, b = rng.integers(1, 4, 2)
    label[a : a + 6, 2:12, 2:12] = 1
    label[a + 7 : a + 12, b : b + 8, 3:13] = 2
    image = (label * 300.0 + rng.normal(0, 60, label.shape) - 50).astype(np.int16)
    return Case(
        f"case{i}",
        f"patient{i}",
        image,
        label,
        np.diag([2.0, 2.0, 2.0, 1.0]),
        {"difficulty": float(i)},
    )


def toy_cohort(n: int = 8, labelled: int = 2) -> Cohort:
    cases = [toy_case(i) for i in range(n)]
    ids = [case.id for case in cases]
    return Cohort.from_cases(
        cases,
        Split(tuple(ids[:labelled]), tuple(ids[labelled:-3]), (ids[-3],), tuple(ids[-2:])),
        HIP,
        "toy",
        "CT",
    )


def hips() -> Cohort:
    """Eight coarse synthetic hips, made once a session."""
    return synthetic_cohort(8, size=32, labelled=2, validation=1, test=1)


def make_batch(n_classes: int = 3, size: int = 8, empty: bool = False, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    y = torch.zeros(2, size, size, size, dtype=torch.long)
    if not empty:
        y[:, 1:5, 1:6, 1:6] = 1
        if n_classes > 2:
            y[:, 5:8, 2:6, 2:6] = 2
    x = y[:, None].float() + 0.3 * torch.randn(2, 1, size, size, size, generator=generator)
    places = ("a", "left", 0.2), ("b", "right", 0.7), ("c", "left", 0.7), ("a", "right", 0.3)
    a, b, c, d = (PatchLocation(patient, side, (0.5, 0.5, z)) for patient, side, z in places)
    return Batch(
        x,
        y,
        torch.randn(2, 1, size, size, size, generator=generator),
        ("a", "b"),
        ("c", "d"),
        n_classes,
        seed,
        (a, b),
        (c, d),
    )


class EachStep(Callback):
    """A callback that calls ``function`` after every step."""

    def __init__(self, function: Callable[..., None]) -> None:
        self.on_step = function


def total(terms) -> torch.Tensor:
    return sum(t.weight * t.value for t in terms.values())


def trained_on_hips(
    name: str, folder: Path, cohort: Cohort | None = None, **changes
) -> tuple[float, float, Run]:
    """A run on coarse synthetic hips: its validation Dice before and after training, and itself."""
    method, cohort, config = make_method(name), cohort or hips(), replace(ON_HIPS, **changes)
    nets = build_nets(method, config, cohort.table.n_classes)
    cases = [*cohort.training("labelled"), *cohort.training("unlabelled")]
    for net in nets.values():
        net.eval()
    before = validation_scores(
        method, nets, cohort.validation(), Intensity.of(cases), config, cohort.table
    )["dice"]
    run = train(method, cohort, config, folder, log=lambda line: None)
    return before, run.history["validation dice"].iloc[-1], run
