"""The contract every method keeps: its options, its networks, and four steps.

``plan`` says what the next batch holds, ``forward`` passes it through the networks, ``terms`` is a
pure function of what came out, and ``update`` alone changes anything: averages and memories.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any, ClassVar, Literal, NamedTuple, dataclass_transform

import torch
from torch import Tensor, nn

from ssltut.data.batch import Batch
from ssltut.methods.losses import mean_of, supervised_loss
from ssltut.methods.parts.ema import ema_update
from ssltut.methods.schedules import ramp
from ssltut.nets.base import Head, Out, SegNet
from ssltut.options import Fraction, NotNegative, check_options

Nets = Mapping[str, Any]  # networks by role, and a method's further modules by name
Part = Literal["labelled", "unlabelled"]
Fidelity = Literal["published", "adapted", "reconstruction"]
PARTS: tuple[Part, ...] = ("labelled", "unlabelled")
RULES = 2  # of the bench, in the identity of a run: runs made under others are not taken for ours
IDEAS = {
    "consistency": "two views, moments or outputs must give the same answer for a scan",
    "pseudo-labels": "the class a network gives to an unlabelled voxel is learnt like a label",
    "mixing": "scans are cut, and pasted into each other",
    "prototypes": "voxels are compared with labelled or remembered embeddings, or their means",
    "contrast": "embeddings are pulled together and pushed apart",
    "shape": "which shapes a structure can have",
    "evidence": "the more certain a voxel, the more it counts",
    "other data": "more than scans and whole label maps: geometry, partial labels, other networks' "
    "weights",
}
# The bench prescribes network, optimiser, labelled loss, patches and learning rate to all.
FIDELITIES: dict[Fidelity, str] = {
    "published": "equations, inputs, weights and defaults of the paper or the released code",
    "adapted": "the published equations with a choice of ours that may matter, or ours after them",
    "reconstruction": "rebuilt from a description, not from the whole paper or its code",
}


class Supervision(StrEnum):
    """Which scans a method learns from."""

    LABELLED = "labelled"
    SEMI = "labelled+unlabelled"
    ALL = "all labels"


class Term(NamedTuple):
    """One named part of the loss: the total is the sum of weight x value by construction."""

    value: Tensor
    weight: float = 1.0
    share: float | None = None  # of the voxels it is a mean over, where a mask chose them


Terms = dict[str, Term]


class Progress(NamedTuple):
    """Where training stands; schedules are functions of ``frac`` (0 to 1)."""

    step: int
    total: int

    @property
    def frac(self) -> float:
        return self.step / self.total


class Network(NamedTuple):
    """A network a method needs."""

    # The network it follows by exponential moving average: it is then never trained, and has the
    # heads and the kind of that one.
    ema_of: str | None = None
    mode: str = "eval"  # or "train": how an EMA network runs outside MC-dropout passes
    heads: Mapping[str, Head] = {}  # further outputs of a trained network by name
    # Its kind (ssltut.nets.build) where that is not the kind of the configuration; slice by slice
    # where that one is.
    arch: str | None = None
    # Pre-trained weights on disk; "" where it would profit from some and has none, which training
    # says; None: it starts at random.
    weights: str | None = None


class Plan(NamedTuple):
    """The next step: how many patches of each kind its batch holds, and how fast networks learn."""

    labelled: int
    unlabelled: int
    rates: Mapping[str, float] = {}  # relative to the learning rate of the configuration
    bins: int = 0  # or a scan gives so many patches, one at each level along the body (PatchPool)

    @property
    def all_labelled(self) -> "Plan":
        """As many patches, but no unlabelled one."""
        return self._replace(labelled=self.labelled + self.unlabelled, unlabelled=0)


class NetOutput(NamedTuple):
    """What one network gave for a batch: the labelled patches and, after them, the unlabelled."""

    whole: Out
    n_labelled: int

    @property
    def labelled(self) -> Out:
        return self.whole.split(self.n_labelled)[0]

    @property
    def unlabelled(self) -> Out:
        """Empty where the unlabelled patches were not in the pass."""
        return self.whole.split(self.n_labelled)[1]


# What a method's own forward gives: a NetOutput for each trained network, or a tuple with names.
Outs = Any


@dataclass_transform(frozen_default=True, kw_only_default=True)
@dataclass(frozen=True, kw_only=True)
class Method:
    """A method is its options and these hooks; it knows no file, no device, no plot.

    Its annotated fields are its options, checked by their annotations (ssltut.options). No
    decorator is needed: each subclass becomes a frozen dataclass. The hooks of this class are those
    of *labels only, same batch*: a loss on the labelled patches, the unlabelled ones merely in the
    pass. A method changes what it needs to.

    name, title, paper, year  what it is called here, in tables, and where it comes from
    fidelity                  how near it is to its source, a word of FIDELITIES
    supervision               which scans it learns from
    networks                  the networks it needs, by role; the first one predicts
    ideas                     which of IDEAS it uses; none in the bounds
    loss_weights              options that weigh its own terms: at 0 it is labels only, same batch
    needs_unlabelled          False where it acts in steps without unlabelled patches, too
    sigma_student             noise on what trained networks see, in units of the normalised image
    """

    name: ClassVar[str] = "method"
    title: ClassVar[str]
    paper: ClassVar[str]
    year: ClassVar[int]
    fidelity: ClassVar[Fidelity] = "published"
    supervision: ClassVar[Supervision] = Supervision.SEMI
    networks: ClassVar[Mapping[str, Network]] = {"student": Network()}
    ideas: ClassVar[tuple[str, ...]] = ()
    loss_weights: ClassVar[tuple[str, ...]] = ()
    needs_unlabelled: ClassVar[bool] = True

    sigma_student: NotNegative = 0.02

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        dataclass(frozen=True, kw_only=True)(cls)
        facts = [f.name for f in fields(cls) if f.name in FACTS]
        if facts:
            raise TypeError(f"{cls.__name__}: {', '.join(facts)} must have no annotation")

    def __post_init__(self) -> None:
        check_options(self, self.name)

    @property
    def options(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def identity(self) -> dict[str, Any]:
        """Name, options and rules as they enter the identity of a run."""
        return {"method": self.name, "options": self.options, "rules": RULES}

    @property
    def trained(self) -> list[str]:
        """The roles of the networks that learn."""
        return [role for role, network in self.networks.items() if network.ema_of is None]

    def learners(self, progress: Progress) -> tuple[str, ...]:
        """The networks that learn in this step; ``terms`` gives the others no gradient."""
        return tuple(self.trained)

    def plan(self, progress: Progress, default: Plan) -> Plan:
        """The next step; ``default`` is what the training configuration asks for."""
        return default

    def extra_modules(self, student: SegNet, n_classes: int) -> dict[str, nn.Module]:
        """Further modules that are saved and learn: memories, or projections of ``student``."""
        return {}

    @property
    def idle(self) -> bool:
        """Whether all its ``loss_weights`` are 0, so that it is labels only, same batch."""
        return bool(self.loss_weights) and not any(getattr(self, w) for w in self.loss_weights)

    def acts(self, batch: Batch, progress: Progress) -> bool:
        """Whether it has terms of its own in this step: a weight, and the patches it needs."""
        needs = self.needs_unlabelled and self.supervision is Supervision.SEMI
        return not self.idle and (batch.x_u is not None or not needs)

    def acting(self, batch: Batch, progress: Progress) -> "Method":
        """Whose hooks this step follows: its own, or labels only, same batch, without heads."""
        if self.acts(batch, progress):
            return self
        plain = Method(sigma_student=self.sigma_student)
        networks = {role: spec._replace(heads={}) for role, spec in self.networks.items()}
        object.__setattr__(plain, "networks", networks)
        return plain

    def forward(self, batch: Batch, nets: Nets, progress: Progress) -> Outs:
        """One pass a trained network, a ``NetOutput`` each; other passes are further entries."""
        return {role: self.see(batch, nets, role) for role in self.trained}

    def terms(self, batch: Batch, nets: Nets, outs: Outs, progress: Progress) -> Terms:
        """The named terms of this step. Pure: no memory is written and no network moved."""
        return self.labelled(batch, outs)

    def labelled(self, batch: Batch, outs: Outs) -> Terms:
        """L_S of every trained network: the mean over its main output and its supervised heads."""
        terms: Terms = {}
        for role in self.trained:
            heads = self.networks[role].heads
            seen = outs[role].labelled
            logits = [seen.logits, *(z for k, z in seen.heads.items() if heads[k].supervised)]
            name = f"{role} supervised" if terms else "supervised"
            terms[name] = Term(mean_of([supervised_loss(z, batch.y_l) for z in logits]))
        return terms

    def update(self, batch: Batch, nets: Nets, outs: Outs, progress: Progress) -> None:
        """After the optimiser step, the only writer: EMA for every network that asks for it."""
        for role, network in self.networks.items():
            if network.ema_of is not None:
                ema_update(nets[role], nets[network.ema_of], self.decay_at(progress))

    def losses(self, batch: Batch, nets: Nets, progress: Progress) -> Terms:
        """What a step would learn, with nothing changed by asking."""
        acting = self.acting(batch, progress)
        return acting.terms(batch, nets, acting.forward(batch, nets, progress), progress)

    def decay_at(self, progress: Progress) -> float:
        """EMA decay of this step."""
        return 0.99

    @torch.no_grad()
    def predict(self, nets: Nets, x: Tensor) -> Tensor:
        """Class probabilities (B, C, X, Y, Z) of normalised images; networks are in eval mode."""
        return nets[next(iter(self.networks))](x).logits.float().softmax(1)

    def see(self, batch: Batch, nets: Nets, role: str = "student") -> NetOutput:
        """What a trained network gives for the whole batch, with its heads, in one pass.

        One pass, as in the published codes, so that batch norm has one set of statistics: with two
        its running averages, which prediction uses, fit neither, at 0.12 Dice on synthetic hips.
        """
        options = {"heads": True} if self.networks[role].heads else {}
        return NetOutput(nets[role](self.patches(batch), **options), len(batch.x_l))

    def patches(self, batch: Batch, who: str = "student") -> Tensor:
        """All patches as a trained network sees them, the labelled first: ``view`` of each part."""
        parts = PARTS if batch.x_u is not None else PARTS[:1]
        return torch.cat([self.view(batch, part, who) for part in parts])

    def view(self, batch: Batch, part: Part, who: str = "student") -> Tensor:
        """The patches of one part as a trained network sees them: under the noise of ``who``."""
        noise = batch.noise(self.sigma_student, who, part)
        return noise(batch.x_l if part == "labelled" else batch.unlabelled)


FACTS = (
    *("name", "title", "paper", "year", "fidelity", "supervision", "networks"),
    *("ideas", "loss_weights", "needs_unlabelled"),
)


class Consistency(Method, ABC):
    """A method with one unlabelled term: L = L_S + λ L_U with λ = weight * ramp(t / (rampup T)).

    It fills in ``unlabelled``; where rampup is 0, λ is weight at once.
    """

    loss_weights = ("weight",)

    weight: NotNegative = 0.1
    rampup: Fraction = 1.0

    def terms(self, batch: Batch, nets: Nets, outs: Outs, progress: Progress) -> Terms:
        rise = ramp(progress.frac / self.rampup) if self.rampup else 1.0
        consistency = self.unlabelled(batch, nets, outs)._replace(weight=self.weight * rise)
        return self.labelled(batch, outs) | {"consistency": consistency}

    @abstractmethod
    def unlabelled(self, batch: Batch, nets: Nets, outs: Outs) -> Term:
        """L_U from what each trained network gave."""
