"""One voxel of an unlabelled scan, and what a labelled scan says about it: the search for matches
and its still picture.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from ssltut.data.labels import LabelTable
from ssltut.errors import ConfigError
from ssltut.methods.matching.primitives import (
    draw_references,
    similarity,
    surface_shell,
    voxel_vectors,
)
from ssltut.show.static.pictures import styled
from ssltut.show.static.scene3d import (
    MATCHES,
    MatchScene,
    Mesh,
    arrange_matches,
    draw_matches,
    surface,
)
from ssltut.show.static.slices import PLANES, Scene, colour_scale, draw_plane

REDRAWS, FACES = 5, 2500


@dataclass(frozen=True)
class EmbeddedScan:
    """One scan of the correspondence explorer, which takes these as keywords.

    image, spacing  (X, Y, Z) HU or MR values, mm;  embedding (D, X, Y, Z)
    label           (X, Y, Z): the labels of a labelled scan; of the unlabelled one its truth, where
                    known
    answer          (X, Y, Z) what the teacher says;  heat (X, Y, Z) for example its entropy;
                    window as in ``Scene``
    Raises ConfigError when the arrays do not share one grid.
    """

    image: np.ndarray
    spacing: tuple[float, float, float]
    embedding: Tensor
    label: np.ndarray | None = None
    answer: np.ndarray | None = None
    heat: np.ndarray | None = None
    heat_label: str = "entropy (nats)"
    window: str | tuple[float, float] | None = "bone"

    def __post_init__(self) -> None:
        for name, shape in (
            ("embedding", tuple(self.embedding.shape[1:])),
            ("label", np.shape(self.label)),
            ("answer", np.shape(self.answer)),
        ):
            if shape not in ((), self.image.shape):
                raise ConfigError(
                    f"{name} lies on a grid {shape} but the image on {self.image.shape}",
                    fix="put all on one grid",
                )

    @property
    def known(self) -> np.ndarray | None:
        """The best that is known of its classes: the label, else the teacher's answer."""
        return self.label if self.label is not None else self.answer


class Question(NamedTuple):
    """What decides a match: a kernel of ``matching.KERNELS``, k neighbours, the surface band in
    voxels, which draw of references.
    """

    kernel: str = "mean_cosine"
    k: int = 9
    band: int = 2
    draw: int = 0


PUBLISHED = Question()


class Match(NamedTuple):
    """What a labelled scan says about one voxel.

    alike  (X, Y, Z) kernel of every labelled voxel with it
    place  (k, 3) voxels of the nearest references, best first;  value, classes (k,) their kernel
           and class
    vote   (C,) share of the k that carry each class;  score (C,) the kernel of each class of
           references, NaN for an absent one
    """

    alike: np.ndarray
    place: np.ndarray
    value: np.ndarray
    classes: np.ndarray
    vote: np.ndarray
    score: np.ndarray


class MatchFinder:
    """Matches voxels of ``target`` to one of the ``labelled`` scans; what does not depend on the
    voxel is computed once.

    references  of each class in each of 5 redraws, from the band around the label's surfaces
    Raises ConfigError without a labelled scan, for one without a label or with another number of
    channels.
    """

    def __init__(
        self,
        target: EmbeddedScan,
        labelled: Mapping[str, EmbeddedScan],
        n_classes: int,
        references: int = 120,
    ) -> None:
        if not labelled:
            raise ConfigError(
                "there is no labelled scan to look for matches in", fix="give at least one"
            )
        for name, site in labelled.items():
            if site.label is None:
                raise ConfigError(
                    "a scan to look for matches in has no label", where=name, fix="give its label"
                )
            if len(site.embedding) != len(target.embedding):
                raise ConfigError(
                    f"its embedding has {len(site.embedding)} channels, that of the unlabelled scan"
                    f" {len(target.embedding)}",
                    where=name,
                    fix="take both from the same network",
                )
        self.target, self.labelled, self.n_classes, self.count = (
            target,
            labelled,
            n_classes,
            references,
        )
        self.vectors: dict[str, Tensor] = {}
        self.drawn: dict[tuple, tuple[Tensor, Tensor]] = {}

    def references(self, scan: str, band: int, draw: int) -> tuple[Tensor, Tensor]:
        """Positions (C', 5, references) in the flattened scan of the classes (C',) that its band
        holds.
        """
        key = (scan, band, draw)
        if key not in self.drawn:
            label = torch.as_tensor(self.labelled[scan].label.astype(np.int64))[None]
            found = draw_references(
                label,
                surface_shell(label, band),
                self.n_classes,
                k=self.count,
                redraws=REDRAWS,
                generator=torch.Generator().manual_seed(draw),
            )
            self.drawn[key] = found.index[found.present], torch.nonzero(found.present)[:, 0]
            if not found.present.any():
                raise ConfigError(
                    "its label has no surface to draw references from",
                    where=scan,
                    fix="take a scan with more than one class",
                )
        return self.drawn[key]

    def __call__(self, at: Sequence[int], scan: str, question: Question) -> Match:
        """Raises ConfigError when k is not between 1 and the number of references."""
        site = self.labelled[scan]
        vectors = self.vectors.setdefault(scan, voxel_vectors(site.embedding[None]))
        index, present = self.references(scan, question.band, question.draw)
        bank = (
            index.unique()
        )  # a small band is drawn from with replacement, but a voxel is a neighbour once
        if not 1 <= question.k <= len(bank):
            raise ConfigError(
                f"{question.k} neighbours asked of {len(bank)} references",
                fix="use at least 1 and at most all of them",
            )
        query = self.target.embedding[(slice(None), *at)].float()[None]
        score = torch.full((self.n_classes,), torch.nan)
        score[present] = similarity(vectors[index], query, question.kernel)[:, 0]
        alike = similarity(vectors[:, None, None], query, question.kernel)[
            :, 0
        ]  # each voxel as a class of one reference: the kernel itself
        best = alike[bank].topk(question.k)
        place = np.stack(np.unravel_index(bank[best.indices].numpy(), site.image.shape), -1)
        classes = site.label[tuple(place.T)].astype(np.int64)
        vote = np.bincount(classes, minlength=self.n_classes) / question.k
        return Match(
            alike.view(site.image.shape).numpy(),
            place,
            best.values.numpy(),
            classes,
            vote,
            score.numpy(),
        )


