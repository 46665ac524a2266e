"""Bidirectional copy-paste (Bai et al. 2023)."""

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from ssltut.data.batch import Batch
from ssltut.data.components import largest_component
from ssltut.methods.contract import Method, Nets, Network, Outs, Plan, Progress, Term, Terms
from ssltut.methods.losses import supervised_loss
from ssltut.methods.parts.perturb import box_mask, halves
from ssltut.options import Fraction, NotNegative, WholeNumber


class Mix(NamedTuple):
    """Pasted patches."""

    x: Tensor  # (N, 1, X, Y, Z) the patches
    target: Tensor  # (N, X, Y, Z) their labels
    true: Tensor | None = None  # (N, X, Y, Z) bool, where these are not the teacher's; None: all


class BCP(Method):
    """Labelled and unlabelled patches are pasted into each other, and so are their label maps.

    M is False in a random box; a, b are labelled, u, v unlabelled with the teacher's labels (the
    largest component of each class):
      X1 = a M + u (1 - M),  X2 = v M + b (1 - M)
      L = Σ over both of (CE + Dice)(true labels) + weight (CE + Dice)(teacher's labels)
    each over its own voxels. A first stage pastes labelled patches into each other; there the
    teacher is the student, batch statistics included, and then its moving average. No ramp. A step
    draws twice the patches of the configuration, so that as many pass the student as in any other
    method: with 2 + 2 two mixes of each kind, as released.

    option     published  ours  why
    weight     0.5        0.5   both of ours are twice the released 1/2 (CE + Dice), in both stages
                                and for X1 as for X2: no ratio changes, and Adam ignores the scale
    pretrain   2/17       2/17  2,000 of 17,000 steps (left atrium); 0: no first stage
    least      -          300   steps of the first stage where that is more, but at most half of
                                all: after 70 of 600 the teacher's labels had a Dice of 0.30
    box        2/3        2/3   its sides, relative to those of the patch
    ema_decay  0.99       0.99

    Ours: X1 and X2 in one pass (released: two), a teacher in eval mode, no choice between stages.
    """

    name, title, year = "bcp", "BCP", 2023
    paper = "Bai et al., CVPR 2023, arXiv:2305.00673"
    ideas: ClassVar[tuple[str, ...]] = ("pseudo-labels", "mixing")
    loss_weights: ClassVar[tuple[str, ...]] = ("weight",)
    needs_unlabelled = False
    networks = {"student": Network(), "teacher": Network(ema_of="student")}

    weight: NotNegative = 0.5
    pretrain: Fraction = 2 / 17
    least: WholeNumber = 300
    box: Fraction = 2 / 3
    ema_decay: Fraction = 0.99

    def first_stage(self, progress: Progress) -> bool:
        """Whether labelled patches alone are pasted."""
        least = min(self.least, progress.total / 2)
        return self.pretrain > 0.0 and progress.step < max(self.pretrain * progress.total, least)

    def plan(self, progress: Progress, default: Plan) -> Plan:
        n = default.labelled + default.unlabelled
        alone = self.first_stage(progress) or not default.unlabelled
        return Plan(2 * n, 0) if alone else Plan(n, n)

    def decay_at(self, progress: Progress) -> float:
        return 0.0 if self.first_stage(progress) else self.ema_decay

    def forward(self, batch: Batch, nets: Nets, progress: Progress) -> Outs:
        """One pass of the student over patches that are pasted into each other."""
        outs = {} if batch.x_u is None else self.teach(batch, nets)
        mix = self.mix(batch, outs["pseudo"]) if outs else self.mix_labelled(batch)
        noise = batch.noise(self.sigma_student, "student", "pasted")
        return outs | {"student": nets["student"](noise(mix.x)), "mix": mix}

    @torch.no_grad()
    def teach(self, batch: Batch, nets: Nets) -> Outs:
        """What the teacher gives for unlabelled patches, and its labels of them (B', X, Y, Z)."""
        out = nets["teacher"](batch.unlabelled)
        pseudo = largest_component(out.logits.max(1).indices, batch.n_classes)
        return {"teacher": out, "pseudo": pseudo}

    def mix_labelled(self, batch: Batch) -> Mix:
        """Half of the labelled patches with boxes of the other half."""
        a, b = halves(batch.x_l)
        y_a, y_b = halves(batch.y_l)
        keep = self.mask(batch, len(a))
        return Mix(torch.where(keep[:, None], a, b), torch.where(keep, y_a, y_b))

    def mix(self, batch: Batch, pseudo: Tensor) -> Mix:
        """X1 of n patches and after them X2."""
        n = (min(len(batch.x_l), len(batch.unlabelled)) + 1) // 2
        keep = self.mask(batch, n).expand(n, *batch.y_l.shape[1:])

        def paste(labelled: Tensor, unlabelled: Tensor, keep: Tensor) -> Tensor:
            a, b = (half[:n] for half in halves(labelled))
            u, v = (half[:n] for half in halves(unlabelled))
            return torch.cat([torch.where(keep, a, u), torch.where(keep, v, b)])

        x = paste(batch.x_l, batch.unlabelled, keep[:, None])
        return Mix(x, paste(batch.y_l, pseudo, keep), torch.cat([keep, ~keep]))

    def mask(self, batch: Batch, n: int) -> Tensor:
        """(n or 1, X, Y, Z) bool: True where the patch that is pasted into stays as it is."""
        return box_mask(batch.x_l.shape[2:], self.box, batch.generator("box"))[None]

    def terms(self, batch: Batch, nets: Nets, outs: Outs, progress: Progress) -> Terms:
        logits = outs["student"].logits
        _, target, true = outs["mix"]
        if true is None:
            return {"supervised": Term(supervised_loss(logits, target))}
        return {
            "supervised": Term(loss_of_both(logits, target, true)),
            "pasted": Term(loss_of_both(logits, target, ~true), self.weight),
        }


def loss_of_both(logits: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Cross-entropy + Dice of X1 plus that of X2, over the voxels of ``mask``; all (2n, ...)."""
    parts = zip(logits.chunk(2), target.chunk(2), mask.chunk(2), strict=True)
    first, second = (supervised_loss(*part) for part in parts)
    return first + second
