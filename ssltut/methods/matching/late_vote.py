"""The place vote as a second round, after a mean teacher has learned what it can (our variant)."""

from ssltut.data.batch import Batch
from ssltut.errors import ConfigError
from ssltut.methods.classic.ua_mt import UAMT
from ssltut.methods.contract import Nets, Plan, Progress, Terms
from ssltut.methods.matching.place_vote import PlaceVote


class LateVote(PlaceVote):
    """A first round of UA-MT, and a short second one of the place vote, asked only in patches that
    the teacher of the first does not know.

    Early in training most of what is unsure is what the network has yet to learn, and at the rim of
    a patch it is what lacks its surroundings: there teacher and student come right by themselves,
    and a match that is right four times in five does harm. What is still unsure after a first round
    fills a good share of a patch where a scan shows what no labelled one does, and hardly any
    elsewhere. So the first round is UA-MT with its weight ``weight``, until ``start`` (a share of
    the training). The second, at ``rate`` times the learning rate, so that what was learned stays,
    matches only patches with at least ``share`` unreliable voxels. They are few in a mean over all
    voxels: weight 10.
    """

    name = "late_vote"
    title = "embedding matching, late vote"

    start: float = 0.8
    rampup: float = 0.8  # the second round has full weight from its first step on
    rate: float = 0.25
    share: float = 0.04
    w_ps: float = 10.0
    ema_warmup: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 < self.start < 1.0:
            raise ConfigError(
                f"start is {self.start}",
                where=self.name,
                fix="give a fraction of training above 0, below 1",
            )
        if self.rate <= 0.0:
            raise ConfigError(
                f"rate is {self.rate}",
                where=self.name,
                fix="give a share of the learning rate above 0",
            )

    def terms(self, batch: Batch, nets: Nets, outs: None, progress: Progress) -> Terms:
        if progress.frac >= self.start:
            return super().terms(batch, nets, None, progress)
        ua_mt, at = self.first_round(progress)
        return ua_mt.losses(batch, nets, at)

    def first_round(self, progress: Progress) -> tuple[UAMT, Progress]:
        """The method of the first round, and where that round stands: at its end for good once it
        is over.
        """
        steps = round(self.start * progress.total)
        return UAMT(weight=self.weight, sigma_student=self.sigma_student), Progress(
            min(progress.step, steps), steps
        )

    def plan(self, progress: Progress, default: Plan) -> Plan:
        return default._replace(rates=self.rates(progress))

    def rates(self, progress: Progress) -> dict[str, float]:
        return {"student": self.rate} if self.voting(progress) else {}

    def voting(self, progress: Progress) -> bool:
        """Whether the vote has begun, and counts for anything."""
        return progress.frac >= self.start and bool(self.wanted())
