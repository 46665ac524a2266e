"""Confidence-aware adaptive displacement, CAD (2025), our reconstruction."""

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ssltut.data.batch import Batch
from ssltut.data.components import largest_component
from ssltut.methods.contract import PARTS, Consistency, Nets, Network, Outs, Progress, Term, Terms
from ssltut.methods.losses import dice_loss
from ssltut.methods.schedules import ramp

CANDIDATES = 4


class Displaced(NamedTuple):
    """Scans x (B, 1, X, Y, Z) and probabilities p (B, C, X, Y, Z) with a box pasted over; where (B,
    X, Y, Z) is True inside the boxes.
    """

    x: Tensor
    p: Tensor
    where: Tensor


def low_confidence(p: Tensor, threshold: float) -> Tensor:
    """(B, X, Y, Z) bool: of the voxels whose largest probability is below ``threshold``, the
    largest piece (26-neighbourhood) a sample.
    """
    return largest_component((p.amax(1) < threshold).long(), 2).bool()


def target_box(region: Tensor, side: float) -> tuple[slice, ...] | None:
    """The box over ``region`` (X, Y, Z): as large as it, but no side above ``side`` times that of
    the patch; it lies where it covers most.

    None where there is no region.
    """
    found = region.nonzero()
    if not len(found):
        return None
    extent = (found.amax(0) - found.amin(0) + 1).tolist()
    sides = [max(1, min(e, int(side * s))) for e, s in zip(extent, region.shape, strict=True)]
    cover = F.avg_pool3d(region[None].float(), sides, stride=1)[0]
    corner = torch.unravel_index(cover.argmax(), cover.shape)
    return tuple(slice(int(c), int(c) + s) for c, s in zip(corner, sides, strict=True))


def source_box(p: Tensor, goal: Tensor, sides: tuple[int, ...]) -> tuple[slice, ...]:
    """Of the four most confident tiles of ``sides`` in p (C, X, Y, Z), the one whose mean
    probabilities are nearest to ``goal`` (C,):
    the least KL(goal | tile).
    """
    means = F.avg_pool3d(p, sides)
    sure = F.avg_pool3d(p.amax(0, keepdim=True), sides).flatten()
    best = sure.topk(min(CANDIDATES, len(sure))).indices
    divergence = -(goal[:, None] * means.flatten(1)[:, best].clamp(min=1e-12).log()).sum(
        0
    )  # plus a constant
    tile = torch.unravel_index(best[divergence.argmin()], means.shape[1:])
    return tuple(slice(int(t) * s, int(t) * s + s) for t, s in zip(tile, sides, strict=True))


def displace(x: Tensor, p: Tensor, threshold: float, side: float) -> Displaced:
    """Over the largest unsure region of every scan, a box from a sure place of the next scan of the
    batch (its own where there is one).
    """
    new_x, new_p, where = x.clone(), p.clone(), torch.zeros_like(p[:, 0], dtype=torch.bool)
    for b, region in enumerate(low_confidence(p, threshold)):
        if (box := target_box(region, side)) is None:
            continue
        other, every = (b + 1) % len(x), slice(None)
        goal = p[(b, every, *box)].mean((1, 2, 3))
        source = source_box(p[other], goal, tuple(s.stop - s.start for s in box))
        new_x[(b, every, *box)], new_p[(b, every, *box)] = (
            x[(other, every, *source)],
            p[(other, every, *source)],
        )
        where[(b, *box)] = True
    return Displaced(new_x, new_p, where)


class CAD(Consistency):
    """The largest region the teacher is unsure of is covered by a piece it is sure of, and two
    networks teach each other on the result.

    L = Σ over both networks of L_S + λ (CPS + CPS on displaced scans + MT on displaced scans), λ =
    0.1 ramp(t/T).
      displaced  confidence is the teacher's largest probability; of the voxels below τ, the largest
                 piece; a box over it with sides of at most s of the patch; pasted over it a box of
                 the next scan: of the four most confident ones that whose mean probabilities are
                 nearest (KL). τ rises from 0.6 to 0.9 and s from 1/8 to 1/3 with ramp(t/T)
      CPS        Dice loss of each network to the hard labels of the other, on unlabelled scans
      MT         mean (p - p_teacher)^2 of both networks, the teacher's probabilities displaced as
                 the scan is
    From the abstract of CAD and the code of its parent ABD (Chi et al., CVPR 2024): the schedules,
    the choice of the source and the sum of the terms are ours. Departures from ABD: two networks of
    one kind; the views are those of the student's noise; no displacement of labelled scans; Adam.
    """

    name, title, year = "cad", "CAD", 2025
    paper = "Confidence-aware adaptive displacement, arXiv:2502.00536; ABD: Chi et al., CVPR 2024"
    ideas = ("consistency", "pseudo-labels", "mixing", "evidence")
    exact = False
    networks = {"student": Network(), "second": Network(), "teacher": Network(ema_of="student")}

    threshold_first: float = 0.6
    threshold_last: float = 0.9
    side_first: float = 1 / 8
    side_last: float = 1 / 3

    def limits(self, progress: Progress) -> tuple[float, float]:
        """τ and s of this step."""
        r = ramp(progress.frac)
        return (1.0 - r) * self.threshold_first + r * self.threshold_last, (
            1.0 - r
        ) * self.side_first + r * self.side_last

    def forward(self, batch: Batch, nets: Nets, progress: Progress) -> None:
        """All passes are in ``terms``."""

    def terms(self, batch: Batch, nets: Nets, outs: None, progress: Progress) -> Terms:
        if batch.x_u is None or not self.weight:
            return super().terms(batch, nets, super().forward(batch, nets, progress), progress)
        with torch.no_grad():
            p = nets["teacher"](batch.x_u).logits.float().softmax(1)
        moved, n = displace(batch.x_u, p, *self.limits(progress)), len(batch.x_l) + len(batch.x_u)
        seen = replace(batch, x_u=torch.cat([batch.x_u, moved.x]))
        outs = {role: self.see(seen, nets, PARTS, role) for role in ("student", "second")}
        weight = self.weight * (ramp(progress.frac / self.rampup) if self.rampup else 1.0)
        taught = sum(
            (out.whole.logits[n:].float().softmax(1) - moved.p).square().mean()
            for out in outs.values()
        )
        return self.labelled(batch, outs) | {
            "consistency": self.unlabelled(batch, nets, outs)._replace(weight=weight),
            "displaced": Term(taught, weight, moved.where.float().mean().item()),
        }

    def unlabelled(self, batch: Batch, nets: Nets, outs: Outs) -> Term:
        """Cross pseudo supervision on the unlabelled scans as they are, and displaced."""
        first, second = (out.unlabelled.logits.split(len(batch.x_u)) for out in outs.values())
        pairs = [pair for a, b in zip(first, second, strict=True) for pair in ((a, b), (b, a))]
        return Term(sum(dice_loss(z, other.argmax(1)) for z, other in pairs))
