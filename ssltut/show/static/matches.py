"""One voxel of an unlabelled scan, what a labelled scan says about it, and its picture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from ssltut.data.labels import LabelTable
from ssltut.errors import ConfigError
from ssltut.methods.matching import primitives
from ssltut.show.static import scene3d
from ssltut.show.static.pictures import styled
from ssltut.show.static.slices import PLANES, Scene, check_shapes, colour_scale, draw_plane


@dataclass(frozen=True, eq=False)  # arrays cannot be compared by ==
class EmbeddedScan:
    """One scan of the correspondence explorer, which takes all but the first two as keywords.

    name, table     what it is called, and its classes
    image, spacing  (X, Y, Z) HU or MR values, mm;  window  as in ``Scene``
    embedding       (D, X, Y, Z)
    label           (X, Y, Z) of a labelled scan; of the unlabelled one its truth, where known
    answer, heat    (X, Y, Z) what the teacher says, and for example its entropy
    Raises ConfigError when the arrays do not share one grid.
    """

    name: str
    table: LabelTable
    image: np.ndarray
    spacing: tuple[float, float, float]
    embedding: Tensor
    label: np.ndarray | None = None
    answer: np.ndarray | None = None
    heat: np.ndarray | None = None
    heat_label: str = "entropy (nats)"
    window: str | tuple[float, float] | None = "bone"

    def __post_init__(self) -> None:
        layers = {"embedding": self.embedding[0], "label": self.label, "answer": self.answer}
        check_shapes(self.image, layers)

    @property
    def known(self) -> np.ndarray | None:
        """The best that is known of its classes: the label, else the teacher's answer."""
        return self.label if self.label is not None else self.answer

    @cached_property
    def vectors(self) -> Tensor:
        """The embedding as vectors (voxels, D)."""
        return primitives.voxel_vectors(self.embedding[None])

    @cached_property
    def surfaces(self) -> list[scene3d.Mesh]:
        """The surface of each known class; without any, the box of the scan's corners."""
        if self.known is not None and self.known.any():
            return scene3d.surfaces(self.known, self.spacing, self.table, max_faces=2500)
        corners = np.indices((2, 2, 2)).reshape(3, -1).T * (np.array(self.image.shape) - 1.0)
        faces = np.array([[0, 1, 3], [0, 3, 2], [4, 5, 7], [4, 7, 6]])
        return [scene3d.Mesh(corners * self.spacing, faces, name="scan")]

    def scene(self, at: Sequence[int], **layers: Any) -> Scene:
        """The scan cut at a voxel, with ``layers``, keywords of ``Scene``."""
        look: dict[str, Any] = {"window": self.window, "table": self.table, "at": at}
        return Scene(self.image, self.spacing, **look, **layers)


class Question(NamedTuple):
    """What decides a match.

    kernel  of ``matching.KERNELS``;  k  neighbours
    band    around the label's surfaces, in voxels;  draw  which draw of references
    """

    kernel: str = "mean_cosine"
    k: int = 9
    band: int = 2
    draw: int = 0


class Match(NamedTuple):
    """What the labelled scan ``source`` says about voxel ``at`` of the scan ``target``.

    alike    (X, Y, Z) kernel of every labelled voxel with it
    place    (k, 3) voxels of the nearest references, best first
    classes  (k,) their class
    vote     (C,) share of the k that carry each class
    score    (C,) the kernel of each class of references, NaN for an absent one
    """

    target: EmbeddedScan
    source: EmbeddedScan
    at: tuple[int, ...]
    question: Question
    alike: np.ndarray
    place: np.ndarray
    classes: np.ndarray
    vote: np.ndarray
    score: np.ndarray

    @property
    def answers(self) -> dict[str, int]:
        """The class named by the vote, the kernel, the teacher and the truth, where known."""
        vote, kernel = int(self.vote.argmax()), int(np.nanargmax(self.score))
        classes = {f"vote of {self.question.k}": vote, self.question.kernel: kernel}
        for name, values in (("teacher", self.target.answer), ("truth", self.target.label)):
            if values is not None:
                classes[name] = int(values[self.at])
        return classes

    @property
    def agree(self) -> np.ndarray:
        """(k,) True where a neighbour has the known class of the voxel, or where none is known."""
        if self.target.known is None:
            return np.ones(len(self.classes), bool)
        return self.classes == self.target.known[self.at]


