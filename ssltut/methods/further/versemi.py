"""One prompted network for partially labelled data sets, VerSemi (TMI 2025)."""

from collections.abc import Iterable

import torch
from torch import Tensor

from ssltut.data.batch import Batch
from ssltut.errors import ConfigError
from ssltut.methods.contract import Method, Nets, Network, Plan, Progress, Term, Terms
from ssltut.methods.losses import dice_loss, squared_dice_loss, supervised_loss
from ssltut.methods.parts.masks import box_mask, halves
from ssltut.methods.parts.perturb import uniform
from ssltut.nets.heads import Head


class VerSemi(Method):
    """Scans in which only some classes are labelled teach one network that is told by a one-hot
    which class to draw, or to draw any.

    Labelled patches: "supervised", cross-entropy + Dice of the prompts whose class is labelled
    there; "any", Dice of the prompt for any class on two patches pasted together; in the first
    ``stage`` of training also "pasted", Dice of each prompt on that mix, where its class is
    labelled. Then unlabelled patches get a labelled box: "consistency", Dice of the prompt for any
    class and the largest of the others (the gradient flows through both, as released), and
    "labelled part", Dice of any class in the box. Box sides 2/3, later U(0.3, 0.6).
    A hidden class enters no term: its label is not read, and where it may hide (background of a
    scan that lacks a class) the prompt for any class learns nothing. The published one learns
    background there; ``union="labelled"`` has it so, and data without a whole scan need it.
    Departures: a scan may have several labelled classes, and terms are means over prompts; the
    network of the configuration under the dynamic head (published: V-Net); no second head and no
    EMA copy, which nothing uses as released; Adam.

    weight  of the two unlabelled terms; at 0 the labelled ones alone
    """

    name, title, year = "versemi", "VerSemi", 2025
    paper = (
        "VerSemi (Segment Together), IEEE Transactions on Medical Imaging 2025, arXiv:2311.11686"
    )
    ideas = ("consistency", "mixing", "other data")
    networks = {"student": Network(heads={"prompts": Head(prompts=True, supervised=True)})}

    weight: float = 1.0
    stage: float = 0.5
    box: float = 2 / 3
    union: str = "known"

    def __post_init__(self) -> None:
        if self.union not in ("known", "labelled"):
            raise ConfigError(
                f"union is {self.union!r}", where=self.name, fix="use known or labelled"
            )

    def plan(self, progress: Progress, default: Plan) -> Plan:
        return (
            Plan(default.labelled, 0) if progress.frac < self.stage or not self.weight else default
        )

    def forward(self, batch: Batch, nets: Nets, progress: Progress) -> None:
        """All passes are in ``terms``."""

    def terms(self, batch: Batch, nets: Nets, outs: None, progress: Progress) -> Terms:
        first, draw = progress.frac < self.stage, batch.generator("box")
        keep = box_mask(
            batch.x_l.shape[2:], self.box if first else float(uniform(draw, (), 0.3, 0.6)), draw
        )
        y, known = self.read(batch)
        (a, b), (y_a, y_b), (k_a, k_b) = halves(batch.x_l), halves(y), halves(known)
        mix, y_mix, k_mix = (
            torch.where(keep, a, b),
            torch.where(keep, y_a, y_b),
            torch.where(keep, spread(k_a), spread(k_b)),
        )
        views = [
            self.view(batch, "labelled"),
            batch.noise(self.sigma_student, "student", "mix")(mix),
        ]
        if batch.x_u is not None and self.weight:
            n = min(len(batch.x_l), len(batch.x_u))
            views.append(
                batch.noise(self.sigma_student, "student", "unlabelled")(
                    torch.where(keep, batch.x_u[:n], batch.x_l[:n])
                )
            )
        z = nets["student"](torch.cat(views), heads=True).heads["prompts"].float()
        own, mixed, *unlabelled = z.split([len(v) for v in views])
        terms = {
            "supervised": Term(
                mean_of(
                    supervised_loss(two(own[rows, c]), (y[rows] == c).long())
                    for c, rows in enumerate(known.T)
                    if c and rows.any()
                )
            )
        }
        terms["any"] = Term(
            dice_loss(two(mixed[:, 0]), (y_mix > 0).long(), self.counts(y_mix, k_mix))
        )
        if first:
            terms["pasted"] = Term(
                mean_of(
                    dice_loss(two(mixed[:, c]), (y_mix == c).long(), k_mix[:, c])
                    for c in range(1, batch.n_classes)
                    if k_mix[:, c].any()
                )
            )
        for z in unlabelled:
            p = z.sigmoid()
            terms["consistency"] = Term(
                squared_dice_loss(p[:, :1], p[:, 1:].amax(1, keepdim=True)), self.weight
            )
            counts = self.counts(y[: len(z)], spread(known[: len(z)])) & ~keep
            terms["labelled part"] = Term(
                dice_loss(two(z[:, 0]), (y[: len(z)] > 0).long(), counts), self.weight
            )
        return terms

    def read(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The labels (B, X, Y, Z) without the classes that are not labelled in their scan, and
        which are, (B, C).
        """
        known = batch.known_classes()
        return batch.y_l * known.gather(1, batch.y_l.flatten(1)).view_as(batch.y_l), known

    def counts(self, y: Tensor, known: Tensor) -> Tensor:
        """Where it is known if there is any foreground (B, X, Y, Z): in what is labelled, and in
        scans with every class labelled.
        """
        return (
            (y > 0) | known[:, 1:].all(1)
            if self.union == "known"
            else torch.ones_like(y, dtype=torch.bool)
        )


def spread(known: Tensor) -> Tensor:
    """(B, C) as (B, C, 1, 1, 1)."""
    return known[..., None, None, None]


def two(z: Tensor) -> Tensor:
    """Log-odds (B, X, Y, Z) as the logits of a network of two classes (B, 2, X, Y, Z)."""
    return torch.stack([torch.zeros_like(z), z], 1)


def mean_of(values: Iterable[Tensor]) -> Tensor:
    values = list(values)
    return sum(values) / len(values)
