"""The region vote beside another method, in scans that show something new (our variant)."""

from copy import deepcopy
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ssltut.data.batch import Batch
from ssltut.errors import ConfigError
from ssltut.methods.classic.ua_mt import UAMT
from ssltut.methods.contract import Method, Nets, Network, Outs, Plan, Progress, Terms
from ssltut.methods.further.medl import MEDL
from ssltut.methods.matching.vote import RegionVote
from ssltut.methods.parts.memory import ScoreTable
from ssltut.nets.base import SegNet
from ssltut.options import Count, Fraction, NotNegative, OpenShare, Positive, Share, WholeNumber

FORMER = {"ua_mt": "scan_vote", "medl": "evidential_vote"}  # names of these two forms
KEPT = 0.9  # of what is known of a scan, when another of its patches is seen


class VoteBeside(RegionVote):
    """A host method throughout; from ``start`` on the vote beside it, where a scan stands out.

    How unsure a teacher is depends on how long it has learned. Which scans it is least sure of does
    not: at three fifths of the training as at its end the same ones stand out, those that show what
    no labelled scan does. So the share of unreliable voxels of every unlabelled scan is averaged
    over its patches, and only patches of a scan with at least ``scans`` times the median are
    matched, and of these only those with ``share``. References vote that look alike and lie alike
    (``place``): this leans on scans that are cut alike.

    The host keeps its own terms, networks and prediction. UA-MT runs on schedules that end at
    ``start``: its weight has its height when the vote begins. MEDL runs on its own schedules over
    the whole training; beside it stands a teacher, the average of its first network, and the match
    teaches both its networks.

    host     "ua_mt" or "medl"
    weight   of the host's terms, relative to the host's own
    start    the fraction of training from which the match counts, at full weight
    slow     the fraction of training from which the learning rate is ``rate`` of that before
    share    of the voxels of a patch that must be unreliable
    scans    multiple of the median over all scans that a scan's share must reach; 0: every scan
    """

    name, title = "vote_beside", "embedding matching, vote beside a host"
    ideas = (*RegionVote.ideas, "other data")
    loss_weights = ("weight", *RegionVote.loss_weights)
    retired = RegionVote.retired | {"ema_warmup": True}

    host: Literal["ua_mt", "medl"] = "ua_mt"
    weight: NotNegative = 1.0
    start: OpenShare = 0.6
    slow: Fraction = 0.8
    rate: Positive = 0.25
    share: Share = 0.04
    scans: NotNegative = 2.0
    w_ua: NotNegative = 0.0
    w_ps: NotNegative = 10.0
    place: NotNegative = 100.0
    k: Count = 20
    interior: WholeNumber = 200
    memory: WholeNumber = 2000

    def __post_init__(self) -> None:
        super().__post_init__()
        networks = {**self.hosted.networks, "teacher": Network(ema_of="student")}
        object.__setattr__(self, "networks", networks)
        title = f"embedding matching, vote beside {self.hosted.title}"
        object.__setattr__(self, "title", title)

    @property
    def identity(self) -> dict[str, Any]:
        """Runs made before there was a choice of hosts are found by the names they had."""
        options = super().identity["options"]
        del options["host"]
        options |= {"weight": self.hosted.options["weight"], "rampup": self.start}
        return {"method": FORMER[self.host], "options": options}

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


def revived(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """The options of a run of ``scan_vote`` or ``evidential_vote`` as those of ``VoteBeside``.

    Raises ConfigError where they say what ``VoteBeside`` cannot do.
    """
    host = next(host for host, former in FORMER.items() if former == name)
    options = dict(options)
    rampup = options.pop("rampup", None)
    if rampup is not None and rampup != options.get("start", VoteBeside.start):
        fix = "the vote now has its full weight from start on; train again"
        raise ConfigError(f"rampup is {rampup}", where=name, fix=fix)
    if host == "ua_mt" and "weight" in options:
        options["weight"] /= UAMT.weight
    return {"host": host, **options}
