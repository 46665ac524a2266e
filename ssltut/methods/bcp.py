"""Bidirectional copy-paste (Bai et al. 2023)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ssltut.losses import supervised_loss
from ssltut.methods.base import Batch, Method, Nets, Plan, Progress, Role, Term
from ssltut.methods.parts.masks import box_mask, halves, largest_component


@dataclass(frozen=True, kw_only=True)
class BCP(Method):
    """Labelled and unlabelled patches are pasted into each other, and the student learns the pasted label maps.

    M is False in a random box of 2/3 of the sides; a, b labelled, u, v unlabelled with the teacher's labels (largest piece a class):
      X1 = a M + u (1 - M), X2 = v M + b (1 - M), L = Σ over both of (CE + Dice)(true labels) + 0.5 (CE + Dice)(teacher's labels)
    Before that, 2/17 of training paste labelled patches into each other, and the teacher follows the student at once; then EMA 0.99.
    No ramp. Departures: CE + Dice in place of half of it; the teacher runs in eval mode and its buffers are averaged too; no choice of a
    best model between the stages; Adam. There is no loss on unpasted patches, so at weight 0 nothing is pasted either: labels only.

    weight    of the teacher's labels
    pretrain  the fraction of training that pastes labelled patches alone
    box       sides of the box relative to those of the patch
    """

    name, title, year = "bcp", "BCP", 2023
    paper = "Bai et al., CVPR 2023, arXiv:2305.00673"
    roles: ClassVar = {"student": Role(), "teacher": Role(ema_of="student")}

    weight: float = 0.5
    pretrain: float = 2 / 17
    box: float = 2 / 3
    ema_decay: float = 0.99

    def plan(self, progress: Progress, default: Plan) -> Plan:
        return Plan(default.labelled, 0) if progress.frac < self.pretrain else default

    def decay_at(self, progress: Progress) -> float:
        return 0.0 if progress.frac < self.pretrain else self.ema_decay

    def losses(self, batch: Batch, nets: Nets, progress: Progress) -> dict[str, Term]:
        if not self.weight:
            return {"supervised": self.supervised(batch, nets)}
        keep = box_mask(batch.x_l.shape[2:], self.box, batch.generator("box"))
        (a, b), (y_a, y_b) = halves(batch.x_l), halves(batch.y_l)
        if batch.x_u is None:
            z = self.student(torch.where(keep, a, b), batch, nets)
            return {"supervised": Term(supervised_loss(z, torch.where(keep, y_a, y_b)))}
        with torch.no_grad():
            pseudo = largest_component(nets["teacher"](batch.x_u).logits.argmax(1), batch.n_classes)
        (u, v), (y_u, y_v), n = halves(batch.x_u), halves(pseudo), (min(len(batch.x_l), len(batch.x_u)) + 1) // 2
        pairs = ((a, y_a, u, y_u, keep), (v, y_v, b, y_b, ~keep))
        mixed = torch.cat([torch.where(keep, outer[:n], inner[:n]) for outer, _, inner, _, _ in pairs])
        real, pasted = 0.0, 0.0
        for z, (_, y_outer, _, y_inner, true) in zip(self.student(mixed, batch, nets).split(n), pairs, strict=True):
            y = torch.where(keep, y_outer[:n], y_inner[:n])
            real = real + supervised_loss(z, y, true.expand_as(y))
            pasted = pasted + supervised_loss(z, y, ~true.expand_as(y))
        return {"supervised": Term(real), "pasted": Term(pasted, self.weight)}

    def student(self, x: Tensor, batch: Batch, nets: Nets) -> Tensor:
        return nets["student"](batch.noise(self.sigma_student, "student", "pasted")(x)).logits