class MatchFinder:
    """Matches voxels of ``target`` to one of the ``labelled`` scans.

    references  of each class in each of 5 redraws, from the band around the label's surfaces
    Raises ConfigError without labelled scans, for one without label or with other channels.
    """

    def __init__(
        self, target: EmbeddedScan, labelled: Mapping[str, EmbeddedScan], references: int = 120
    ) -> None:
        if not labelled:
            problem = "there is no labelled scan to look for matches in"
            raise ConfigError(problem, fix="give at least one")
        for name, scan in labelled.items():
            if scan.label is None:
                problem = "a scan to look for matches in has no label"
                raise ConfigError(problem, where=name, fix="give its label")
            if len(scan.embedding) != len(target.embedding):
                problem = f"its embedding has {len(scan.embedding)} channels"
                problem += f", that of the unlabelled scan {len(target.embedding)}"
                raise ConfigError(problem, where=name, fix="take both from the same network")
        self.target, self.labelled, self.n_references = target, labelled, references
        self.n_classes = target.table.n_classes
        self.drawn: dict[tuple[str, int, int], tuple[Tensor, Tensor]] = {}

    def references(self, scan: str, band: int, draw: int) -> tuple[Tensor, Tensor]:
        """References (C', 5, k) as positions in the flattened scan, and their classes (C',)."""
        key = (scan, band, draw)
        if key not in self.drawn:
            label = torch.as_tensor(np.asarray(self.labelled[scan].label, np.int64))[None]
            region = label, primitives.surface_shell(label, band), self.n_classes
            random, k = torch.Generator().manual_seed(draw), self.n_references
            index, present = primitives.draw_references(*region, k=k, redraws=5, generator=random)
            if not present.any():
                fix = "take a scan with more than one class"
                problem = "its label has no surface to draw references from"
                raise ConfigError(problem, where=scan, fix=fix)
            self.drawn[key] = index[present], torch.nonzero(present)[:, 0]
        return self.drawn[key]

    def __call__(self, at: Sequence[int], scan: str, question: Question) -> Match:
        """Raises ConfigError when k is not between 1 and the number of references."""
        source = self.labelled[scan]
        index, present = self.references(scan, question.band, question.draw)
        # a small band is drawn from with replacement, but a voxel is a neighbour once
        bank = index.unique()
        if not 1 <= question.k <= len(bank):
            fix = "use at least 1 and at most all of them"
            raise ConfigError(f"{question.k} neighbours of {len(bank)} references", fix=fix)
        x, y, z = at
        query = self.target.embedding[:, x, y, z].float()[None]
        score = torch.full((self.n_classes,), torch.nan)
        score[present] = primitives.similarity(source.vectors[index], query, question.kernel)[:, 0]
        # each voxel as a class of one reference: the kernel itself
        alike = primitives.similarity(source.vectors[:, None, None], query, question.kernel)[:, 0]
        nearest = bank[alike[bank].topk(question.k).indices].numpy()
        place = np.stack(np.unravel_index(nearest, source.image.shape), -1)
        classes = np.asarray(source.label)[tuple(place.T)].astype(np.int64)
        vote = np.bincount(classes, minlength=self.n_classes) / question.k
        resemblance = alike.view(source.image.shape).numpy()
        where = (self.target, source, tuple(at), question)
        return Match(*where, resemblance, place, classes, vote, score.numpy())


def line_names(target: EmbeddedScan) -> tuple[str, str]:
    """What agreeing and other lines are called."""
    if target.known is None:
        return "match", "other match"
    if target.label is not None:
        return "match of the right class", "match of a wrong class"
    return "match of the teacher's class", "match of another class"


def target_scene(match: Match) -> Scene:
    """The unlabelled scan, with what is known of it outlined."""
    target = match.target
    known = {"truth": target.label, "teacher": target.answer}
    outlines = {name: values for name, values in known.items() if values is not None}
    heat = {"heat": target.heat, "heat_label": target.heat_label}
    return target.scene(match.at, contours=outlines or None, **heat)


def reference_scene(match: Match, at: Sequence[int]) -> Scene:
    """The labelled scan: its label outlined, the most similar quarter in colour."""
    low = float(np.quantile(match.alike.ravel()[::7], 0.75))
    heat = np.clip(match.alike - low, 0, None)
    text = f"above {low:.3f}, the most similar quarter"
    outlines = {"label": match.source.label}
    return match.source.scene(at, contours=outlines, heat=heat, heat_label=text)


