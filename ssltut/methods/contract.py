"""The contract every method keeps. Only ``losses`` is compulsory."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from ssltut.data.batch import Batch
from ssltut.methods.losses import supervised_loss
from ssltut.methods.parts.ema import ema_update
from ssltut.methods.schedules import ramp
from ssltut.nets.base import Head, Out, SegNet

Nets = Mapping[str, nn.Module]
PARTS = ("labelled", "unlabelled")
IDEAS = {
    "consistency": "what two views, two moments or two outputs say of a scan must agree",
    "pseudo-labels": "what a network says of unlabelled voxels is learnt as if it were a label",
    "mixing": "scans are cut, and pasted into each other",
    "prototypes": "voxels are held against labelled or remembered embeddings, or their means",
    "contrast": "embeddings are pulled together and pushed apart",
    "shape": "what form a structure can have",
    "evidence": "how sure a voxel is decides what it counts",
    "other data": (
        "more than scans and whole label maps: geometry, partial labels, other networks' weights"
    ),
}


class Term(NamedTuple):
    """One named part of the loss: the total is the sum of weight x value by construction.

    share  the share of voxels the value was averaged over, where a mask chose them (for the curves)
    """

    value: Tensor
    weight: float = 1.0
    share: float | None = None


class Progress(NamedTuple):
    """Where training stands; schedules are functions of ``frac`` (0 to 1)."""

    step: int
    total: int

    @property
    def frac(self) -> float:
        return self.step / self.total


class Role(NamedTuple):
    """A network a method needs.

    ema_of  the role it follows by exponential moving average (it is then never trained), or None
            for a trained network
    mode    "train" or "eval": how an EMA network runs outside MC-dropout passes
    heads   further outputs of a trained network by name
    arch    its kind (ssltut.nets.build.build_net) where that is not the kind of the configuration; slice
            by slice where that one is
    weights pre-trained weights on disk; "" where it would profit from some and has none, which
    training says; None: it starts at random An EMA network has the heads and the kind of the
    network it follows.
    """

    ema_of: str | None = None
    mode: str = "eval"
    heads: Mapping[str, Head] = {}
    arch: str | None = None
    weights: str | None = None


class Plan(NamedTuple):
    """How many labelled and unlabelled patches the next batch holds."""

    labelled: int
    unlabelled: int


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """A method is its options (the dataclass fields) and these hooks; it knows no file, no device,
    no plot.

    name, title, paper, year  what it is called here, in tables, and where it comes from
    exact                     True: after the published equations; False: our reconstruction or our
                              own
    roles                     the networks it needs; the first one predicts
    ideas                     which of IDEAS it uses; none in the two bounds
    sigma_student             noise on what the student sees, labelled and unlabelled, in units of
                              the normalised image
    """

    name: ClassVar[str]
    title: ClassVar[str]
    paper: ClassVar[str]
    year: ClassVar[int]
    exact: ClassVar[bool] = True
    uses: ClassVar[str] = "labelled+unlabelled"
    roles: ClassVar[Mapping[str, Role]] = {"student": Role()}
    ideas: ClassVar[tuple[str, ...]] = ()

    sigma_student: float = 0.02

    @property
    def options(self) -> dict[str, object]:
        return asdict(self)

    def plan(self, progress: Progress, default: Plan) -> Plan:
        """The composition of the next batch; ``default`` is what the training configuration asks
        for.
        """
        return default

    def learners(self, progress: Progress) -> tuple[str, ...]:
        """The roles that learn in this step; ``losses`` gives the others no gradient."""
        return tuple(role for role, spec in self.roles.items() if spec.ema_of is None)

    def rates(self, progress: Progress) -> dict[str, float]:
        """The learning rate of this step by role, relative to that of the configuration; 1 for a
        role that is not there.
        """
        return {}

    def extra_modules(self, student: SegNet, n_classes: int) -> dict[str, nn.Module]:
        """Further modules (memories, projections of maps of ``student``), saved beside the
        networks; their parameters learn.
        """
        return {}

    @abstractmethod
    def losses(self, batch: Batch, nets: Nets, progress: Progress) -> dict[str, Term]:
        """The named terms of this step."""

    def after_step(self, nets: Nets, batch: Batch, progress: Progress) -> None:
        """Runs after the optimiser step: EMA for every role that asks for it."""
        for role, spec in self.roles.items():
            if spec.ema_of is not None:
                ema_update(nets[role], nets[spec.ema_of], self.decay_at(progress))

    def decay_at(self, progress: Progress) -> float:
        """EMA decay of this step."""
        return 0.99

    @torch.no_grad()
    def predict(self, nets: Nets, x: Tensor) -> Tensor:
        """Class probabilities (B, C, X, Y, Z) of normalised images; the networks are in eval
        mode.
        """
        return nets[next(iter(self.roles))](x).logits.float().softmax(1)

    def supervised(self, batch: Batch, nets: Nets) -> Term:
        """Cross-entropy + Dice of the student on the labelled patches alone: the whole of labels
        only, and of any method whose weights are 0.
        """
        return Term(supervised_loss(self.see(batch, nets, ("labelled",)).logits, batch.y_l))

    def both(self, batch: Batch, nets: Nets) -> tuple[Out, Out]:
        """What the student gives for the labelled and for the unlabelled patches."""
        return self.see(batch, nets).split(len(batch.x_l))

    def see(
        self,
        batch: Batch,
        nets: Nets,
        parts: Sequence[str] = PARTS,
        role: str = "student",
        **options,
    ) -> Out:
        """What a trained network gives for the named parts of the batch, in one pass; ``options``
        are those of its forward.

        One pass, as in the published codes, so that batch norm has one set of statistics. In two
        passes each half was normalised by itself while the running averages, which prediction uses,
        mixed the two: that alone cost 0.12 Dice on the synthetic hips.
        """
        return nets[role](torch.cat([self.view(batch, part) for part in parts]), **options)

    def view(self, batch: Batch, part: str) -> Tensor:
        """The "labelled" or "unlabelled" patches as a trained network sees them: under the
        student's noise.
        """
        return batch.noise(self.sigma_student, "student", part)(
            batch.x_l if part == "labelled" else batch.x_u
        )


@dataclass(frozen=True, kw_only=True)
class Consistency(Method):
    """A method with one unlabelled term: L = L_S + λ L_U with λ = weight * ramp(t / (rampup T)), or
    weight at once where rampup is 0.

    It fills in ``unlabelled``. Every trained network learns from the labels. At weight 0 nothing of
    the unlabelled patches acts: labels only, on the networks with their heads.
    """

    weight: float = 0.1
    rampup: float = 1.0

    def losses(self, batch: Batch, nets: Nets, progress: Progress) -> dict[str, Term]:
        parts = PARTS if batch.x_u is not None and self.weight else PARTS[:1]
        trained = [role for role, spec in self.roles.items() if spec.ema_of is None]
        outs = {role: self.see(batch, nets, parts, role, heads=True) for role in trained}
        terms = self.labelled(batch, outs)
        if parts == PARTS:
            rise = ramp(progress.frac / self.rampup) if self.rampup else 1.0
            terms["consistency"] = self.unlabelled(batch, nets, outs)._replace(
                weight=self.weight * rise
            )
        return terms

    def labelled(self, batch: Batch, outs: Mapping[str, Out]) -> dict[str, Term]:
        """Cross-entropy + Dice of every trained network: the mean over its main output and the
        heads marked supervised.
        """
        terms, n = {}, len(batch.x_l)
        for role, out in outs.items():
            logits = [
                out.logits,
                *(z for name, z in out.heads.items() if self.roles[role].heads[name].supervised),
            ]
            loss = sum(supervised_loss(z[:n], batch.y_l) for z in logits) / len(logits)
            terms[f"{role} supervised" if terms else "supervised"] = Term(loss)
        return terms

    @abstractmethod
    def unlabelled(self, batch: Batch, nets: Nets, outs: Mapping[str, Out]) -> Term:
        """L_U; ``outs`` is what each trained network gave for the labelled patches and, after them,
        the unlabelled ones.
        """
