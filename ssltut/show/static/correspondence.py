"""Pictures of one voxel of an unlabelled scan and its matches in a labelled one."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from ssltut.data.labels import LabelTable
from ssltut.show.static import scene3d
from ssltut.show.static.matches import EmbeddedScan, Match, line_names
from ssltut.show.static.pictures import styled
from ssltut.show.static.slices import PLANES, Scene, colour_scale, draw_plane


def target_scene(target: EmbeddedScan, table: LabelTable, at: Sequence[int]) -> Scene:
    """The unlabelled scan, with what is known of it outlined."""
    known = {"truth": target.label, "teacher": target.answer}
    outlines = {name: values for name, values in known.items() if values is not None}
    heat = {"heat": target.heat, "heat_label": target.heat_label}
    return target.scene(table=table, at=at, contours=outlines or None, **heat)


def reference_scene(match: Match, table: LabelTable, at: Sequence[int]) -> Scene:
    """The labelled scan: its label outlined, the most similar quarter in colour."""
    low = float(np.quantile(match.alike.ravel()[::7], 0.75))
    heat = np.clip(match.alike - low, 0, None)
    text = f"above {low:.3f}, the most similar quarter"
    layers = {"contours": {"label": match.source.label}, "heat": heat, "heat_label": text}
    return match.source.scene(table=table, at=at, **layers)


def known_surfaces(scan: EmbeddedScan, table: LabelTable) -> list[scene3d.Mesh]:
    """The surface of each known class of a scan; without any, the box of its corners."""
    if scan.known is not None and scan.known.any():
        return scene3d.surfaces(scan.known, scan.spacing, table, max_faces=2500)
    corners = np.indices((2, 2, 2)).reshape(3, -1).T * (np.array(scan.image.shape) - 1.0)
    faces = np.array([[0, 1, 3], [0, 3, 2], [4, 5, 7], [4, 7, 6]])
    return [scene3d.Mesh(corners * scan.spacing, faces, name="scan")]


def match_scene(
    match: Match, sides: Sequence[Sequence[scene3d.Mesh]], scans: tuple[str, str]
) -> scene3d.MatchScene:
    """Both scans beside each other and a line from the voxel to each neighbour."""
    start = np.tile(np.multiply(match.at, match.target.spacing), (len(match.place), 1))
    end = match.place * match.source.spacing
    return scene3d.arrange_matches(sides, start, end, match.agree, scans, line_names(match.target))


@styled
def correspondence_figure(
    match: Match, table: LabelTable, lined: scene3d.MatchScene, title: str | None
) -> Figure:
    """The voxel in its scan, its neighbours in the other, answers, and lines between them."""
    head = 0.6 if title else 0.0
    fig = Figure(figsize=(13, 13.6 + head))
    parts = fig.subfigures(4, 1, squeeze=False, height_ratios=(head + 0.01, 4, 4, 5.6))
    head_part, top, middle, bottom = parts[:, 0]
    if title:
        head_part.text(0.01, 0.3, title, fontsize=20)

    (name, _), (source, _) = lined.captions
    scene = target_scene(match.target, table, match.at)
    outlines = zip(("solid", "dashed"), scene.contours or (), strict=False)
    outlined = ", ".join(f"{look}: {of}" for look, of in outlines)
    *_, words = draw_row(top, scene, f"{name}, voxel {match.at}; {outlined}")
    draw_answers(words, table, match)

    scene = reference_scene(match, table, match.place[0])
    marks = f"marks: the {match.question.k} nearest, seen through the slices"
    heading = f"{source}, cut at the most similar reference; {marks}"
    *panels, words = draw_row(middle, scene, heading)
    for ax, plane in zip(panels, PLANES, strict=True):
        mark_neighbours(ax, scene, plane, match)
    words.axis("off")
    # the colour bar of the similarity has the kernel's own values at its ends
    bar_at = middle.add_axes((0.79, 0.1, 0.03, 0.6))
    middle.colorbar(colour_scale(scene), cax=bar_at, ticks=[0, scene.top], format="")
    most = match.alike.max()
    bar_at.set_yticklabels([f"{most - scene.top:.3f}", f"{most:.3f}"])
    text = f"{match.question.kernel} of the most\nsimilar quarter of the scan"
    middle.text(0.79, 0.74, text, fontsize=13)

    scene3d.draw_matches(bottom, lined)
    return fig


def draw_row(part: SubFigure, scene: Scene, heading: str) -> list[Axes]:
    """Three planes under a heading; returns their axes and an empty one beside them."""
    edges = {"left": 0.01, "right": 0.98, "top": 0.84, "bottom": 0.02, "wspace": 0.06}
    axes = part.subplots(1, 4, width_ratios=(1, 1, 1, 0.85), gridspec_kw=edges)
    for ax, plane in zip(axes, PLANES, strict=False):
        draw_plane(ax, scene, plane, plane, crosshair=True)
    part.text(0.01, 0.95, heading, fontsize=16, weight="bold")
    return list(axes)


def mark_neighbours(ax: Axes, scene: Scene, plane: str, match: Match) -> None:
    """The neighbours, where they lie as seen through the slices."""
    place, (_, across, up, _) = match.place, PLANES[plane]
    x = (scene.image.shape[across] - place[:, across] - 0.5) * scene.spacing[across]
    y = (place[:, up] + 0.5) * scene.spacing[up]
    mark: dict[str, Any] = {"ls": "", "ms": 9, "mec": "white", "mew": 1.5}
    for keep, style in zip((match.agree, ~match.agree), scene3d.MATCHES, strict=True):
        ax.plot(x[keep], y[keep], marker=style["marker"], mfc=style["color"], **mark)


def draw_answers(ax: Axes, table: LabelTable, match: Match) -> None:
    """Share of each class in the vote as bars, and who says what."""
    says, n = match.answers, table.n_classes
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
