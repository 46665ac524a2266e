"""The contract every method keeps: its options, its networks, and four steps.

``plan`` says what the next batch holds, ``forward`` passes it through the networks, ``terms`` is a
pure function of what came out, and ``update`` alone changes anything: averages and memories.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any, ClassVar, Literal, NamedTuple, dataclass_transform

import torch
from torch import Tensor, nn

from ssltut.data.batch import Batch
from ssltut.methods.losses import supervised_loss
from ssltut.methods.parts.ema import ema_update
from ssltut.methods.schedules import ramp
from ssltut.nets.base import Head, Out, SegNet
from ssltut.options import Fraction, NotNegative, check_options

Nets = Mapping[str, Any]  # networks by role, and a method's further modules by name
Part = Literal["labelled", "unlabelled"]
PARTS: tuple[Part, ...] = ("labelled", "unlabelled")
IDEAS = {
    "consistency": "what two views, two moments or two outputs say of a scan must agree",
    "pseudo-labels": "what a network says of unlabelled voxels is learnt as if it were a label",
    "mixing": "scans are cut, and pasted into each other",
    "prototypes": "voxels are compared with labelled or remembered embeddings, or their means",
    "contrast": "embeddings are pulled together and pushed apart",
    "shape": "what form a structure can have",
    "evidence": "how sure a voxel is decides what it counts",
    "other data": "more than scans and whole label maps: geometry, partial labels, other networks' "
    "weights",
}


class Supervision(StrEnum):
    """Which scans a method learns from."""

    LABELLED = "labelled"
    SEMI = "labelled+unlabelled"
    ALL = "all labels"


class Term(NamedTuple):
    """One named part of the loss: the total is the sum of weight x value by construction.

    share  the share of voxels the value was averaged over, where a mask chose them (for the curves)
    """

    value: Tensor
    weight: float = 1.0
    share: float | None = None


Terms = dict[str, Term]


class Progress(NamedTuple):
    """Where training stands; schedules are functions of ``frac`` (0 to 1)."""

    step: int
    total: int

    @property
    def frac(self) -> float:
        return self.step / self.total


class Network(NamedTuple):
    """A network a method needs.

    ema_of  the network it follows by exponential moving average (it is then never trained, and has
            the heads and the kind of that one); None for a trained network
    mode    "train" or "eval": how an EMA network runs outside MC-dropout passes
    heads   further outputs of a trained network by name
    arch    its kind (ssltut.nets.build) where that is not the kind of the configuration; slice by
            slice where that one is
    weights pre-trained weights on disk; "" where it would profit from some and has none, which
            training says; None: it starts at random
    """

    ema_of: str | None = None
    mode: str = "eval"
    heads: Mapping[str, Head] = {}
    arch: str | None = None
    weights: str | None = None


class Plan(NamedTuple):
    """The next step: how many patches of each kind its batch holds, and how fast networks learn.

    rates  learning rates relative to that of the configuration; 1 for a network that is not there
    """

    labelled: int
    unlabelled: int
    rates: Mapping[str, float] = {}


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
class Method(ABC):
    """A method is its options and these hooks; it knows no file, no device, no plot.

    Its annotated fields are its options, checked by their annotations (ssltut.options). No
    decorator is needed: each subclass becomes a frozen dataclass.

    name, title, paper, year  what it is called here, in tables, and where it comes from
    exact                     True: after the published equations; False: a reconstruction or ours
    supervision               which scans it learns from
    networks                  the networks it needs, by role; the first one predicts
    ideas                     which of IDEAS it uses; none in the two bounds
    retired                   options it once had, with the values that now always hold: they stay
                              in the identity of a run, so that old runs are found
    sigma_student             noise on what trained networks see, in units of the normalised image
    """

    name: ClassVar[str]
    title: ClassVar[str]
    paper: ClassVar[str]
    year: ClassVar[int]
    exact: ClassVar[bool] = True
    supervision: ClassVar[Supervision] = Supervision.SEMI
    networks: ClassVar[Mapping[str, Network]] = {"student": Network()}
    ideas: ClassVar[tuple[str, ...]] = ()
    retired: ClassVar[Mapping[str, Any]] = {}

    sigma_student: NotNegative = 0.02

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        dataclass(frozen=True, kw_only=True)(cls)
        facts = [f.name for f in fields(cls) if f.name in FACTS]
        if facts:
            raise TypeError(f"{cls.__name__}: {', '.join(facts)} is no option; drop its annotation")

    def __post_init__(self) -> None:
        check_options(self, self.name)

    @property
    def options(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def identity(self) -> dict[str, Any]:
        """Name and options as they enter the identity of a run."""
        return {"method": self.name, "options": dict(self.retired) | self.options}

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
        """Further modules, saved beside the networks; their parameters learn.

        Memories, or projections of maps of ``student``.
        """
        return {}

    def acts(self, progress: Progress) -> bool:
        """Whether any term on unlabelled patches has a weight; by default the option ``weight``.

        Where none has, these patches are in no pass, so that not even batch norm sees them.
        """
        return getattr(self, "weight", 1.0) > 0.0

    def parts(self, batch: Batch, progress: Progress) -> tuple[Part, ...]:
        """The parts of the batch that pass the trained networks."""
        return PARTS if batch.x_u is not None and self.acts(progress) else PARTS[:1]

    def forward(self, batch: Batch, nets: Nets, progress: Progress) -> Outs:
        """What the networks give for a batch: one pass a trained network, a ``NetOutput`` each.

        Further passes, such as those of a teacher, are further entries.
        """
        parts = self.parts(batch, progress)
        return {role: self.see(batch, nets, parts, role) for role in self.trained}

    @abstractmethod
    def terms(self, batch: Batch, nets: Nets, outs: Outs, progress: Progress) -> Terms:
        """The named terms of this step. Pure: no memory is written and no network moved."""

    def update(self, batch: Batch, nets: Nets, outs: Outs, progress: Progress) -> None:
        """After the optimiser step, the only writer: EMA for every network that asks for it."""
        for role, network in self.networks.items():
            if network.ema_of is not None:
                ema_update(nets[role], nets[network.ema_of], self.decay_at(progress))

    def losses(self, batch: Batch, nets: Nets, progress: Progress) -> Terms:
        """``terms`` of ``forward``: what a step would learn, with nothing changed by asking."""
        return self.terms(batch, nets, self.forward(batch, nets, progress), progress)

    def decay_at(self, progress: Progress) -> float:
        """EMA decay of this step."""
        return 0.99

    @torch.no_grad()
    def predict(self, nets: Nets, x: Tensor) -> Tensor:
        """Class probabilities (B, C, X, Y, Z) of normalised images; networks are in eval mode."""
        return nets[next(iter(self.networks))](x).logits.float().softmax(1)

    def see(
        self, batch: Batch, nets: Nets, parts: Sequence[Part] = PARTS, role: str = "student"
    ) -> NetOutput:
        """What a trained network gives for the named parts of a batch, with its heads, in one pass.

        One pass, as in the published codes, so that batch norm has one set of statistics. In two
        passes each half was normalised by itself while the running averages, which prediction uses,
        mixed the two: that alone cost 0.12 Dice on the synthetic hips.
        """
        x = torch.cat([self.view(batch, part) for part in parts])
        options = {"heads": True} if self.networks[role].heads else {}
        return NetOutput(nets[role](x, **options), len(batch.x_l))

    def view(self, batch: Batch, part: Part) -> Tensor:
        """The patches of one part as a trained network sees them: under the student's noise."""
        noise = batch.noise(self.sigma_student, "student", part)
        return noise(batch.x_l if part == "labelled" else batch.unlabelled)


