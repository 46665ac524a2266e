"""What a training step of a method costs: passes through networks, networks, memory, seconds.

The step is that of the training loop. ``results/costs.py`` measures every method with it.
"""

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
from torch import nn

from ssltut.data.cohort import Cohort
from ssltut.evaluation.record import COSTS
from ssltut.methods.registry import METHODS, make_method
from ssltut.training.config import TrainConfig
from ssltut.training.steps import Training, open_run

TINY = TrainConfig(steps=100, patch=(16, 16, 16), width=4, depth=2)
WHEN = 0.85  # the fraction of training at which every stage of every method has begun


def costs(
    cohort: Cohort,
    names: Sequence[str] = tuple(METHODS),
    config: TrainConfig = TINY,
    repeats: int = 3,
) -> pd.DataFrame:
    """The costs of a step in fp32 on this machine: a row for each method by its title, columns
    COSTS.
    """
    rows = {METHODS[name].title: cost(name, cohort, config, repeats) for name in names}
    return pd.DataFrame(rows).T


def late_training(name: str, cohort: Cohort, config: TrainConfig) -> Training:
    """A new run of a method in fp32 that stands where all of its stages have begun."""
    with tempfile.TemporaryDirectory() as folder:
        config = replace(config, precision="32-true")
        training = open_run(make_method(name), cohort, config, Path(folder), log=lambda line: None)
    training.done = round(WHEN * config.steps)
    return training


def cost(name: str, cohort: Cohort, config: TrainConfig, repeats: int) -> dict[str, float]:
    """One row of ``costs``: passes and memory of the last, seconds of the quickest of ``repeats``
    steps, after one that is not counted.

    Memory: all weights and buffers, and what the step keeps until its backward pass is done. A pass
    takes as many patches as the configuration gives a step; one of fewer counts its share.
    """
    training = late_training(name, cohort, config)
    patches: list[int] = []
    for role in training.method.networks:
        net = training.nets[role]
        inner = getattr(net, "module", net)  # trained networks are wrapped by Fabric
        inner.register_forward_pre_hook(lambda _, given: patches.append(len(given[0])))
    state = held(training.nets)
    seconds, kept = [], {}
    for _ in range(repeats + 1):
        patches.clear()
        kept = {}

        def keep(tensor: torch.Tensor, kept: dict[int, int] = kept) -> torch.Tensor:
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        batch = training.draw(training.done)
        begun = time.perf_counter()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            training.step(batch)
        seconds.append(time.perf_counter() - begun)
    memory = sum((kept | state).values()) / 2**20
    passes = sum(patches) / (config.labelled + config.unlabelled)
    row = (passes, len(training.method.networks), memory, min(seconds[1:]))
    return dict(zip(COSTS, row, strict=True))


def held(nets: Mapping[str, nn.Module]) -> dict[int, int]:
    """Bytes of every parameter and buffer, by where they lie."""
    tensors = [t for net in nets.values() for t in (*net.parameters(), *net.buffers())]
    return {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
