"""Uncertainty-aware mean teacher (Yu et al. 2019)."""

from torch import Tensor

from ssltut.data.batch import Batch
from ssltut.methods.classic.mean_teacher import MeanTeacher
from ssltut.methods.contract import Nets, Outs, Progress, Term
from ssltut.methods.losses import masked_mean
from ssltut.methods.schedules import ramp
from ssltut.methods.uncertainty import Classes, mc_passes, published_threshold
from ssltut.options import Count


class UAMT(MeanTeacher):
    """Mean teacher whose consistency counts only where the teacher is sure.

    Mask: entropy of the mean of dropout + noise passes below (0.75 + 0.25 ramp(t/T)) ln 2. Term:
    the masked squared difference, averaged over the masked voxels and the classes (the published
    sum(m d) / (2 sum(m)) with two classes). Departures as in mean teacher.

    option   published  ours   why
    passes   8          8
    classes  -          'two'  two classes published; of more, the most probable 'two' against ln 2,
                               or 'all' against ln C

    The other options are those of mean teacher.
    """

    name, title, year = "ua_mt", "UA-MT", 2019
    paper = "Yu et al., MICCAI 2019, arXiv:1907.07034"
    ideas = ("consistency", "evidence")

    passes: Count = 8
    classes: Classes = "two"

    def forward(self, batch: Batch, nets: Nets, progress: Progress) -> Outs:
        outs = super().forward(batch, nets, progress)
        found = mc_passes(batch, nets["teacher"], self.passes, self.sigma_teacher, self.classes)
        return outs | {"uncertainty": found.entropy_of_mean}

    def consistency(self, difference: Tensor, outs: Outs, progress: Progress) -> Term:
        limit = published_threshold(progress.frac, difference.shape[1], self.classes)
        sure = outs["uncertainty"] < limit
        value = masked_mean(difference.square().mean(1), sure)
        return Term(value, self.weight * ramp(progress.frac), sure.float().mean().item())
