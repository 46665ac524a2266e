"""Views: random changes of a batch on its device; what was drawn can be applied again."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ssltut.seeding import generator_for

Box = tuple[slice, ...]  # where a patch lies in its scan
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
        self, i: int, image: Tensor, label: Tensor | None, box: Box
    ) -> tuple[Tensor, Tensor | None]:
        """Image (X, Y, Z) and label at ``box``, deformed as patch ``i``; a scan's edge goes on.

        Only the voxels around the patch are read, so the size of the scan costs nothing.
        """
        corner, middle = (
            torch.tensor(numbers, device=image.device).view(3, 1, 1, 1)
            for numbers in ([s.start for s in box], [(s.stop - s.start - 1) / 2 for s in box])
        )
        patch = [side.stop - side.start for side in box]
        steps = [torch.arange(side, device=image.device) - (side - 1) / 2 for side in patch]
        offset = torch.stack(torch.meshgrid(*steps, indexing="ij"), -1) @ self.matrix[i].T
        bend = F.interpolate(self.bend[i][None], patch, mode="trilinear", align_corners=True)
        position = offset.movedim(-1, 0) + bend[0] + corner + middle
        index, share = around(position.flatten(1), image.shape)

        def found(volume: Tensor) -> Tensor:
            return volume.flatten().index_select(0, index.flatten()).view_as(index)

        x = torch.zeros_like(share[0])
        for value, part in zip(found(image).float(), share, strict=True):
            x += part * value
        if label is None:
            return x.view(patch), None
        values = found(label)
        y = values[0].long()
        mixed = (values.amin(0) != values.amax(0)).nonzero()[:, 0]
        if len(mixed):
            y[mixed] = largest_class(values[:, mixed], share[:, mixed])
        return x.view(patch), y.view(patch)

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


def around(position: Tensor, shape: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The eight voxels around positions (3, N): flat index in a volume (8, N), and share (8, N).

    The share of each in a trilinear mean, to the bit as F.grid_sample with padding_mode "border"
    and align_corners has it: that counts from -1 to 1, and back.
    """
    last = torch.tensor(shape, device=position.device)[:, None] - 1
    scaled = 2.0 * position / last.clamp(min=1) - 1.0
    at = ((scaled + 1.0) / 2.0 * last).clamp(min=0.0).minimum(last.float())
    below = at.floor()
    voxel = torch.stack([below.long(), (below.long() + 1).minimum(last)], 1)
    x, y, z = voxel[:, :, None, None]  # (2, 1, 1, N), the lower neighbour and the upper one
    index = (x * shape[1] + y.movedim(0, 1)) * shape[2] + z.movedim(0, 2)
    x, y, z = torch.stack([below + 1.0 - at, at - below], 1)[:, :, None, None]
    share = z.movedim(0, 2) * y.movedim(0, 1) * x
    return index.flatten(0, 2), share.flatten(0, 2)


def largest_class(values: Tensor, share: Tensor) -> Tensor:
    """The class (N,) with the largest sum of shares, of eight voxels with labels (8, N)."""
    classes = torch.arange(int(values.max()) + 1, device=values.device)[:, None]
    score = torch.zeros(len(classes), values.shape[1], device=values.device)
    for value, part in zip(values, share, strict=True):
        score += part * (value == classes)
    return score.max(0).indices
