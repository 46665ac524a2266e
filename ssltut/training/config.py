"""How much to run: smoke (tests), class (a two-core laptop), full (a GPU, the paper's setting).
Schedules are fractions of training.
"""

from dataclasses import asdict, dataclass, fields, replace

from ssltut.errors import ConfigError

PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything that decides a training run beside the method's options and the cohort.

    steps, lr, betas         Adam; Xie et al. 2024: lr 1e-4, betas (0.9, 0.99), no decay; short
                             profiles raise lr
    patch                    sides in voxels; labelled, unlabelled: patches of each kind a step
    arch, width, depth, dropout, norm   the network (ssltut.nets.build.build_net); a 2D one leaves the
                                        third side as it is
    validate_every           steps between validations (each one also writes a checkpoint)
    decay                    the rate falls as (1 - t / T)^decay (0.9 in nnU-Net); 0: it stays
    select                   "dice" (highest mean on the validation split), "hd95" (lowest, as in
                             the paper) or "last"
    randomise                strength of the domain randomisation of the patches, 0 (off) to 1
                             (ssltut.data.views.Randomisation)
    precision                "auto" (bf16 on a GPU or a CPU with AMX, else fp32), "32-true",
                             "bf16-mixed" or "16-mixed"
    """

    steps: int = 200
    lr: float = 2e-3
    betas: tuple[float, float] = (0.9, 0.99)
    patch: tuple[int, int, int] = (32, 32, 32)
    labelled: int = 2
    unlabelled: int = 2
    arch: str = "unet"
    width: int = 8
    depth: int = 3
    dropout: float = 0.15
    norm: str = "batch"
    validate_every: int = 100
    select: str = "dice"
    precision: str = "auto"
    seed: int = 0
    randomise: float = 0.0
    decay: float = 0.0

    def __post_init__(self) -> None:
        for name in ("steps", "labelled", "width", "depth", "validate_every"):
            if getattr(self, name) < 1:
                raise ConfigError(
                    f"{name} is {getattr(self, name)}", fix="give a number of at least 1"
                )
        halved = self.patch[:2] if self.arch.endswith("2d") else self.patch
        if min(self.patch) < 1 or any(side % 2 ** (self.depth - 1) for side in halved):
            raise ConfigError(
                f"the patch is {self.patch} and the network halves it {self.depth - 1} times",
                fix=f"choose patch sides that are multiples of {2 ** (self.depth - 1)}",
            )
        if not self.lr > 0.0:
            raise ConfigError(f"the learning rate is {self.lr}", fix="give a number above 0")
        if self.select not in ("dice", "hd95", "last"):
            raise ConfigError(
                f"there is no selection rule {self.select!r}", fix="use dice, hd95 or last"
            )
        if not 0.0 <= self.randomise <= 1.0:
            raise ConfigError(f"randomise is {self.randomise}", fix="give a strength from 0 to 1")
        if self.decay < 0.0:
            raise ConfigError(
                f"decay is {self.decay}",
                fix="give 0, or the power by which the learning rate falls",
            )
        if self.precision not in PRECISIONS:
            raise ConfigError(
                f"there is no precision {self.precision!r}",
                fix=f"use one of {', '.join(PRECISIONS)}",
            )

    @staticmethod
    def from_dict(values: dict[str, object]) -> "TrainConfig":
        known = {f.name for f in fields(TrainConfig)}
        return TrainConfig(
            **{k: tuple(v) if isinstance(v, list) else v for k, v in values.items() if k in known}
        )

    def to_dict(self) -> dict[str, object]:
        found = asdict(self)
        return {
            name: value
            for name, value in found.items()
            if value or name not in ("randomise", "decay")
        }  # hashes of runs without them stay


@dataclass(frozen=True, kw_only=True)
class Profile:
    """A name for a size: the synthetic cohort (scans of size^3 voxels over a 160 mm field of view),
    the training run, repeats.

    train     from-scratch runs of notebook 05, 06 and ``compare``
    teacher   the labels-only teacher of notebook 02
    seeds     repeats of a comparison
    """

    name: str
    size: int
    cases: int
    labelled: int
    validation: int
    test: int
    train: TrainConfig
    teacher: TrainConfig
    seeds: tuple[int, ...]

    @property
    def cohort(self) -> dict[str, int]:
        """Arguments of ``synthetic_cohort``."""
        return {
            "n": self.cases,
            "size": self.size,
            "labelled": self.labelled,
            "validation": self.validation,
            "test": self.test,
        }


_SMOKE = TrainConfig(steps=12, patch=(16, 16, 16), width=4, depth=2, validate_every=6, lr=3e-3)
_CLASS = TrainConfig()
_FULL = TrainConfig(
    steps=40_000, lr=1e-4, patch=(96, 96, 96), width=16, depth=4, validate_every=1000, select="hd95"
)
PROFILES = {
    "smoke": Profile(
        name="smoke",
        size=32,
        cases=10,
        labelled=2,
        validation=1,
        test=3,
        train=_SMOKE,
        teacher=replace(_SMOKE, steps=20),
        seeds=(0, 1),
    ),
    "class": Profile(
        name="class",
        size=64,
        cases=28,
        labelled=4,
        validation=2,
        test=10,
        train=_CLASS,
        teacher=replace(_CLASS, steps=400),
        seeds=(0, 1, 2),
    ),
    "full": Profile(
        name="full",
        size=160,
        cases=200,
        labelled=4,
        validation=16,
        test=60,
        train=_FULL,
        teacher=replace(_FULL, steps=10_000),
        seeds=(0, 1, 2),
    ),
}


def profile_named(name: str) -> Profile:
    """The profile called ``name``. Raises ConfigError for an unknown one."""
    if name not in PROFILES:
        raise ConfigError(f"there is no profile {name!r}", fix=f"use one of {', '.join(PROFILES)}")
    return PROFILES[name]
