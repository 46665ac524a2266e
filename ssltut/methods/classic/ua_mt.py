"""Uncertainty-aware mean teacher (Yu et al. 2019)."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ssltut.data.batch import Batch
from ssltut.methods.classic.mean_teacher import MeanTeacher
from ssltut.methods.contract import Nets, Progress, Term
from ssltut.methods.losses import masked_mean
from ssltut.methods.schedules import ramp
from ssltut.methods.uncertainty import mc_dropout, published_threshold


@dataclass(frozen=True, kw_only=True)
class UAMT(MeanTeacher):
    """Mean teacher whose consistency counts only where the teacher is sure.

    Mask: entropy of the mean of ``passes`` dropout + noise passes below (0.75 + 0.25 ramp(t/T)) ln
    C. Term: the masked squared difference, averaged over the masked voxels and the classes (the
    published sum(m d) / (2 sum(m)) with two classes). Departures as in mean teacher.
    """

    name: ClassVar[str] = "ua_mt"
    title: ClassVar[str] = "UA-MT"
    paper: ClassVar[str] = "Yu et al., MICCAI 2019, arXiv:1907.07034"
    year: ClassVar[int] = 2019
    ideas: ClassVar[tuple[str, ...]] = ("consistency", "evidence")

    passes: int = 8

    def consistency(self, difference: Tensor, batch: Batch, nets: Nets, progress: Progress) -> Term:
        views = (batch.noise(self.sigma_teacher, "mc", m)(batch.x_u) for m in range(self.passes))
        sure = mc_dropout(nets["teacher"], views).entropy_of_mean < published_threshold(
            progress.frac, batch.n_classes
        )
        value = masked_mean(difference.square().mean(1), sure)
        return Term(value, self.weight * ramp(progress.frac), sure.float().mean().item())
