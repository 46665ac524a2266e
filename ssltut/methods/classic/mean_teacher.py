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

    L = L_S + weight ramp(t/T) mean (p_student - p_teacher)^2, the mean over classes and voxels of
    the unlabelled patches. After step t: teacher <- d teacher + (1 - d) student with
    d = min(1 - 1/(t+1), ema_decay). As the 3D codes have it: their 40 or 200 ramps of 150 steps are
    the whole run. The teacher runs in eval mode, theirs in train mode; EMA covers buffers too.

    option         published  ours  why
    weight         0.1        0.2   the code has half of cross-entropy + Dice beside it, ours all
    ema_decay      0.99       0.99
    ema_warmup     True       True  1 - 1/(t+1) at the beginning
    sigma_teacher  0.1        0.1   the code clips the noise at 0.2
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
