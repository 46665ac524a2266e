"""A network on slices and one in 3D teach each other, M&N (MLMI 2025)."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from ssltut.data.batch import Batch
from ssltut.methods.contract import PARTS, Method, Nets, Network, Plan, Progress, Term, Terms
from ssltut.methods.losses import squared_dice_loss, supervised_loss
from ssltut.nets.modes import eval_mode


class MN(Method):
    """A 2D network that may know natural images and a 3D network from scratch take turns to learn
    from each other's soft masks, from ever
    more unlabelled patches as the learning rate falls.

    For the first ``pretrain`` of training both learn from labels (learning rate: warm-up over a
    tenth of it, cosine to 0). Then the cosine starts again, one network learns and the other is
    frozen, in turns of ``turn`` steps, the 2D one first; of the n patches of a step floor(n r) are
    unlabelled, r the fraction of this stage that is done. Their term is the squared Dice loss to q
    plus the mean of KL(q | p) over voxels and classes, q the softmax of the other network in eval
    mode: no threshold, no EMA, no ramp. Every patch of a step weighs the same. The 3D network
    predicts. Departures: labels by cross-entropy + Dice; any 2D network (published: SegFormer-B2
    with LoRA, from ADE20k), which ``backbone`` and ``weights`` bring; patches of unlabelled scans
    are not centred on pseudo-masks; gamma is not varied; Adam. As everywhere, unlabelled scans are
    training scans (released: also those of validation and test).

    weight     of the unlabelled term; at 0 both networks learn from labels in every step, at a
               constant rate
    backbone   the 2D network: "unet2d", or "package.module:function" that makes one, see
               ssltut.nets.slices
    weights    its pre-trained weights: a .safetensors file of its state dict, or the folder of a
               run; "": random
    rate_2d    learning rate of the 2D network relative to the 3D one (published: 10, for LoRA on
               pre-trained weights)
    """

    name, title, year = "mn", "M&N", 2025
    paper = "M&N, MLMI workshop at MICCAI 2025, arXiv:2509.15167"
    ideas = ("pseudo-labels", "other data")
    networks = {"student": Network(), "slices": Network(arch="unet2d", weights="")}

    weight: float = 1.0
    pretrain: float = 0.125
    turn: int = 8
    backbone: str = "unet2d"
    weights: str = ""
    rate_2d: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(
            self,
            "networks",
            self.networks | {"slices": Network(arch=self.backbone, weights=self.weights)},
        )

    def stage(self, progress: Progress) -> float:
        """The fraction of the second stage that is done, below 0 in the first; always so where
        nothing unlabelled is learnt from.
        """
        return (progress.frac - self.pretrain) / (1.0 - self.pretrain) if self.weight else -1.0

    def plan(self, progress: Progress, default: Plan) -> Plan:
        n = default.labelled + default.unlabelled if self.weight else default.labelled
        pseudo = int(n * max(self.stage(progress), 0.0) + 1e-9)
        return Plan(n - pseudo, pseudo, self.rates(progress))

    def learners(self, progress: Progress) -> tuple[str, ...]:
        return (
            tuple(self.networks)
            if self.stage(progress) < 0.0
            else (("slices", "student")[progress.step // self.turn % 2],)
        )

    def rates(self, progress: Progress) -> dict[str, float]:
        if not self.weight:
            return {}
        r, warm = self.stage(progress), 0.0
        if r < 0.0:
            r, warm = progress.frac / self.pretrain, 0.1
        rate = (
            0.01 + 0.99 * r / warm
            if r < warm
            else 0.5 + 0.5 * math.cos(math.pi * (r - warm) / (1.0 - warm))
        )
        return {"student": rate, "slices": rate * self.rate_2d}

    def forward(self, batch: Batch, nets: Nets, progress: Progress) -> None:
        """All passes are in ``terms``."""

    def terms(self, batch: Batch, nets: Nets, outs: None, progress: Progress) -> Terms:
        first = self.stage(progress) < 0.0
        parts, n = PARTS[:1] if first or batch.x_u is None else PARTS, len(batch.x_l)
        share, terms = n / (n + (len(batch.x_u) if parts == PARTS else 0)), {}
        for role in self.learners(progress):
            logits = self.see(batch, nets, parts, role).whole.logits
            terms["supervised" if role == "student" else f"{role} supervised"] = Term(
                supervised_loss(logits[:n], batch.y_l), share
            )
            if parts == PARTS:
                other = nets[next(name for name in self.networks if name != role)]
                with torch.no_grad(), eval_mode(other):
                    target = other(batch.x_u).logits.float().softmax(1)
                terms[f"{role} pseudo-masks"] = Term(
                    mimic(logits[n:], target), self.weight * (1.0 - share)
                )
        return terms


def mimic(logits: Tensor, target: Tensor) -> Tensor:
    """Squared Dice loss to the probabilities ``target`` (B, C, X, Y, Z), plus the mean of the terms
    of KL(target | p).
    """
    log_p = logits.float().log_softmax(1)
    return squared_dice_loss(log_p.exp(), target) + F.kl_div(log_p, target, reduction="none").mean()
