"""Views: random changes of a batch on its device; what was drawn can be applied again."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ssltut.seeding import generator_for

PER_PATCH = (-1, 1, 1, 1, 1)  # the shape of one number a patch, beside (B, C, X, Y, Z)


@dataclass(frozen=True)
class Noise:
    """Additive Gaussian noise, the perturbation of Xie et al. 2024; sigma in normalised units."""

    sigma: float
    seed: int

    def __call__(self, x: Tensor) -> Tensor:
        if self.sigma == 0.0:
            return x
        generator = generator_for(x.device, self.seed)
        noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        return x + self.sigma * noise


@dataclass(frozen=True)
class Augmentation:
    """What all patches get before any weak or strong view; ours, the paper states none."""

    mirror: Tensor  # (B,) bool, along axis 0 (patient left-right)
    contrast: Tensor  # (B,) factor
    shift: Tensor  # (B,) of brightness, in units of the normalised image

    @staticmethod
    def draw(n: int, generator: torch.Generator, strength: float = 0.1) -> "Augmentation":
        u = torch.rand(3, n, generator=generator, device=generator.device)
        contrast, shift = strength * (2.0 * u[1:] - 1.0)
        return Augmentation(u[0] < 0.5, 1.0 + contrast, shift)

    def apply(self, x: Tensor) -> Tensor:
        """Images (B, 1, X, Y, Z)."""
        x = self.apply_label(x)
        return x * self.contrast.view(PER_PATCH) + self.shift.view(PER_PATCH)

    def apply_label(self, y: Tensor) -> Tensor:
        """Labels (B, X, Y, Z), or any array whose axis -3 runs left-right, mirrored."""
        mirror = self.mirror.view(-1, *[1] * (y.ndim - 1))
        return torch.where(mirror, y.flip(-3), y)


@dataclass(frozen=True)
class Randomisation:
    """Domain randomisation: shapes and intensities drawn wider than they are in real scans.

    After Tobin et al. 2017, arXiv:1703.06907, and Billot et al. 2023, arXiv:2107.09559. Ranges are
    ours, at strength 1.
    """

    matrix: Tensor  # (B, 3, 3): turns of 17 degrees and sizes of 0.8 to 1.25 about each axis
    bend: Tensor  # (B, 3, 4, 4, 4) voxels: a 4^3 grid moved by 2 voxels
    contrast: Tensor  # (B,) 0.75 to 1.25
    shift: Tensor  # (B,) of brightness, 0.12
    sigma: Tensor  # (B,) of noise up to 0.2, drawn with ``seed``
    blur: Tensor  # (B,) smoothing by (b, 1 - 2b, b), b from -0.12, which sharpens, to 0.25
    seed: int

    @staticmethod
    def draw(n: int, generator: torch.Generator, strength: float = 1.0) -> "Randomisation":
        device = generator.device
        u = strength * (2.0 * torch.rand(n, 8, generator=generator, device=device) - 1.0)
        bend = strength * 2.0 * torch.randn(n, 3, 4, 4, 4, generator=generator, device=device)
        positive = torch.rand(2, n, generator=generator, device=device) * strength
        x, y, z = (0.3 * u[:, :3]).unbind(1)
        zero = torch.zeros(n, device=device)
        cross_product = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], 1).view(n, 3, 3)
        size = torch.exp(0.22 * u[:, 3:6])
        return Randomisation(
            matrix=torch.linalg.matrix_exp(cross_product) * size[:, None],
            bend=bend,
            contrast=1.0 + 0.25 * u[:, 6],
            shift=0.12 * u[:, 7],
            sigma=0.2 * positive[0] ** 2,
            blur=0.37 * positive[1] - 0.12 * strength,
            seed=int(torch.randint(2**62, (1,), generator=generator, device=device)),
        )

    def cut(
        self, i: int, image: Tensor, label: Tensor | None, box: tuple[slice, ...]
    ) -> tuple[Tensor, Tensor | None]:
        """Image (X, Y, Z) and label at ``box``, deformed as patch ``i``; a scan's edge goes on."""
        corner = torch.tensor([side.start for side in box], device=image.device)
        patch = [side.stop - side.start for side in box]
        middle = torch.tensor([(side - 1) / 2 for side in patch], device=image.device)
        steps = [torch.arange(side, device=image.device) - (side - 1) / 2 for side in patch]
        offset = torch.stack(torch.meshgrid(*steps, indexing="ij"), -1) @ self.matrix[i].T
        bend = F.interpolate(self.bend[i][None], patch, mode="trilinear", align_corners=True)
        position = offset + bend[0].movedim(0, -1) + corner + middle
        last = torch.tensor(image.shape, device=image.device, dtype=torch.float32) - 1
        # grid_sample counts from -1 to 1 and names the last axis first.
        grid = (2.0 * position / last.clamp(min=1.0) - 1.0).flip(-1)[None]

        def sampled(channels: Tensor) -> Tensor:
            return F.grid_sample(channels[None], grid, padding_mode="border", align_corners=True)[0]

        x = sampled(image.float()[None])[0]
        if label is None:
            return x, None
        classes = F.one_hot(label.long(), int(label.max()) + 1).movedim(-1, 0).float()
        return x, sampled(classes).argmax(0)

    def __call__(self, x: Tensor) -> Tensor:
        """Images (B, 1, X, Y, Z) smoothed, with changed contrast and brightness, and noise."""
        for axis in (2, 3, 4):
            index, last = torch.arange(x.shape[axis], device=x.device), x.shape[axis] - 1
            before = x.index_select(axis, (index - 1).clamp(min=0))
            after = x.index_select(axis, (index + 1).clamp(max=last))
            x = x + self.blur.view(PER_PATCH) * (before + after - 2.0 * x)
        noise = Noise(1.0, self.seed)(torch.zeros_like(x))
        x = x * self.contrast.view(PER_PATCH) + self.shift.view(PER_PATCH)
        return x + self.sigma.view(PER_PATCH) * noise
