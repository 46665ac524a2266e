"""Loss terms on logits (B, C, X, Y, Z) and hard targets (B, X, Y, Z); all computed in float32."""

from collections.abc import Iterable, Sequence
from functools import reduce

import torch
from torch import Tensor
from torch.nn import functional as F

from ssltut.errors import ConfigError

EPS = 1e-5  # beside the sums of a Dice loss


def sum_of(values: Iterable[Tensor]) -> Tensor:
    """Their sum, from first to last (``sum`` begins with the number 0)."""
    return reduce(torch.add, values)


def mean_of(values: Sequence[Tensor]) -> Tensor:
    return sum_of(values) / len(values)


def dice_loss(logits: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """1 - soft Dice, mean over the foreground classes; sums run over the whole batch.

    A class that is neither in ``target`` nor predicted costs nothing. ``mask``: what each voxel
    counts, a bool or 0 to 1 that broadcasts to (B, X, Y, Z); None: all.
    """
    p = logits.float().softmax(1)[:, 1:]
    y = F.one_hot(target, logits.shape[1]).movedim(-1, 1)[:, 1:].to(p.dtype)
    return soft_dice_loss(p, y, mask)


def soft_dice_loss(
    p: Tensor, q: Tensor, mask: Tensor | None = None, *, squared: bool = False
) -> Tensor:
    """1 - 2 Σ p q / (Σ p + Σ q) of two probability maps (B, C, X, Y, Z), mean over the classes.

    ``mask`` is as in ``dice_loss``. ``squared``: with Σ p² + Σ q², so that it is 0 for equal maps,
    sharp or not.
    """
    dims = (0, *range(2, p.ndim))
    overlap = p * q
    if mask is not None:
        p, q, overlap = (part * mask[:, None] for part in (p, q, overlap))
    if squared:
        p, q = p.square(), q.square()
    size = p.sum(dims) + q.sum(dims)
    return 1.0 - ((2.0 * overlap.sum(dims) + EPS) / (size + EPS)).mean()


def supervised_loss(logits: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """Cross-entropy + Dice (L_S of Xie et al. 2024), over all voxels or those of ``mask``."""
    if mask is None:
        return F.cross_entropy(logits.float(), target) + dice_loss(logits, target)
    return masked_cross_entropy(logits, target, mask) + dice_loss(logits, target, mask)


def masked_mean(values: Tensor, mask: Tensor, normalise: str = "set") -> Tensor:
    """Mean of ``values`` where ``mask`` is true; 0 (with a gradient of 0) when it is true nowhere.

    normalise  "set" divides by the number of true voxels (as published), "all" by the number of all
               voxels, so that a handful of voxels weighs no more than a handful. Raises ConfigError
               for another word.
    """
    if normalise not in ("set", "all"):
        raise ConfigError(f"there is no normalisation {normalise!r}", fix="use set or all")
    count = mask.sum().clamp(min=1) if normalise == "set" else mask.numel()
    return torch.where(mask, values, 0.0).sum() / count


def masked_cross_entropy(
    logits: Tensor, target: Tensor, mask: Tensor, normalise: str = "set"
) -> Tensor:
    """Cross-entropy against hard pseudo-labels on the voxels of ``mask`` (B, X, Y, Z).

    With two classes the softmax cross-entropy of the logits is the binary cross-entropy of the
    paper (L_UA, L_NN). ``normalise`` is as in ``masked_mean``.
    """
    return masked_mean(F.cross_entropy(logits.float(), target, reduction="none"), mask, normalise)


def entropy(p: Tensor, dim: int = 1) -> Tensor:
    """Shannon entropy in nats of probabilities along ``dim``; 0 log 0 = 0, with finite gradient."""
    return -(p * p.clamp(min=torch.finfo(p.dtype).tiny).log()).sum(dim)


def sharpen(logits: Tensor, temperature: float) -> Tensor:
    """p^(1/T) / Σ_c p^(1/T) along the classes, as softmax(z / T): nothing underflows."""
    return (logits.float() / temperature).softmax(1)
