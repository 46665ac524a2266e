"""Strong views of images; every draw comes from the generator given."""

from dataclasses import replace

import torch
from torch import Tensor

from ssltut.data.views import Augmentation
from ssltut.methods.parts.masks import box_mask


def strong_view(
    x: Tensor, generator: torch.Generator, strength: float = 0.5, cutout: float = 1 / 3
) -> Tensor:
    """Other contrast and brightness, and a box set to the mean of the scans; no voxel moves.

    The sides of the box are ``cutout`` times those of the patch.
    """
    drawn = Augmentation.draw(len(x), generator, strength)
    jittered = replace(drawn, mirror=torch.zeros_like(drawn.mirror)).apply(x)
    return jittered * box_mask(x.shape[2:], cutout, generator)


def uniform(generator: torch.Generator, shape: tuple[int, ...], low: float, high: float) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator, device=generator.device)
