"""Perturbations of images, and of an encoder's maps (B, D, X, Y, Z); every draw comes from the
generator given.
"""

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from ssltut.data.views import Augmentation
from ssltut.methods.parts.masks import box_mask


def strong_view(
    x: Tensor, generator: torch.Generator, strength: float = 0.5, cutout: float = 1 / 3
) -> Tensor:
    """Other contrast and brightness, and a box of ``cutout`` times the sides set to the mean of the
    scans; no voxel moves.
    """
    drawn = Augmentation.draw(len(x), generator, strength)
    jittered = replace(drawn, mirror=torch.zeros_like(drawn.mirror)).apply(x)
    return jittered * box_mask(x.shape[2:], cutout, generator)


def photometric(x: Tensor, generator: torch.Generator, chance: float = 0.2) -> Tensor:
    """A power of 1.2 to 1.8 over the range of the patch, a shift of up to 0.1, a blur of 3 x 3
    voxels in the plane and noise of 0.05, each
    with probability ``chance`` in every patch (B, 1, X, Y, Z).
    """
    one = (len(x), 1, 1, 1, 1)
    gamma, shift, blur, noise = (uniform(generator, one, 0.0, 1.0) < chance for _ in range(4))
    low, high = x.amin((1, 2, 3, 4), keepdim=True), x.amax((1, 2, 3, 4), keepdim=True)
    size = (high - low).clamp(min=1e-6)
    x = torch.where(
        gamma,
        low + size * ((x - low) / size).clamp(0.0, 1.0) ** uniform(generator, one, 1.2, 1.8),
        x,
    )
    x = torch.where(shift, x + uniform(generator, one, -0.1, 0.1), x)
    x = torch.where(blur, F.avg_pool3d(x, (3, 3, 1), 1, (1, 1, 0), count_include_pad=False), x)
    return torch.where(
        noise, x + 0.05 * torch.randn(x.shape, generator=generator, device=x.device), x
    )


def uniform(generator: torch.Generator, shape: tuple[int, ...], low: float, high: float) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator, device=generator.device)


def feature_noise(f: Tensor, logits: Tensor, generator: torch.Generator) -> Tensor:
    """f + f N, N uniform in [-0.3, 0.3]."""
    return f * (1.0 + uniform(generator, f.shape, -0.3, 0.3)).to(f.dtype)


def feature_drop(f: Tensor, logits: Tensor, generator: torch.Generator) -> Tensor:
    """The most active voxels go: those whose mean over channels exceeds a share U(0.7, 0.9) of the
    largest.
    """
    activity = f.mean(1, keepdim=True)
    limit = uniform(generator, (len(f), 1, 1, 1, 1), 0.7, 0.9) * activity.amax(
        (2, 3, 4), keepdim=True
    )
    return f * (activity < limit)


def channel_dropout(f: Tensor, logits: Tensor, generator: torch.Generator) -> Tensor:
    """Half of the channels go, the others count double."""
    return f * (2.0 * (uniform(generator, (*f.shape[:2], 1, 1, 1), 0.0, 1.0) < 0.5)).to(f.dtype)


def predicted(f: Tensor, logits: Tensor) -> Tensor:
    """Where the main output sees any foreground, at the resolution of ``f``."""
    return F.interpolate(
        (logits.argmax(1, keepdim=True) > 0).to(f.dtype), f.shape[2:], mode="nearest"
    )


def hide_objects(f: Tensor, logits: Tensor, generator: torch.Generator) -> Tensor:
    return f * (1.0 - predicted(f, logits))


def hide_context(f: Tensor, logits: Tensor, generator: torch.Generator) -> Tensor:
    return f * predicted(f, logits)
