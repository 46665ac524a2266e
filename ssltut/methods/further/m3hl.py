"""Mutual mask mix with high-low level feature consistency (2025)."""

from itertools import product

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ssltut.data.batch import Batch
from ssltut.methods.classic.bcp import BCP
from ssltut.methods.contract import Nets, Outs, Progress, Term, Terms
from ssltut.methods.losses import mean_of
from ssltut.methods.parts.perturb import halves
from ssltut.nets.base import Out
from ssltut.options import Count, Fraction, NotNegative


class M3HL(BCP):
    """Scans are mixed block by block, as a masked autoencoder hides blocks; features agree too.

    M is False in half of the blocks, drawn for each pair: each mix has of one kind of patch what
    the other has not. X1, X2 and their loss are those of BCP, whose teacher starts as a copy of the
    student: there is no first stage. With f of the student for X1, X2 and g of the teacher, which
    learns nothing from them, for u, v as they are:
      low   mean over the four pairs of |f - g|, of the last decoder map before its dropout
      high  the same of 1 - cos(f, g), of the flattened deepest map; no ramp

    option    published  ours   why
    pretrain  -          0.0    the released scripts have no first stage, so least has no effect
    box       -          2/3    of no effect: blocks take its place
    features  0.5        1.0    of low and high; published beside half of CE + Dice, ours the whole
    blocks    4          4      along every side, or its voxels where these are fewer
    pool      -          False  True: the deepest map through 3x3x3 max pooling with stride 2, as
                                released for the V-Net; the released U-Net has none

    The other options are those of BCP.
    Ours, as in BCP: X1 and X2 in one pass, a teacher in eval mode. The released script for the left
    atrium mixes nothing (it never writes the mask); that for ACDC does, and is followed.
    """

    name, title, year = "m3hl", "M3HL", 2025
    paper = "Liu et al., MICCAI 2025, arXiv:2508.03752"
    ideas = ("consistency", "pseudo-labels", "mixing")
    loss_weights = ("weight", "features")

    pretrain: Fraction = 0.0
    features: NotNegative = 1.0
    blocks: Count = 4
    pool: bool = False

    def mask(self, batch: Batch, n: int) -> Tensor:
        size, generator = batch.x_l.shape[2:], batch.generator("blocks")
        return block_masks(n, size, self.blocks, generator)

    def terms(self, batch: Batch, nets: Nets, outs: Outs, progress: Progress) -> Terms:
        terms = super().terms(batch, nets, outs, progress)
        if "teacher" in outs and self.features:
            student, teacher = outs["student"], outs["teacher"]
            terms["low"] = Term(self.low(student, teacher), self.features)
            terms["high"] = Term(self.high(student, teacher), self.features)
        return terms

    def low(self, student: Out, teacher: Out) -> Tensor:
        pairs = feature_pairs("undropped", student, teacher)
        return mean_of([(f - g).abs().mean() for f, g in pairs])

    def high(self, student: Out, teacher: Out) -> Tensor:
        pairs = feature_pairs("bottleneck", student, teacher)
        cosines = [F.cosine_similarity(self.flat(f), self.flat(g)).mean() for f, g in pairs]
        return mean_of([1.0 - cosine for cosine in cosines])

    def flat(self, maps: Tensor) -> Tensor:
        return (F.max_pool3d(maps, 3, 2, 1) if self.pool else maps).flatten(1)


def feature_pairs(name: str, student: Out, teacher: Out) -> list[tuple[Tensor, Tensor]]:
    """The student's maps of X1 and of X2, each with the teacher's of u and of v."""
    mixed = student.feats[name].float().chunk(2)
    plain = halves(teacher.feats[name])
    return [(f, g[: len(f)].float()) for f, g in product(mixed, plain)]


def block_masks(n: int, size: tuple[int, ...], blocks: int, generator: torch.Generator) -> Tensor:
    """(n, X, Y, Z) bool, False in half of the blocks; ``blocks`` a side, or its voxels if fewer."""
    counts = [min(side, blocks) for side in size]
    total = int(np.prod(counts))
    device = generator.device
    orders = [torch.randperm(total, generator=generator, device=device) for _ in range(n)]
    mask = (torch.stack(orders) >= total // 2).view(n, *counts)
    for axis, (count, side) in enumerate(zip(counts, size, strict=True), start=1):
        mask = mask.index_select(axis, torch.arange(side, device=device) * count // side)
    return mask
