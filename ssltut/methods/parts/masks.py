"""Boxes to cut and paste, and masks cleaned of stray pieces."""

import numpy as np
import torch
from torch import Tensor


def box_mask(size: tuple[int, ...], ratio: float, generator: torch.Generator) -> Tensor:
    """(X, Y, Z) bool, False inside one box with sides of ``ratio`` times those of ``size``,
    anywhere it fits.
    """
    mask = torch.ones(tuple(size), dtype=torch.bool, device=generator.device)
    draw = torch.rand(len(size), generator=generator, device=generator.device).tolist()
    sides = [max(1, int(s * ratio)) for s in size]  # a patch of one slice is cut in its plane
    corner = [int(u * (s - b + 1)) for u, s, b in zip(draw, size, sides, strict=False)]
    mask[tuple(slice(c, c + b) for c, b in zip(corner, sides, strict=False))] = False
    return mask


def halves(x: Tensor) -> tuple[Tensor, Tensor]:
    """Two halves of a batch; of an odd one the middle item is in both, so one patch pastes into
    itself.
    """
    return x[: (len(x) + 1) // 2], x[len(x) // 2 :]


def block_masks(
    n: int, size: tuple[int, ...], blocks: int, smallest: int, generator: torch.Generator
) -> Tensor:
    """(n, X, Y, Z) bool, False in half of the blocks that every side is cut into, drawn anew for
    each of the ``n``.

    A side has ``blocks`` of them, fewer where they would have less than ``smallest`` voxels, but 2
    at least (1 where it is one voxel long).
    """
    counts = [min(s, max(2, min(blocks, s // smallest))) for s in size]
    total = int(np.prod(counts))
    order = torch.stack(
        [torch.randperm(total, generator=generator, device=generator.device) for _ in range(n)]
    )
    mask = (order >= total // 2).view(n, *counts)
    for axis, (count, side) in enumerate(zip(counts, size, strict=False), start=1):
        mask = mask.index_select(axis, torch.arange(side, device=mask.device) * count // side)
    return mask
