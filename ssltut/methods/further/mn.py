"""A network on slices and one in 3D teach each other, M&N (MLMI 2025)."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from ssltut.data.batch import Batch
from ssltut.methods.contract import (
    Method,
    Nets,
    Network,
    Outs,
    Plan,
    Progress,
    Term,
    Terms,
)
from ssltut.methods.losses import squared_dice_loss, supervised_loss
from ssltut.nets.modes import eval_mode
from ssltut.options import Count, Fraction, NotNegative


class MN(Method):
    """A 2D network, perhaps pre-trained, and a 3D one take turns to learn from each other's masks.

    They are soft masks, of ever more unlabelled patches as the learning rate falls.
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

    weight     of the unlabelled term; at 0 both networks learn from labels in every step
    backbone   the 2D network: "unet2d", or "package.module:function" that makes one, see
               ssltut.nets.slices
    weights    its pre-trained weights: a .safetensors file of its state dict, or the folder of a
               run; "": random
    rate_2d    learning rate of the 2D network relative to the 3D one (published: 10, for LoRA on
               pre-trained weights)
    """

    name, title, year = "mn", "M&N", 2025
    paper = "M&N, MLMI workshop at MICCAI 2025, arXiv:2509.15167"
    fidelity = "adapted"
    ideas = ("pseudo-labels", "other data")
    loss_weights = ("weight",)
    networks = {"student": Network(), "slices": Network(arch="unet2d", weights="")}

    weight: NotNegative = 1.0
    pretrain: Fraction = 0.125
    turn: Count = 8
    backbone: str = "unet2d"
    weights: str = ""
    rate_2d: NotNegative = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        slices = Network(arch=self.backbone, weights=self.weights)
        object.__setattr__(self, "networks", self.networks | {"slices": slices})

    def stage(self, progress: Progress) -> float:
        """The fraction of the second stage that is done; below 0 before it."""
        return (progress.frac - self.pretrain) / (1.0 - self.pretrain)

    def plan(self, progress: Progress, default: Plan) -> Plan:
        n = default.labelled + default.unlabelled
        pseudo = int(n * max(self.stage(progress), 0.0) + 1e-9)
        return Plan(n - pseudo, pseudo, self.rates(progress))

    def learners(self, progress: Progress) -> tuple[str, ...]:
        if self.stage(progress) < 0.0:
            return tuple(self.networks)
        return (("slices", "student")[progress.step // self.turn % 2],)

    def rates(self, progress: Progress) -> dict[str, float]:
        """The learning rates of this step, relative to that of the configuration."""
        done = self.stage(progress)
        warm_up = 0.0
        if done < 0.0:
            done = progress.frac / self.pretrain
            warm_up = 0.1
        if done < warm_up:
            rate = 0.01 + 0.99 * done / warm_up
        else:
            rate = 0.5 + 0.5 * math.cos(math.pi * (done - warm_up) / (1.0 - warm_up))
        return {"student": rate, "slices": rate * self.rate_2d}

    def acts(self, batch: Batch, progress: Progress) -> bool:
        """The first steps need no unlabelled patches."""
        return not self.idle

    def forward(self, batch: Batch, nets: Nets, progress: Progress) -> Outs:
        return {role: self.see(batch, nets, role) for role in self.learners(progress)}

    def terms(self, batch: Batch, nets: Nets, outs: Outs, progress: Progress) -> Terms:
        n = len(batch.x_l)
        both = batch.x_u is not None
        share = n / (n + len(batch.unlabelled)) if both else 1.0
        terms: Terms = {}
        for role, out in outs.items():
            name = "supervised" if role == "student" else f"{role} supervised"
            loss = supervised_loss(out.labelled.logits, batch.y_l)
            terms[name] = Term(loss, share)
            if both:
                teacher = nets["slices" if role == "student" else "student"]
                with torch.no_grad(), eval_mode(teacher):
                    target = teacher(batch.unlabelled).logits.float().softmax(1)
                loss = distillation_loss(out.unlabelled.logits, target)
                terms[f"{role} pseudo-masks"] = Term(loss, self.weight * (1.0 - share))
        return terms


def distillation_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Squared Dice loss to ``target`` (B, C, X, Y, Z) + the mean of KL over voxels and classes."""
    log_p = logits.float().log_softmax(1)
    divergence = F.kl_div(log_p, target, reduction="none").mean()
    return squared_dice_loss(log_p.exp(), target) + divergence
