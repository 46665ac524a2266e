"""The region vote beside another method, in scans that show something new (our variant)."""

from copy import deepcopy
from typing import Literal

import torch
from torch import Tensor, nn

from ssltut.data.batch import Batch
from ssltut.methods.classic.ua_mt import UAMT
from ssltut.methods.contract import Method, Nets, Network, Outs, Plan, Progress, Terms
from ssltut.methods.further.medl import MEDL
from ssltut.methods.matching.vote import RegionVote
from ssltut.methods.parts.memory import ScoreTable
from ssltut.nets.base import SegNet
from ssltut.options import Count, Fraction, NotNegative, OpenShare, Positive, Share, WholeNumber

KEPT = 0.9  # of what is known of a scan, when another of its patches is seen


class VoteBeside(RegionVote):
    """A host method as it is; from ``start`` on our vote is added, in scans that stand out.

    A scan stands out by its share of unreliable voxels, averaged over its patches: at least
    ``scans`` times the median. Of its patches those with ``share`` are matched. Which scans stand
    out does not depend on how long the teacher has learned: those that show what no labelled one
    does. With place (``by``) the vote is an atlas of k nearest neighbours and leans on scans that
    are all cut alike. No part of its final form has been ablated.

    The host keeps its own terms, networks and prediction. UA-MT runs on schedules that end at
    ``start``: its weight has its height when the vote begins. MEDL runs on its own schedules over
    the whole training; beside it stands a teacher, the average of its first network, and the match
    teaches both its networks.

    option     published  ours     why
    host       -          'ua_mt'  or 'medl'
    weight     -          1.0      of the host's terms, relative to the host's own
    start      -          0.6      fraction of training from which the match counts, in full
    slow       -          0.8      fraction from which the speed is ``rate`` of that before
    rate       -          0.25     see ``slow``
    share      -          0.04     of the voxels of a patch that must be unreliable
    scans      -          2.0      times the median that a scan's share must reach; 0: every one
    w_ua       0.25       0.0      the host teaches where the teacher is sure
    w_ps       0.125      10.0     few patches are matched
    by         -          'both'   'looks': last map and bottleneck; 'place'; or 'both', with the
                                   place beside 1 for each of the two maps
    k          16         20       fewer of a batch beside those remembered
    interior   -          200      fewer of a batch beside those remembered
    memory     -          2000     many places
    ema_decay  0.99       0.99     of the teacher, at most 1 - 1/(t+1)

    The other options are those of the region vote.
    """

    name, title = "vote_beside", "vote by looks and place beside UA-MT"
    ideas = (*RegionVote.ideas, "other data")
    loss_weights = ("weight", *RegionVote.loss_weights)

    host: Literal["ua_mt", "medl"] = "ua_mt"
    weight: NotNegative = 1.0
    start: OpenShare = 0.6
    slow: Fraction = 0.8
    rate: Positive = 0.25
    share: Share = 0.04
    scans: NotNegative = 2.0
    w_ua: NotNegative = 0.0
    w_ps: NotNegative = 10.0
    by: Literal["looks", "place", "both"] = "both"
    k: Count = 20
    interior: WholeNumber = 200
    memory: WholeNumber = 2000

    def __post_init__(self) -> None:
        super().__post_init__()
        networks = {**self.hosted.networks, "teacher": Network(ema_of="student")}
        object.__setattr__(self, "networks", networks)
        how = "looks and place" if self.by == "both" else self.by
        object.__setattr__(self, "title", f"vote by {how} beside {self.hosted.title}")

    @property
    def hosted(self) -> Method:
        """The host with this method's weight."""
        if self.host == "medl":
            weights = dict.fromkeys(("weight", "curriculum", "evidence"), self.weight)
            return MEDL(sigma_student=self.sigma_student, **weights)
        return UAMT(sigma_student=self.sigma_student, weight=self.weight * UAMT.weight)

    def at_host(self, progress: Progress) -> Progress:
        """Where the host's schedules stand."""
        if self.host == "medl":
            return progress
        steps = max(1, round(self.start * progress.total))
        return Progress(min(progress.step, steps), steps)

    def voting(self, progress: Progress) -> bool:
        """Whether the vote has begun, and counts for anything."""
        return progress.frac >= self.start and bool(self.w_ua or self.w_ps)

    def plan(self, progress: Progress, default: Plan) -> Plan:
        rates = dict.fromkeys(self.trained, self.rate) if progress.frac >= self.slow else {}
        return default._replace(rates=rates)

    def decay_at(self, progress: Progress) -> float:
        return min(1.0 - 1.0 / (progress.step + 1), self.ema_decay)

    def extra_modules(self, student: SegNet, n_classes: int) -> dict[str, nn.Module]:
        return super().extra_modules(student, n_classes) | {"scores": ScoreTable()}

    def forward(self, batch: Batch, nets: Nets, progress: Progress) -> Outs:
        at = self.at_host(progress)
        outs = self.hosted.acting(batch, at).forward(batch, nets, at)
        return outs | self.teach(batch, nets) if self.voting(progress) else outs

    def terms(self, batch: Batch, nets: Nets, outs: Outs, progress: Progress) -> Terms:
        at = self.at_host(progress)
        terms = self.hosted.acting(batch, at).terms(batch, nets, outs, at)
        if "references" in outs:
            found = self.assign(batch, nets, outs, progress)
            logits = [outs[role].unlabelled.logits for role in self.trained]
            terms |= self.vote_terms(found, logits, 1.0)
        return terms

    def matched_patches(self, batch: Batch, nets: Nets, shares: Tensor) -> Tensor:
        table: ScoreTable = deepcopy(nets["scores"])
        means = running_means(table, batch.ids_u, shares)
        limit = self.scans * table.limit(0.5)
        new = [means[case_id] >= limit for case_id in batch.ids_u]
        return (shares >= self.share) & torch.tensor(new, device=shares.device)

    def update(self, batch: Batch, nets: Nets, outs: Outs, progress: Progress) -> None:
        super().update(batch, nets, outs, progress)
        if "references" in outs:
            _, unreliable = self.unreliable(outs["passes"])
            shares = unreliable.float().mean((1, 2, 3))
            running_means(nets["scores"], batch.ids_u, shares)

    @torch.no_grad()
    def predict(self, nets: Nets, x: Tensor) -> Tensor:
        return self.hosted.predict(nets, x)


def running_means(table: ScoreTable, ids: tuple[str, ...], shares: Tensor) -> dict[str, float]:
    """Writes the shares of patches into the means of their scans, and gives these."""
    means: dict[str, float] = {}
    for case_id, share in zip(ids, shares.tolist(), strict=True):
        known = table.recall(case_id)
        means[case_id] = share if known is None else KEPT * known + (1.0 - KEPT) * share
        table.store([case_id], [means[case_id]])
    return means
