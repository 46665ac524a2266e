"""Confidence-aware adaptive displacement, CAD (2025), our reconstruction."""

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ssltut.data.batch import Batch
from ssltut.data.components import largest_component
from ssltut.methods.contract import Consistency, NetOutput, Nets, Network, Outs, Progress, Term
from ssltut.methods.losses import dice_loss, sum_of
from ssltut.methods.schedules import ramp
from ssltut.options import Fraction

CANDIDATES = 4


class Displaced(NamedTuple):
    """Scans with a box pasted over, and the teacher's probabilities of them."""

    x: Tensor  # (B, 1, X, Y, Z)
    p: Tensor  # (B, C, X, Y, Z)
    where: Tensor  # (B, X, Y, Z) bool, True inside the boxes


def low_confidence(p: Tensor, threshold: float) -> Tensor:
    """(B, X, Y, Z) bool: the largest piece of the voxels whose largest probability is too low."""
    return largest_component((p.amax(1) < threshold).long(), 2).bool()


def target_box(region: Tensor, side: float) -> tuple[slice, ...] | None:
    """The box that covers ``region`` best, with sides of at most ``side`` of the patch; or None."""
    voxels = region.nonzero()
    if not len(voxels):
        return None
    extent = (voxels.amax(0) - voxels.amin(0) + 1).tolist()
    sides = [max(1, min(e, int(side * s))) for e, s in zip(extent, region.shape, strict=True)]
    cover = F.avg_pool3d(region[None].float(), sides, stride=1)[0]
    corner = torch.unravel_index(cover.argmax(), cover.shape)
    return tuple(slice(int(c), int(c) + s) for c, s in zip(corner, sides, strict=True))


def source_box(p: Tensor, goal: Tensor, sides: tuple[int, ...]) -> tuple[slice, ...]:
    """Of the CANDIDATES surest tiles of p (C, X, Y, Z), the least KL(goal (C,) | mean p)."""
    means = F.avg_pool3d(p, sides)
    confidence = F.avg_pool3d(p.amax(0, keepdim=True), sides).flatten()
    best = confidence.topk(min(CANDIDATES, len(confidence))).indices
    log_means = means.flatten(1)[:, best].clamp(min=1e-12).log()
    divergence = -(goal[:, None] * log_means).sum(0)  # plus a constant
    tile = torch.unravel_index(best[divergence.argmin()], means.shape[1:])
    return tuple(slice(int(t) * s, int(t) * s + s) for t, s in zip(tile, sides, strict=True))


def displace(x: Tensor, p: Tensor, threshold: float, side: float) -> Displaced:
    """Over the largest unsure region of every scan, a sure box of the next (of one: its own)."""
    new_x, new_p = x.clone(), p.clone()
    where = torch.zeros_like(p[:, 0], dtype=torch.bool)
    for b, region in enumerate(low_confidence(p, threshold)):
        box = target_box(region, side)
        if box is None:
            continue
        other = (b + 1) % len(x)
        given: tuple[int | slice, ...] = (b, slice(None), *box)
        goal = p[given].mean((1, 2, 3))
        source = source_box(p[other], goal, tuple(s.stop - s.start for s in box))
        taken: tuple[int | slice, ...] = (other, slice(None), *source)
        new_x[given] = x[taken]
        new_p[given] = p[taken]
        where[b][box] = True
    return Displaced(new_x, new_p, where)


class CAD(Consistency):
    """Two networks teach each other on scans whose least sure region is covered by a sure one.

    L = Σ over both networks of L_S + λ (CPS + CPS on displaced scans + MT on displaced scans), λ =
    ``weight`` ramp(t / (rampup T)).
      displaced  confidence is the teacher's largest probability; of the voxels below τ, the largest
                 piece; a box over it with sides of at most s of the patch; pasted over it a box of
                 the next scan: of the four most confident ones that whose mean probabilities are
                 nearest, KL(covered | pasted). τ and s rise from first to last with ramp(t / T)
      CPS        Dice loss of each network to the hard labels of the other, on unlabelled scans
      MT         mean (p - p_teacher)^2 of both networks, p_teacher displaced as the scan is

    option           published  ours  why
    weight           -          0.1   as in ABD, which has half of cross-entropy + Dice twice: of
                                      labelled scans as they are, and displaced
    rampup           -          1.0   as in ABD
    threshold_first  -          0.6   published: it rises
    threshold_last   -          0.9   where it ends
    side_first       -          1/8   published: it rises
    side_last        -          1/3   where it ends

    Reconstructed from the abstract of CAD and the code of its parent ABD (Chi et al., CVPR 2024).
    Ours: the choice of the source, the sum of the terms, two networks of one kind (ABD: U-Net and
    Swin U-Net) whose views differ by noise (ABD: weak and strong), labelled scans as they are.
    """

    name, title, year = "cad", "CAD", 2025
    paper = "Confidence-aware adaptive displacement, arXiv:2502.00536; ABD: Chi et al., CVPR 2024"
    ideas = ("consistency", "pseudo-labels", "mixing", "evidence")
    fidelity = "reconstruction"
    networks = {"student": Network(), "second": Network(), "teacher": Network(ema_of="student")}

    threshold_first: Fraction = 0.6
    threshold_last: Fraction = 0.9
    side_first: Fraction = 1 / 8
    side_last: Fraction = 1 / 3

    def limits(self, progress: Progress) -> tuple[float, float]:
        """τ and s of this step."""
        r = ramp(progress.frac)
        threshold = (1.0 - r) * self.threshold_first + r * self.threshold_last
        side = (1.0 - r) * self.side_first + r * self.side_last
        return threshold, side

    def forward(self, batch: Batch, nets: Nets, progress: Progress) -> Outs:
        """One pass of each trained network, with the displaced patches after the others."""
        with torch.no_grad():
            p = nets["teacher"](batch.unlabelled).logits.float().softmax(1)
        displaced = displace(batch.unlabelled, p, *self.limits(progress))
        longer = replace(batch, x_u=torch.cat([batch.unlabelled, displaced.x]))
        return super().forward(longer, nets, progress) | {"displaced": displaced}

    def see(self, batch: Batch, nets: Nets, role: str = "student") -> NetOutput:
        """Every network sees the patches under noise of its own: two views."""
        return NetOutput(nets[role](self.patches(batch, role)), len(batch.x_l))

    def terms(self, batch: Batch, nets: Nets, outs: Outs, progress: Progress) -> dict[str, Term]:
        trained = {role: outs[role] for role in self.trained}
        terms = super().terms(batch, nets, trained, progress)
        _, target, where = outs["displaced"]
        losses = []
        for out in trained.values():
            p = out.unlabelled.logits[len(batch.unlabelled) :].float().softmax(1)
            losses.append((p - target).square().mean())
        share = where.float().mean().item()
        terms["displaced"] = Term(sum_of(losses), terms["consistency"].weight, share)
        return terms

    def unlabelled(self, batch: Batch, nets: Nets, outs: Outs) -> Term:
        """Cross pseudo supervision on the unlabelled scans as they are, and displaced."""
        n = len(batch.unlabelled)
        first, second = (out.unlabelled.logits.split(n) for out in outs.values())
        losses = []
        for a, b in zip(first, second, strict=True):
            losses += [dice_loss(a, b.max(1).indices), dice_loss(b, a.max(1).indices)]
        return Term(sum_of(losses))
