"""The place vote beside a mean teacher, in scans that show something new (our variant)."""

import torch
from torch import Tensor, nn

from ssltut.data.batch import Batch
from ssltut.errors import ConfigError
from ssltut.methods.contract import Nets, Progress, Terms
from ssltut.methods.matching.late_vote import LateVote
from ssltut.methods.parts.memory import ScoreTable
from ssltut.nets.base import SegNet

KEPT = 0.9  # of what is known of a scan, when another of its patches is seen


class ScanVote(LateVote):
    """UA-MT throughout; from ``start`` on the place vote beside it, in scans that stand out from
    the other unlabelled ones.

    How unsure a teacher is depends on how long it has learned; which scans it is least sure of does
    not: at three fifths of the training as at its end the same ones stand out, those with a nail or
    thin bone where no labelled scan has any. So of every unlabelled scan the share of unreliable
    voxels is averaged over its patches, and only patches of a scan with at least ``scans`` times
    the median are matched (and of these only those with ``share``). The vote can then begin earlier
    than the late vote's, at the full rate, and need not replace UA-MT, which goes on everywhere;
    from ``slow`` on, a fraction of training, the learning rate is ``rate`` of that before.
    """

    name = "scan_vote"
    title = "embedding matching, scan vote"

    start: float = 0.6
    rampup: float = 0.6
    slow: float = 0.8
    scans: float = 2.0
    w_ua: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 <= self.slow <= 1.0:
            raise ConfigError(
                f"slow is {self.slow}",
                where=self.name,
                fix="give a fraction of training, 1 for never",
            )
        if self.scans < 0.0:
            raise ConfigError(
                f"scans is {self.scans}",
                where=self.name,
                fix="give a multiple of the median of at least 0, 0 for all scans",
            )

    def extra_modules(self, student: SegNet, n_classes: int) -> dict[str, nn.Module]:
        return super().extra_modules(student, n_classes) | {"scores": ScoreTable()}

    def terms(self, batch: Batch, nets: Nets, outs: None, progress: Progress) -> Terms:
        ua_mt, at = self.first_round(progress)
        if batch.x_u is None or not self.voting(progress):
            return ua_mt.losses(batch, nets, at)
        outs = ua_mt.forward(batch, nets, at)
        student = outs["student"].unlabelled
        return ua_mt.terms(batch, nets, outs, at) | self.unlabelled(batch, nets, progress, student)

    def asked(self, batch: Batch, nets: Nets, shares: Tensor) -> Tensor:
        table: ScoreTable = nets["scores"]
        means: dict[str, float] = {}
        for case_id, share in zip(batch.ids_u, shares.tolist(), strict=True):
            known = table.recall(case_id)
            means[case_id] = share if known is None else KEPT * known + (1.0 - KEPT) * share
            table.store([case_id], [means[case_id]])
        limit = self.scans * table.limit(0.5)
        new = [means[case_id] >= limit for case_id in batch.ids_u]
        return super().asked(batch, nets, shares) & torch.tensor(new, device=shares.device)

    def rates(self, progress: Progress) -> dict[str, float]:
        return (
            dict.fromkeys(self.trained, self.rate)
            if progress.frac >= self.slow and (self.weight or self.wanted())
            else {}
        )
