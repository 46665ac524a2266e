"""One step of a method that can be repeated, for tests of its equations."""

import math
from dataclasses import replace

import torch
from torch import nn
from toy import SMALL, make_batch

from ssltut.data.batch import Batch
from ssltut.methods.contract import PARTS, Method, Progress, Terms
from ssltut.methods.registry import make_method
from ssltut.training.config import TrainConfig
from ssltut.training.networks import build_nets

# No draw and no memory of earlier patches: a pass can be repeated.
STILL = replace(SMALL, dropout=0.0, norm="instance")
# Dropout draws and batches have their own statistics: a network in the wrong mode is noticed.
NOISY = replace(SMALL, dropout=0.3, norm="batch")
HALF = Progress(50, 100)


def step(name, options=None, config=STILL, n_classes=3, progress=HALF):
    """The terms of one step without noise, beside the networks and the batch they came from."""
    method = make_method(name, {"sigma_student": 0.0} | (options or {}))
    batch = make_batch(n_classes)
    nets = build_nets(method, config, n_classes)
    return method.losses(batch, nets, progress), nets, batch


def noisy_step(
    method: Method,
    config: TrainConfig = NOISY,
    n_classes: int = 3,
    progress: Progress = HALF,
    size: int = 8,
) -> tuple[Terms, dict[str, nn.Module], Batch]:
    """One step with all of its draws, which the next pass through the networks repeats.

    Networks that follow others stand elsewhere than these.
    """
    batch, nets = make_batch(n_classes, size), build_nets(method, config, n_classes)
    torch.manual_seed(1)
    for role, spec in method.networks.items():
        for value in nets[role].state_dict().values() if spec.ema_of else ():
            if value.is_floating_point():
                value.mul_(1.0 + 0.3 * torch.rand_like(value))
    torch.manual_seed(0)
    terms = method.losses(batch, nets, progress)
    torch.manual_seed(0)
    return terms, nets, batch


def seen_by_student(batch: Batch, sigma: float = 0.02) -> torch.Tensor:
    """All patches of a step under the noise of a trained network."""
    parts = zip(PARTS, (batch.x_l, batch.unlabelled), strict=True)
    return torch.cat([batch.noise(sigma, "student", part)(x) for part, x in parts])


def rise(r):
    return math.exp(-5 * (1 - min(r, 1)) ** 2)
