"""How much to run: smoke (tests), class (a two-core laptop), full (a GPU, the paper's setting)."""

from dataclasses import asdict, dataclass, fields, replace
from typing import Annotated, Any, Literal, get_type_hints

from ssltut.errors import ConfigError
from ssltut.options import (
    Count,
    Fraction,
    NotNegative,
    Positive,
    Range,
    WholeNumber,
    check_content,
    check_options,
)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything that decides a training run beside the method's options and the cohort.

    steps, lr, betas     Adam; Xie et al. 2024: lr 1e-4, betas (0.9, 0.99), no decay
    patch                sides in voxels; labelled, unlabelled: patches of each kind a step (for
                         the bounds their sum is labelled)
    arch, width, depth, dropout
                         the network (ssltut.nets.build.build_net)
    validate_every       steps between validations (each one also writes a checkpoint)
    decay                the rate falls as (1 - t / T)^decay (0.9 as in nnU-Net); 0: it stays
    select               "last", the weights at the end; or those with the highest "dice" or the
                         lowest "hd95" (as in the paper) on the validation split, which a few scans
                         make a lottery: give it six and more, as varied as the test
    norm                 "batch" (as in the papers), "instance" or "group"
    randomise            strength of the domain randomisation of the patches, 0 (off) to 1
                         (ssltut.data.views.Randomisation)
    precision            "auto": bf16 on a GPU or a CPU with AMX, else fp32

    Raises ConfigError for a value that cannot be.
    """

    steps: Count = 200
    lr: Positive = 2e-3
    betas: tuple[float, float] = (0.9, 0.99)
    patch: tuple[int, int, int] = (32, 32, 32)
    labelled: Count = 2
    unlabelled: WholeNumber = 2
    arch: str = "unet"
    width: Annotated[int, Range(1, 1024)] = 8
    depth: Annotated[int, Range(1, 10)] = 3
    dropout: Fraction = 0.15
    norm: Literal["batch", "instance", "group"] = "batch"
    validate_every: Count = 100
    select: Literal["dice", "hd95", "last"] = "last"
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = "auto"
    seed: int = 0
    randomise: Fraction = 0.0
    decay: NotNegative = 0.9

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(field.default, float) and type(value) is int:
                object.__setattr__(self, field.name, float(value))  # 1 and 1.0 are the same run
        check_options(self, "training configuration")
        halvings = self.depth - 1
        halved = self.patch[:2] if self.arch.endswith("2d") else self.patch
        if min(self.patch) < 1 or any(side % 2**halvings for side in halved):
            what = f"the patch is {self.patch} and the network halves it {halvings} times"
            raise ConfigError(what, fix=f"choose patch sides that are multiples of {2**halvings}")

    @staticmethod
    def from_dict(values: dict[str, Any]) -> "TrainConfig":
        """The configuration in a run.json; one without a decay is older than it and had none.

        Raises ConfigError for a value of another kind.
        """
        known = {field.name for field in fields(TrainConfig)}
        given = {"decay": 0.0} | {name: value for name, value in values.items() if name in known}
        kinds = get_type_hints(TrainConfig, include_extras=True)
        check_content(given, kinds, "training configuration", error=ConfigError)
        for name in {"betas", "patch"} & set(given):
            given[name] = tuple(given[name])
        return TrainConfig(**given)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Profile:
    """A name for a size: the synthetic cohort, the training run, repeats."""

    name: str
    size: int  # voxels a side of a scan, over a field of view of 160 mm
    cases: int
    labelled: int
    validation: int
    test: int
    train: TrainConfig  # from-scratch runs of notebook 06 and ``compare``
    teacher: TrainConfig  # the labels-only teacher of notebook 02
    seeds: tuple[int, ...]  # repeats of a comparison

    @property
    def cohort(self) -> dict[str, int]:
        """Arguments of ``synthetic_cohort``."""
        parts = {name: getattr(self, name) for name in ("size", "labelled", "validation", "test")}
        return {"n": self.cases} | parts


_SMOKE = TrainConfig(steps=12, patch=(16, 16, 16), width=4, depth=2, validate_every=6, lr=3e-3)
_CLASS = TrainConfig()
_FULL = TrainConfig(
    steps=40_000, lr=1e-4, patch=(96, 96, 96), width=16, depth=4, validate_every=1000
)
_COHORTS = {
    "smoke": {"size": 32, "cases": 10, "labelled": 2, "validation": 1, "test": 3},
    "class": {"size": 64, "cases": 28, "labelled": 4, "validation": 2, "test": 10},
    "full": {"size": 160, "cases": 200, "labelled": 4, "validation": 16, "test": 60},
}


def _profile(name: str, train: TrainConfig, teacher_steps: int, n_seeds: int = 3) -> Profile:
    teacher = replace(train, steps=teacher_steps)
    seeds = tuple(range(n_seeds))
    return Profile(name=name, train=train, teacher=teacher, seeds=seeds, **_COHORTS[name])


PROFILES = {
    "smoke": _profile("smoke", _SMOKE, teacher_steps=20, n_seeds=2),
    "class": _profile("class", _CLASS, teacher_steps=400),
    "full": _profile("full", _FULL, teacher_steps=10_000),
}


def profile_named(name: str) -> Profile:
    """The profile called ``name``. Raises ConfigError for an unknown one."""
    if name not in PROFILES:
        raise ConfigError(f"there is no profile {name!r}", fix=f"use one of {', '.join(PROFILES)}")
    return PROFILES[name]
