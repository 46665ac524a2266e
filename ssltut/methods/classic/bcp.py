"""Bidirectional copy-paste (Bai et al. 2023)."""

from typing import NamedTuple

import torch
from torch import Tensor

from ssltut.data.batch import Batch
from ssltut.data.components import largest_component
from ssltut.methods.contract import (
    PARTS,
    Method,
    Nets,
    Network,
    Plan,
    Progress,
    Term,
    Terms,
    supervised,
)
from ssltut.methods.losses import supervised_loss
from ssltut.methods.parts.masks import box_mask, halves
from ssltut.nets.base import Out


class Pasted(NamedTuple):
    """What one step pasted, X1 of n patches and after them X2.

    out      the student's, for 2n pasted patches
    target   (2n, X, Y, Z) their labels; true (2n, X, Y, Z) bool, where these are labels of the
             cohort and not the teacher's
    teacher  the teacher's, for the unlabelled patches themselves
    pseudo   (B', X, Y, Z) the teacher's labels of these
    """

    out: Out
    target: Tensor
    true: Tensor
    teacher: Out
    pseudo: Tensor


class BCP(Method):
    """Labelled and unlabelled patches are pasted into each other, and the student learns the pasted
    label maps.

    M is False in a random box of 2/3 of the sides; a, b labelled, u, v unlabelled with the
    teacher's labels (largest piece a class):
      X1 = a M + u (1 - M), X2 = v M + b (1 - M), L = Σ over both of (CE + Dice)(true labels) + 0.5
      (CE + Dice)(teacher's labels)
    Before that, 2/17 of training paste labelled patches into each other, and the teacher follows
    the student at once; then EMA 0.99. No ramp. Departures: CE + Dice in place of half of it; the
    teacher runs in eval mode and its buffers are averaged too; no choice of a best model between
    the stages; Adam. There is no loss on unpasted patches, so at weight 0 nothing is pasted either:
    labels only.

    weight    of the teacher's labels
    pretrain  the fraction of training that pastes labelled patches alone
    box       sides of the box relative to those of the patch
    """

    name, title, year = "bcp", "BCP", 2023
    paper = "Bai et al., CVPR 2023, arXiv:2305.00673"
    ideas = ("pseudo-labels", "mixing")
    networks = {"student": Network(), "teacher": Network(ema_of="student")}

    weight: float = 0.5
    pretrain: float = 2 / 17
    box: float = 2 / 3
    ema_decay: float = 0.99

    def plan(self, progress: Progress, default: Plan) -> Plan:
        return Plan(default.labelled, 0) if progress.frac < self.pretrain else default

    def decay_at(self, progress: Progress) -> float:
        return 0.0 if progress.frac < self.pretrain else self.ema_decay

    def forward(self, batch: Batch, nets: Nets, progress: Progress) -> None:
        """All passes are in ``terms``."""

    def terms(self, batch: Batch, nets: Nets, outs: None, progress: Progress) -> Terms:
        if not self.weight:
            return {"supervised": supervised(self.see(batch, nets, PARTS[:1]), batch)}
        if batch.x_u is None:
            (a, b), (y_a, y_b) = halves(batch.x_l), halves(batch.y_l)
            keep = self.mask(batch, len(a))
            z = self.student(torch.where(keep[:, None], a, b), batch, nets).logits
            return {"supervised": Term(supervised_loss(z, torch.where(keep, y_a, y_b)))}
        teacher, pseudo = self.teach(batch, nets)
        mixed, target, true = self.mix(batch, pseudo)
        pasted, n = (
            Pasted(self.student(mixed, batch, nets), target, true, teacher, pseudo),
            len(mixed) // 2,
        )
        real, copied = (
            sum(
                supervised_loss(*part)
                for part in zip(
                    pasted.out.logits.split(n), target.split(n), region.split(n), strict=False
                )
            )
            for region in (pasted.true, ~pasted.true)
        )
        return {"supervised": Term(real), "pasted": Term(copied, self.weight)} | self.further(
            batch, nets, progress, pasted
        )

    @torch.no_grad()
    def teach(self, batch: Batch, nets: Nets) -> tuple[Out, Tensor]:
        """What the teacher gives for the unlabelled patches, and their pseudo-labels (B', X, Y,
        Z).
        """
        teacher = nets["teacher"](batch.x_u)
        return teacher, largest_component(teacher.logits.argmax(1), batch.n_classes)

    def mix(self, batch: Batch, pseudo: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """X1 of n patches and after them X2 (2n, 1, X, Y, Z); their labels, and where these are the
        cohort's (2n, X, Y, Z).
        """
        (a, b), (y_a, y_b), (u, v), (y_u, y_v) = (
            halves(part) for part in (batch.x_l, batch.y_l, batch.x_u, pseudo)
        )
        n = (min(len(batch.x_l), len(batch.x_u)) + 1) // 2
        keep = self.mask(batch, n).expand(n, *batch.y_l.shape[1:])
        mixed = torch.cat(
            [torch.where(keep[:, None], outer[:n], inner[:n]) for outer, inner in ((a, u), (v, b))]
        )
        target = torch.cat(
            [torch.where(keep, outer[:n], inner[:n]) for outer, inner in ((y_a, y_u), (y_v, y_b))]
        )
        return mixed, target, torch.cat([keep, ~keep])

    def mask(self, batch: Batch, n: int) -> Tensor:
        """(n or 1, X, Y, Z) bool: True where the patch that is pasted into stays as it is."""
        return box_mask(batch.x_l.shape[2:], self.box, batch.generator("box"))[None]

    def further(
        self, batch: Batch, nets: Nets, progress: Progress, pasted: Pasted
    ) -> dict[str, Term]:
        """What a method built on this one adds."""
        return {}

    def student(self, x: Tensor, batch: Batch, nets: Nets) -> Out:
        return nets["student"](batch.noise(self.sigma_student, "student", "pasted")(x))
