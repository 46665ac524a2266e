"""Boxes to cut and paste."""

import torch
from torch import Tensor


def box_mask(size: tuple[int, ...], ratio: float, generator: torch.Generator) -> Tensor:
    """(X, Y, Z) bool, False in one box anywhere, with sides of ``ratio`` times those of ``size``.

    A patch of one slice is cut in its plane.
    """
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
    """Two halves of a batch.

    The middle item of an odd one is in both, so that one patch pastes into itself.
    """
    return x[: (len(x) + 1) // 2], x[len(x) // 2 :]
