"""Views: drawn, replayable perturbations of a batch, applied as one batched operation on the
batch's device.

Drawing is separate from applying: the same drawn view gives the same voxels again, so it can be
shown and replayed.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ssltut.seeding import generator_for


@dataclass(frozen=True)
class Noise:
    """Additive Gaussian noise, the only weak / strong perturbation of Xie et al. 2024. sigma is in
    units of the normalised image.
    """

    sigma: float
    seed: int

    def __call__(self, x: Tensor) -> Tensor:
        if self.sigma == 0.0:
            return x
        noise = torch.randn(
            x.shape, generator=generator_for(x.device, self.seed), device=x.device, dtype=x.dtype
        )
        return x + self.sigma * noise


@dataclass(frozen=True)
class Augmentation:
    """What labelled and unlabelled patches get alike before any weak or strong view: a left-right
    mirror, contrast and brightness.

    mirror (B,) bool along axis 0 (patient left-right); contrast (B,) factor; shift (B,) in units of
    the normalised image. The paper states no spatial augmentation; this one is ours and is the same
    for every method.
    """

    mirror: Tensor
    contrast: Tensor
    shift: Tensor

    @staticmethod
    def draw(n: int, generator: torch.Generator, strength: float = 0.1) -> "Augmentation":
        u = torch.rand(3, n, generator=generator, device=generator.device)
        return Augmentation(
            u[0] < 0.5, 1.0 + strength * (2.0 * u[1] - 1.0), strength * (2.0 * u[2] - 1.0)
        )

    def apply(self, x: Tensor) -> Tensor:
        """Images (B, 1, X, Y, Z)."""
        return self.apply_label(x) * self.contrast.view(-1, 1, 1, 1, 1) + self.shift.view(
            -1, 1, 1, 1, 1
        )

    def apply_label(self, y: Tensor) -> Tensor:
        """Labels (B, X, Y, Z), or any array whose axis -3 runs left-right: only the mirror moves
        voxels.
        """
        mirror = self.mirror.view(-1, *[1] * (y.ndim - 1))
        return torch.where(mirror, y.flip(-3), y)


@dataclass(frozen=True)
class Randomisation:
    """Domain randomisation: shapes and intensities drawn wider than they are, so that real scans
    lie among them.

    Tobin et al. 2017, arXiv:1703.06907, for the idea; Billot et al. 2023, arXiv:2107.09559, for
    medical images. Ranges are ours, at strength 1: turns of 17 degrees and sizes of 0.8 to 1.25
    about each axis, bends of a 4^3 grid by 2 voxels, contrast 0.75 to 1.25, brightness 0.12, noise
    0.2, smoothing by (b, 1 - 2b, b) with b from -0.12, which sharpens, to 0.25.
    matrix (B, 3, 3) and bend (B, 3, 4, 4, 4) in voxels; contrast, shift, sigma, blur (B,); seed of
    the noise.
    """

    matrix: Tensor
    bend: Tensor
    contrast: Tensor
    shift: Tensor
    sigma: Tensor
    blur: Tensor
    seed: int

    @staticmethod
    def draw(n: int, generator: torch.Generator, strength: float = 1.0) -> "Randomisation":
        device = generator.device
        u = strength * (2.0 * torch.rand(n, 8, generator=generator, device=device) - 1.0)
        bend = strength * 2.0 * torch.randn(n, 3, 4, 4, 4, generator=generator, device=device)
        positive = torch.rand(2, n, generator=generator, device=device) * strength
        angles, zero = 0.3 * u[:, :3], torch.zeros(n, device=device)
        x, y, z = angles.unbind(1)
        turn = torch.linalg.matrix_exp(
            torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], 1).view(n, 3, 3)
        )
        matrix = turn * torch.exp(0.22 * u[:, 3:6])[:, None]
        seed = int(torch.randint(2**62, (1,), generator=generator, device=device))
        return Randomisation(
            matrix,
            bend,
            1.0 + 0.25 * u[:, 6],
            0.12 * u[:, 7],
            0.2 * positive[0] ** 2,
            0.37 * positive[1] - 0.12 * strength,
            seed,
        )

    def cut(
        self,
        i: int,
        image: Tensor,
        label: Tensor | None,
        corner: list[int],
        patch: tuple[int, int, int],
    ) -> tuple[Tensor, Tensor | None]:
        """The deformed patch of view ``i`` out of a whole image (X, Y, Z) and label, centred where
        the box at ``corner`` is; beyond the scan its edge goes on.
        """
        sides = torch.tensor(patch, dtype=torch.float32, device=image.device)
        steps = [
            torch.arange(p, device=image.device, dtype=torch.float32) - (p - 1) / 2 for p in patch
        ]
        offset = torch.stack(torch.meshgrid(*steps, indexing="ij"), -1) @ self.matrix[i].T
        offset = offset + F.interpolate(
            self.bend[i][None], patch, mode="trilinear", align_corners=True
        )[0].movedim(0, -1)
        where = offset + torch.tensor(corner, device=image.device) + (sides - 1) / 2
        last = torch.tensor(image.shape, device=image.device, dtype=torch.float32) - 1
        grid = (2.0 * where / last.clamp(min=1.0) - 1.0).flip(-1)[
            None
        ]  # grid_sample names the last axis first
        x = F.grid_sample(
            image.float()[None, None], grid, padding_mode="border", align_corners=True
        )[0, 0]
        if label is None:
            return x, None
        classes = F.one_hot(label.long(), int(label.max()) + 1).movedim(-1, 0).float()
        return x, F.grid_sample(classes[None], grid, padding_mode="border", align_corners=True)[
            0
        ].argmax(0)

    def __call__(self, x: Tensor) -> Tensor:
        """Intensities of the images (B, 1, X, Y, Z): smoothed, contrast and brightness changed,
        noise added.
        """
        wide = (-1, 1, 1, 1, 1)
        for axis in (2, 3, 4):
            beside = x.index_select(
                axis, torch.arange(x.shape[axis], device=x.device).sub(1).clamp(min=0)
            ) + x.index_select(
                axis,
                torch.arange(x.shape[axis], device=x.device).add(1).clamp(max=x.shape[axis] - 1),
            )
            x = x + self.blur.view(wide) * (beside - 2.0 * x)
        return (
            x * self.contrast.view(wide)
            + self.shift.view(wide)
            + self.sigma.view(wide) * Noise(1.0, self.seed)(torch.zeros_like(x))
        )