def match_scene(match: Match) -> scene3d.MatchScene:
    """Both scans beside each other and a line from the voxel to each neighbour."""
    target, source = match.target, match.source
    start = np.tile(np.multiply(match.at, target.spacing), (len(match.place), 1))
    end, names = match.place * source.spacing, (target.name, source.name)
    sides = (target.surfaces, source.surfaces)
    return scene3d.arrange_matches(sides, start, end, match.agree, names, line_names(target))


@styled
def correspondence_figure(match: Match, title: str | None) -> Figure:
    """The voxel in its scan, its neighbours in the other, answers, and lines between them."""
    fig = Figure(figsize=(13, 7.6))
    target, reference = target_scene(match), reference_scene(match, match.place[0])
    outlines = zip(("solid", "dashed"), target.contours or (), strict=False)
    outlined = "; ".join(f"{look}: {of}" for look, of in outlines)
    marks = f"marks: the {match.question.k} nearest"
    rows = (
        (target, f"{match.target.name}, voxel {match.at}; {outlined}", 0.53),
        (reference, f"{match.source.name}, cut at the nearest reference; {marks}", 0.08),
    )
    for scene, heading, bottom in rows:
        edges = {"left": 0.01, "right": 0.7, "bottom": bottom, "top": bottom + 0.35}
        axes = fig.subplots(1, 3, gridspec_kw=edges | {"wspace": 0.04})
        for ax, plane in zip(axes, PLANES, strict=True):
            draw_plane(ax, scene, plane, "", crosshair=True)
            if scene is reference:
                mark_neighbours(ax, scene, plane, match)
        fig.text(0.01, bottom + 0.365, heading, fontsize=14, weight="bold")
    draw_answers(fig.add_axes((0.73, 0.5, 0.26, 0.4)), match)
    scene3d.draw_matches(fig, match_scene(match), box=(0.71, 0.12, 0.28, 0.34), ncols=1)
    low = match.alike.max() - reference.top  # the bar has the kernel's own values at its ends
    ends: dict[str, Any] = {"ticks": [0, reference.top], "format": lambda v, _: f"{v + low:.3f}"}
    bar = fig.add_axes((0.42, 0.05, 0.2, 0.02))
    fig.colorbar(colour_scale(reference), cax=bar, orientation="horizontal", **ends)
    fig.text(0.01, 0.05, f"{match.question.kernel} of the most similar quarter of the scan:")
    if title:
        fig.suptitle(title, x=0.01, ha="left", fontsize=18)
    return fig


def mark_neighbours(ax: Axes, scene: Scene, plane: str, match: Match) -> None:
    """The neighbours, where they lie as seen through the slices."""
    place, (_, across, up, _) = match.place, PLANES[plane]
    x = (scene.image.shape[across] - place[:, across] - 0.5) * scene.spacing[across]
    y = (place[:, up] + 0.5) * scene.spacing[up]
    mark: dict[str, Any] = {"ls": "", "ms": 9, "mec": "white", "mew": 1.5}
    for keep, style in zip((match.agree, ~match.agree), scene3d.MATCHES, strict=True):
        ax.plot(x[keep], y[keep], marker=style["marker"], mfc=style["color"], **mark)


def draw_answers(ax: Axes, match: Match) -> None:
    """Share of each class in the vote as bars, and who says what."""
    says, table = match.answers, match.target.table
    n = table.n_classes
    ax.barh(range(n), match.vote, color=["#888888", *table.colours[1:]], edgecolor="black")
    for c, share in enumerate(match.vote):
        ax.text(0.02, c, f"{table.names[c]}  {share:.0%}", va="center", fontsize=13)
    ax.set(xlim=(0, 1), ylim=(n + 0.2 + 0.75 * len(says), -0.6), xticks=[], yticks=[])
    ax.set_title("share of the neighbours")
    ax.spines[:].set_visible(False)
    for row, (who, c) in enumerate(says.items()):
        text, weight = f"{who}: {table.names[c]}", "bold" if who == "truth" else None
        if "truth" in says and who != "truth":
            text += "  right" if c == says["truth"] else "  wrong"
        ax.text(0, n + 0.3 + 0.75 * row, text, fontsize=13, weight=weight)
