"""Strong views of images, and boxes to cut and paste; draws come from the generator given."""

from dataclasses import replace

import torch
from torch import Tensor

from ssltut.data.views import Augmentation


def strong_view(x: Tensor, generator: torch.Generator) -> Tensor:
    """Other contrast and brightness, and a box set to the mean of the scans; no voxel moves."""
    drawn = Augmentation.draw(len(x), generator, 0.5)
    jittered = replace(drawn, mirror=torch.zeros_like(drawn.mirror)).apply(x)
    return jittered * box_mask(x.shape[2:], 1 / 3, generator)


def uniform(generator: torch.Generator, shape: tuple[int, ...], low: float, high: float) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator, device=generator.device)


def box_mask(size: tuple[int, ...], ratio: float, generator: torch.Generator) -> Tensor:
    """(X, Y, Z) bool, False in one box anywhere with sides of ``ratio`` times ``size``, or 1."""
    mask = torch.ones(tuple(size), dtype=torch.bool, device=generator.device)
    draws = torch.rand(len(size), generator=generator, device=generator.device).tolist()
    box = []
    for draw, side in zip(draws, size, strict=True):
        length = max(1, int(side * ratio))
        start = int(draw * (side - length + 1))
        box.append(slice(start, start + length))
    mask[tuple(box)] = False
    return mask


def halves(x: Tensor) -> tuple[Tensor, Tensor]:
    """Two halves of a batch; the middle item of an odd one is in both (and pastes into itself)."""
    return x[: (len(x) + 1) // 2], x[len(x) // 2 :]