def answers(
    target: EmbeddedScan, at: Sequence[int], match: Match, question: Question
) -> dict[str, int]:
    """Who says which class: the vote, the kernel, the teacher and the truth, as far as they are
    known.
    """
    found = {
        f"vote of {question.k}": int(match.vote.argmax()),
        question.kernel: int(np.nanargmax(match.score)),
    }
    return found | {
        name: int(array[tuple(at)])
        for name, array in (("teacher", target.answer), ("truth", target.label))
        if array is not None
    }


def agrees(target: EmbeddedScan, at: Sequence[int], match: Match) -> np.ndarray:
    """(k,) True where a neighbour carries the class that is known of the voxel; all of them where
    nothing is.
    """
    return (
        match.classes == target.known[tuple(at)]
        if target.known is not None
        else np.ones(len(match.classes), bool)
    )


def line_names(target: EmbeddedScan) -> tuple[str, str]:
    """What agreeing and other lines are called."""
    if target.known is None:
        return "match", "other match"
    return (
        ("match of the right class", "match of a wrong class")
        if target.label is not None
        else ("match of the teacher's class", "match of another class")
    )


def target_scene(target: EmbeddedScan, table: LabelTable, at: Sequence[int]) -> Scene:
    outlines = {"truth": target.label, "teacher": target.answer}
    return Scene(
        target.image,
        target.spacing,
        contours={name: a for name, a in outlines.items() if a is not None} or None,
        table=table,
        heat=target.heat,
        heat_label=target.heat_label,
        at=at,
        window=target.window,
    )


def reference_scene(
    site: EmbeddedScan, table: LabelTable, match: Match, at: Sequence[int]
) -> Scene:
    """The labelled scan: its label outlined, in colour the quarter of its voxels that is most
    similar.
    """
    low = np.partition(match.alike.ravel()[::7], -max(1, match.alike.size // 28))[
        -max(1, match.alike.size // 28)
    ]
    return Scene(
        site.image,
        site.spacing,
        contours={"label": site.label},
        table=table,
        heat=np.clip(match.alike - low, 0, None),
        heat_label=f"above {low:.3f}, the most similar quarter",
        at=at,
        window=site.window,
    )


def known_surfaces(site: EmbeddedScan, table: LabelTable) -> list[Mesh]:
    """The surface of each class that is known of a scan; the box of the scan's corners where there
    is none.
    """
    known = np.zeros(0, np.uint8) if site.known is None else site.known
    found = [
        surface(site.known, int(c), spacing=site.spacing, table=table, max_faces=FACES)
        for c in np.unique(known)
        if c > 0
    ]
    corners = (
        np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)])
        * (np.array(site.image.shape) - 1.0)
        * site.spacing
    )
    return found or [
        Mesh(corners, np.array([[0, 1, 3], [0, 3, 2], [4, 5, 7], [4, 7, 6]]), name="scan")
    ]


