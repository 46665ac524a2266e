"""Mean teacher (Tarvainen & Valpola 2017) as used for 3D segmentation."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ssltut.data.batch import Batch
from ssltut.methods.contract import Method, Nets, Progress, Role, Term
from ssltut.methods.losses import supervised_loss
from ssltut.methods.schedules import ramp
from ssltut.nets.base import Out


@dataclass(frozen=True, kw_only=True)
class MeanTeacher(Method):
    """The student must predict what an average of its own past predicts under other noise.

    Term "consistency": mean over voxels and classes of (p_student - p_teacher)^2. Weight 0.1
    ramp(t/T): the published codes ramp over their whole run (40 x 150 of 6,000 steps, 200 x 150 of
    30,000). EMA decay min(1 - 1/(t+1), 0.99). Departures: the teacher runs in eval mode, not in
    train mode, and EMA covers buffers (the released code forgets them); noise on both sides is not
    clipped.
    """

    name: ClassVar[str] = "mean_teacher"
    title: ClassVar[str] = "mean teacher"
    paper: ClassVar[str] = "Tarvainen & Valpola, NeurIPS 2017, arXiv:1703.01780"
    year: ClassVar[int] = 2017
    ideas: ClassVar[tuple[str, ...]] = ("consistency",)
    roles: ClassVar = {"student": Role(), "teacher": Role(ema_of="student")}

    weight: float = 0.1
    ema_decay: float = 0.99
    ema_warmup: bool = True
    sigma_teacher: float = 0.1

    def decay_at(self, progress: Progress) -> float:
        return (
            min(1.0 - 1.0 / (progress.step + 1), self.ema_decay)
            if self.ema_warmup
            else self.ema_decay
        )

    @torch.no_grad()
    def teacher_probabilities(self, batch: Batch, nets: Nets) -> Tensor:
        return (
            nets["teacher"](batch.noise(self.sigma_teacher, "teacher", "unlabelled")(batch.x_u))
            .logits.float()
            .softmax(1)
        )

    def losses(self, batch: Batch, nets: Nets, progress: Progress) -> dict[str, Term]:
        if batch.x_u is None or self.weight == 0.0:
            return {"supervised": self.supervised(batch, nets)}
        return self.terms(batch, nets, progress, *self.both(batch, nets))

    def terms(
        self, batch: Batch, nets: Nets, progress: Progress, labelled: Out, unlabelled: Out
    ) -> dict[str, Term]:
        """Both terms; ``labelled`` and ``unlabelled`` are what the student gives for these
        patches.
        """
        difference = unlabelled.logits.float().softmax(1) - self.teacher_probabilities(batch, nets)
        return {
            "supervised": Term(supervised_loss(labelled.logits, batch.y_l)),
            "consistency": self.consistency(difference, batch, nets, progress),
        }

    def consistency(self, difference: Tensor, batch: Batch, nets: Nets, progress: Progress) -> Term:
        """The unlabelled term; ``difference`` (B', C, X, Y, Z) is p_student - p_teacher."""
        return Term(difference.square().mean(), self.weight * ramp(progress.frac))
