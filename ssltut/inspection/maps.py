"""Uncertainty and embeddings of whole scans, as a trained network gives them."""

from itertools import count
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ssltut.data.case import Case
from ssltut.data.views import Noise
from ssltut.errors import ConfigError
from ssltut.methods.uncertainty import Classes, mc_dropout
from ssltut.seeding import derive_seed
from ssltut.training.run import Run
from ssltut.training.windows import sliding_window


class UncertaintyMap(NamedTuple):
    """Mean ``probabilities`` (C, X, Y, Z) and entropies in nats (X, Y, Z) of a scan, float32."""

    probabilities: np.ndarray
    mean_of_entropies: np.ndarray
    entropy_of_mean: np.ndarray


def uncertainty_map(
    run: Run,
    case: Case,
    *,
    role: str = "student",
    passes: int = 5,
    seed: int = 0,
    classes: Classes = "all",
) -> UncertaintyMap:
    """MC-dropout uncertainty of a scan by sliding window, noise 0.01 as in Xie et al. 2024.

    The same for one ``seed``; entropies as ``class_entropy``. ConfigError for an unknown ``role``.
    """
    net, windows = net_of(run, role), count(1)

    def forward(x: Tensor) -> Tensor:
        window = next(windows)
        noise = [Noise(0.01, derive_seed(seed, window, m)) for m in range(passes)]
        found = mc_dropout(net, (view(x) for view in noise), classes)
        entropies = found.mean_of_entropies[:, None], found.entropy_of_mean[:, None]
        return torch.cat([found.mean, *entropies], dim=1)

    image = run.intensity.normalise(case.image)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "dropout"))
        out = sliding_window(forward, image, run.config.patch, device_of(net)).numpy()
    return UncertaintyMap(out[:-2], out[-2], out[-1])


def embedding_map(run: Run, case: Case, *, role: str = "student") -> Tensor:
    """Embeddings (D, X, Y, Z) float32 of a scan. Raises ConfigError for an unknown ``role``."""
    net, image = net_of(run, role), run.intensity.normalise(case.image)

    def forward(x: Tensor) -> Tensor:
        return net(x).feats["embedding"]

    return sliding_window(forward, image, run.config.patch, device_of(net))


def net_of(run: Run, role: str) -> nn.Module:
    """A network of a run, in eval mode. Raises ConfigError for an unknown ``role``."""
    if role not in run.method.networks:
        fix = f"use one of {', '.join(run.method.networks)}"
        raise ConfigError(f"the run has no network {role!r}", where=run.folder, fix=fix)
    return run.nets[role].eval()


def device_of(net: nn.Module) -> torch.device:
    return next(net.parameters()).device
