"""Views: drawn, replayable perturbations of a batch, applied as one batched operation on the batch's device.

Drawing is separate from applying: the same drawn view gives the same voxels again, so it can be shown and replayed.
"""

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor


def derive_seed(seed: int, *keys: object) -> int:
    """A 63-bit seed from ``seed`` and any keys, the same on every machine: each random draw has its own stream and none disturbs another."""
    digest = hashlib.sha256(repr((seed, *keys)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator_for(device: torch.device | str, seed: int, *keys: object) -> torch.Generator:
    return torch.Generator(device).manual_seed(derive_seed(seed, *keys))


@dataclass(frozen=True)
class Noise:
    """Additive Gaussian noise, the only weak / strong perturbation of Xie et al. 2024. sigma is in units of the normalised image."""

    sigma: float
    seed: int

    def __call__(self, x: Tensor) -> Tensor:
        if self.sigma == 0.0:
            return x
        noise = torch.randn(x.shape, generator=generator_for(x.device, self.seed), device=x.device, dtype=x.dtype)
        return x + self.sigma * noise


@dataclass(frozen=True)
class Augmentation:
    """What labelled and unlabelled patches get alike before any weak or strong view: a left-right mirror, contrast and brightness.

    mirror (B,) bool along axis 0 (patient left-right); contrast (B,) factor; shift (B,) in units of the normalised image.
    The paper states no spatial augmentation; this one is ours and is the same for every method.
    """

    mirror: Tensor
    contrast: Tensor
    shift: Tensor

    @staticmethod
    def draw(n: int, generator: torch.Generator, strength: float = 0.1) -> "Augmentation":
        u = torch.rand(3, n, generator=generator, device=generator.device)
        return Augmentation(u[0] < 0.5, 1.0 + strength * (2.0 * u[1] - 1.0), strength * (2.0 * u[2] - 1.0))

    def apply(self, x: Tensor) -> Tensor:
        """Images (B, 1, X, Y, Z)."""
        return self.apply_label(x) * self.contrast.view(-1, 1, 1, 1, 1) + self.shift.view(-1, 1, 1, 1, 1)

    def apply_label(self, y: Tensor) -> Tensor:
        """Labels (B, X, Y, Z), or any array whose axis -3 runs left-right: only the mirror moves voxels."""
        mirror = self.mirror.view(-1, *[1] * (y.ndim - 1))
        return torch.where(mirror, y.flip(-3), y)
