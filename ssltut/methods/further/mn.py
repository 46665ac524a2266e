"""A network on slices and one in 3D teach each other, M&N (MLMI 2025)."""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ssltut.data.batch import Batch
from ssltut.methods.contract import Method, Nets, Network, Outs, Plan, Progress, Term, Terms
from ssltut.methods.losses import soft_dice_loss, supervised_loss
from ssltut.nets.modes import eval_mode
from ssltut.options import Count, Fraction, NotNegative


class Turn(NamedTuple):
    """The learners of a step, its stage (1 or 2), and how much of it the learners have done."""

    learners: tuple[str, ...]
    stage: int
    done: float


class MN(Method):
    """A 2D network, perhaps pre-trained, and a 3D one take turns to learn from each other's masks.

    First both learn from labels in every step. Then one learns and the other is frozen, in turns,
    the 2D one first; of the n patches of a step floor(n r) are unlabelled, r the fraction of its
    updates of this stage that the learner has behind it. Their term is the squared Dice loss to q
    plus the mean of KL(q | p) over voxels and classes, q the softmax of the other network in eval
    mode: no threshold, no EMA, no ramp. Every patch of a step weighs the same. Each network has the
    published schedules over the updates it gets: in the first stage the learning rate warms up over
    a tenth and falls as a cosine to 0, in the second it falls so again. The 3D network predicts.

    option    published        ours    why
    weight    1                1.0     of the unlabelled term; 0 is labels only, same batch
    pretrain  0.125            0.125   share of the updates of a network
    turn      1                1       steps: an epoch of the released code, of one to four batches
                                       with four labelled scans; one epoch is 1/4000 of its run
    backbone  SegFormer-B2     unet2d  or "package.module:function", see ssltut.nets.slices;
                                       published with LoRA, from ADE20k
    weights   yes              ''      pre-trained weights of the backbone: a .safetensors file of
                                       its state dict, or a run's folder; '' random (see the title)
    rate_2d   10               1.0     learning rate, 2D relative to 3D; 10 for LoRA, pre-trained

    Ours too: the two networks share the steps of the bench, so that each gets about half of the
    updates (published: each gets all); labels by cross-entropy + Dice; patches of unlabelled scans
    are not centred on pseudo-masks; gamma is not varied. As everywhere, unlabelled scans are
    training scans (released: also those of validation and test).
    """

    name, title, year = "mn", "M&N without pre-training", 2025
    paper = "M&N, MLMI workshop at MICCAI 2025, arXiv:2509.15167"
    fidelity = "adapted"
    ideas = ("pseudo-labels", "other data")
    loss_weights = ("weight",)
    needs_unlabelled = False
    networks = {"student": Network(), "slices": Network(arch="unet2d", weights="")}

    weight: NotNegative = 1.0
    pretrain: Fraction = 0.125
    turn: Count = 1
    backbone: str = "unet2d"
    weights: str = ""
    rate_2d: NotNegative = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        slices = Network(arch=self.backbone, weights=self.weights)
        object.__setattr__(self, "networks", self.networks | {"slices": slices})
        if self.weights:
            object.__setattr__(self, "title", "M&N")

    def turn_at(self, progress: Progress) -> Turn:
        """Whose turn this step is, and how far the learners are with their updates."""
        # Of s steps for both and T - s for one at a time, s is the share p of s + (T - s) / 2.
        first = round(progress.total * self.pretrain / (2.0 - self.pretrain))
        if progress.step < first:
            return Turn(tuple(self.networks), 1, progress.step / first)
        rounds, within = divmod(progress.step - first, 2 * self.turn)
        all_rounds, rest = divmod(progress.total - first, 2 * self.turn)
        is_second, done = divmod(within, self.turn)
        last = rest - self.turn if is_second else rest
        updates = all_rounds * self.turn + min(max(last, 0), self.turn)
        learner = "student" if is_second else "slices"
        return Turn((learner,), 2, (rounds * self.turn + done) / updates)

    def plan(self, progress: Progress, default: Plan) -> Plan:
        turn = self.turn_at(progress)
        n = default.labelled + default.unlabelled
        pseudo = int(n * turn.done + 1e-9) if turn.stage == 2 else 0
        return Plan(n - pseudo, pseudo, self.rates(progress))

    def learners(self, progress: Progress) -> tuple[str, ...]:
        return self.turn_at(progress).learners

    def rates(self, progress: Progress) -> dict[str, float]:
        """The learning rates of this step, relative to that of the configuration."""
        _, stage, done = self.turn_at(progress)
        warm_up = 0.1 if stage == 1 else 0.0
        if done < warm_up:
            rate = 0.01 + 0.99 * done / warm_up
        else:
            rate = 0.5 + 0.5 * math.cos(math.pi * (done - warm_up) / (1.0 - warm_up))
        return {"student": rate, "slices": rate * self.rate_2d}

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
    return soft_dice_loss(log_p.exp(), target, squared=True) + divergence
