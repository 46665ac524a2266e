"""Mean teacher (Tarvainen & Valpola 2017) as used for 3D segmentation."""

from typing import ClassVar

import torch
from torch import Tensor

from ssltut.data.batch import Batch
from ssltut.methods.contract import Method, Nets, Network, Outs, Progress, Term, Terms
from ssltut.methods.schedules import ramp
from ssltut.options import Fraction, NotNegative


class MeanTeacher(Method):
    """The student must predict what an average of its own past predicts under other noise.

    Term "consistency": mean over voxels and classes of (p_student - p_teacher)^2. Weight
    0.2 ramp(t/T), published 0.1 beside half of L_S; the codes ramp over their whole run (40 x 150
    of 6,000 steps, 200 x 150 of 30,000). EMA decay min(1 - 1/(t+1), 0.99). Departures: the teacher
    runs in eval mode, not in train mode, and EMA covers buffers (the released code forgets them);
    noise on both sides is not clipped.
    """

    name, title, year = "mean_teacher", "mean teacher", 2017
    paper = "Tarvainen & Valpola, NeurIPS 2017, arXiv:1703.01780"
    ideas: ClassVar[tuple[str, ...]] = ("consistency",)
    loss_weights: ClassVar[tuple[str, ...]] = ("weight",)
    networks = {"student": Network(), "teacher": Network(ema_of="student")}

    weight: NotNegative = 0.2
    ema_decay: Fraction = 0.99
    ema_warmup: bool = True
    sigma_teacher: NotNegative = 0.1

    def decay_at(self, progress: Progress) -> float:
        if not self.ema_warmup:
            return self.ema_decay
        return min(1.0 - 1.0 / (progress.step + 1), self.ema_decay)

    def forward(self, batch: Batch, nets: Nets, progress: Progress) -> Outs:
        outs = super().forward(batch, nets, progress)
        noise = batch.noise(self.sigma_teacher, "teacher", "unlabelled")
        with torch.no_grad():
            logits = nets["teacher"](noise(batch.unlabelled)).logits
        return outs | {"teacher": logits.float().softmax(1)}

    def terms(self, batch: Batch, nets: Nets, outs: Outs, progress: Progress) -> Terms:
        p = outs["student"].unlabelled.logits.float().softmax(1)
        term = self.consistency(p - outs["teacher"], outs, progress)
        return self.labelled(batch, outs) | {"consistency": term}

    def consistency(self, difference: Tensor, outs: Outs, progress: Progress) -> Term:
        """The unlabelled term; ``difference`` (B', C, X, Y, Z) is p_student - p_teacher."""
        return Term(difference.square().mean(), self.weight * ramp(progress.frac))