FACTS = ("name", "title", "paper", "year", "exact", "supervision", "networks", "ideas", "retired")


def supervised(out: NetOutput, batch: Batch) -> Term:
    """Cross-entropy + Dice of a network on the labelled patches (L_S)."""
    return Term(supervised_loss(out.labelled.logits, batch.y_l))


class Consistency(Method):
    """A method with one unlabelled term: L = L_S + λ L_U with λ = weight * ramp(t / (rampup T)).

    It fills in ``unlabelled``; where rampup is 0, λ is weight at once. Every trained network learns
    from the labels. At weight 0 nothing of the unlabelled patches acts: labels only, on the
    networks with their heads.
    """

    weight: NotNegative = 0.1
    rampup: Fraction = 1.0

    def terms(self, batch: Batch, nets: Nets, outs: Outs, progress: Progress) -> Terms:
        terms = self.labelled(batch, outs)
        if len(self.parts(batch, progress)) > 1:
            rise = ramp(progress.frac / self.rampup) if self.rampup else 1.0
            term = self.unlabelled(batch, nets, outs)
            terms["consistency"] = term._replace(weight=self.weight * rise)
        return terms

    def labelled(self, batch: Batch, outs: Outs) -> Terms:
        """L_S of every trained network: the mean over its main output and its supervised heads."""
        terms: Terms = {}
        for role, out in outs.items():
            heads = self.networks[role].heads
            seen = out.labelled
            logits = [seen.logits, *(z for k, z in seen.heads.items() if heads[k].supervised)]
            losses = [supervised_loss(z, batch.y_l) for z in logits]
            name = f"{role} supervised" if terms else "supervised"
            terms[name] = Term(sum(losses[1:], losses[0]) / len(losses))
        return terms

    @abstractmethod
    def unlabelled(self, batch: Batch, nets: Nets, outs: Outs) -> Term:
        """L_U from what each trained network gave."""
