"""The small change of a scan that changes most (Miyato et al. 2018, arXiv:1704.03976)."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def frozen_averages(net: nn.Module) -> Iterator[None]:
    """Batch norm in train mode still normalises by the batch, but does not remember it."""
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm3d) and m.track_running_stats]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True


def unit(d: Tensor) -> Tensor:
    """Every sample (B, ...) at length 1; one that is 0 stays 0."""
    return torch.nn.functional.normalize(d.flatten(1), dim=1).view_as(d)


def change(net: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    """1 - 2 Σ p q / (Σ p + Σ q), p of ``x`` and q ``target`` (B, C, ...), sums over all classes."""
    p = net(x).logits.float().softmax(1)
    return 1.0 - 2.0 * (p * target).sum() / (p.sum() + target.sum())


def adversarial_direction(
    net: nn.Module, x: Tensor, target: Tensor, length: float, generator: torch.Generator
) -> Tensor:
    """The direction (B, 1, X, Y, Z) in which ``change`` grows fastest, of length 1 a sample.

    It is taken ``length`` from ``x`` in a random direction: one step of the power iteration, in
    float32. No parameter gets a gradient; it works under ``torch.no_grad`` too.
    """
    net = getattr(net, "module", net)  # Fabric's wrapper forbids every backward pass but the loop's
    d = unit(torch.rand(x.shape, generator=generator, device=x.device, dtype=x.dtype) - 0.5)
    with torch.enable_grad(), torch.autocast(x.device.type, enabled=False):
        d.requires_grad_()
        return unit(torch.autograd.grad(change(net, x + length * d, target), d)[0])