def match_scene(
    target: EmbeddedScan,
    site: EmbeddedScan,
    at: Sequence[int],
    match: Match,
    sides: Sequence[Sequence[Mesh]],
    scans: tuple[str, str],
) -> MatchScene:
    """Both scans beside each other and a line from the voxel to each neighbour."""
    here = np.repeat(np.multiply(at, target.spacing)[None], len(match.place), axis=0)
    return arrange_matches(
        sides,
        here,
        match.place * site.spacing,
        agrees(target, at, match),
        scans,
        line_names(target),
    )


@styled
def correspondence_figure(
    target: EmbeddedScan,
    site: EmbeddedScan,
    table: LabelTable,
    at: Sequence[int],
    match: Match,
    question: Question,
    lined: MatchScene,
    scans: tuple[str, str],
    title: str | None,
) -> Figure:
    """The static picture: the voxel in its scan, its neighbours in the other, who says what, and
    the lines between them.
    """
    fig = Figure(figsize=(13, 13.6 + 0.6 * bool(title)))
    head, top, middle, bottom = fig.subfigures(
        4, 1, height_ratios=(0.6 * bool(title) + 0.01, 4.0, 4.0, 5.6)
    )
    shown = (target_scene(target, table, at), reference_scene(site, table, match, match.place[0]))
    outlines = ", ".join(
        f"{look}: {name}"
        for look, name in zip(("solid", "dashed"), shown[0].contours or (), strict=False)
    )
    heads = (
        f"{scans[0]}, voxel ({', '.join(map(str, map(int, at)))}); {outlines}",
        (
            f"{scans[1]}, cut at the most similar reference; marks: the {question.k} nearest, seen"
            " through the slices"
        ),
    )
    for part, scene, words in zip((top, middle), shown, heads, strict=False):
        panels = part.subplots(
            1,
            4,
            width_ratios=(1, 1, 1, 0.85),
            gridspec_kw={"left": 0.01, "right": 0.98, "top": 0.84, "bottom": 0.02, "wspace": 0.06},
        )
        for ax, plane in zip(panels, PLANES, strict=False):
            draw_plane(ax, scene, plane)
            ax.set_title(plane)
            if part is middle:
                mark_neighbours(ax, scene, plane, match.place, agrees(target, at, match))
        part.text(0.01, 0.95, words, fontsize=16, weight="bold")
        if part is top:
            draw_answers(panels[3], table, answers(target, at, match, question), match)
        else:
            panels[3].axis("off")
            scale = part.add_axes((0.79, 0.1, 0.03, 0.6))
            part.colorbar(
                colour_scale(scene), cax=scale, ticks=[0, scene.top], format=""
            ).ax.set_yticklabels(
                [f"{match.alike.max() - scene.top:.3f}", f"{match.alike.max():.3f}"]
            )
            part.text(
                0.79,
                0.74,
                f"{question.kernel} of the most\nsimilar quarter of the scan",
                fontsize=13,
            )
    draw_matches(bottom, lined)
    if title:
        head.text(0.01, 0.3, title, fontsize=20)
    return fig


def mark_neighbours(
    ax: Axes, scene: Scene, plane: str, place: np.ndarray, agree: np.ndarray
) -> None:
    """The neighbours, where they lie as seen through the slices."""
    _, across, up, _ = PLANES[plane]
    x, y = (
        (scene.image.shape[across] - place[:, across] - 0.5) * scene.spacing[across],
        (place[:, up] + 0.5) * scene.spacing[up],
    )
    for keep, style in zip((agree, ~agree), MATCHES, strict=False):
        ax.plot(
            x[keep],
            y[keep],
            ls="",
            marker=style["marker"],
            ms=9,
            mfc=style["color"],
            mec="white",
            mew=1.5,
        )


def draw_answers(ax: Axes, table: LabelTable, says: Mapping[str, int], match: Match) -> None:
    """Share of each class in the vote as bars, and who says what."""
    names = np.arange(table.n_classes)
    ax.barh(names, match.vote, color=["#888888", *table.colours[1:]], edgecolor="black")
    for c, share in enumerate(match.vote):
        ax.text(0.02, c, f"{table.names[c]}  {share:.0%}", va="center", fontsize=13)
    ax.set(
        xlim=(0, 1),
        yticks=[],
        xticks=[],
        title="share of the neighbours",
        ylim=(table.n_classes + 0.2 + 0.75 * len(says), -0.6),
    )
    for side in ax.spines.values():
        side.set_visible(False)
    for row, (who, c) in enumerate(says.items()):
        mark = (
            ""
            if who == "truth" or "truth" not in says
            else "  right"
            if c == says["truth"]
            else "  wrong"
        )
        ax.text(
            0,
            table.n_classes + 0.3 + 0.75 * row,
            f"{who}: {table.names[c]}{mark}",
            fontsize=13,
            weight="bold" if who == "truth" else None,
        )
