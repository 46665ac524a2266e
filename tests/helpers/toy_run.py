"""Runs on the toy cohort, and whether two networks have the same weights."""

from pathlib import Path
from typing import Any

import torch
from torch import nn
from toy import SMALL, toy_cohort

from ssltut.data.cohort import Cohort
from ssltut.methods.registry import make_method
from ssltut.training.config import TrainConfig
from ssltut.training.loop import train
from ssltut.training.run import Run


def quiet(line: str) -> None:
    pass


def run_of(
    name: str = "labels_only",
    folder: Path | None = None,
    config: TrainConfig = SMALL,
    cohort: Cohort | None = None,
    **options: Any,
) -> Run:
    return train(make_method(name), cohort or toy_cohort(), config, folder, log=quiet, **options)


def same_weights(a: nn.Module, b: nn.Module) -> bool:
    other = b.state_dict()
    return all(torch.equal(value, other[key]) for key, value in a.state_dict().items())
