"""Figures of the gallery: a scan beside what a method makes of it."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from torch import Tensor

from ssltut.data.labels import LabelTable
from ssltut.show.static.pictures import DASHES, SERIES, Dashes, styled
from ssltut.show.static.slices import Scene, colour_scale, draw_plane


@styled
def pairs_figure(
    scene: Scene,
    weights: np.ndarray,
    curves: Mapping[str, tuple[Tensor, Tensor]],
    points: tuple[Tensor, Tensor],
) -> Figure:
    """A scan with three patches, the weights of their pairs, and weight against loss.

    weights  (N, N), NaN where two are no pair
    curves   {name: (losses, weights)}
    points   the losses and weights of the pairs themselves
    """
    fig = Figure(figsize=(12, 4.4), layout="constrained")
    left, middle, right = fig.subplots(1, 3, width_ratios=(1, 1.25, 1.25))
    draw_plane(left, scene, "coronal", "three places in the scan")
    image = middle.imshow(weights, cmap="viridis", vmin=0, vmax=1)
    middle.set(title="weight of a pair (grey: no pair)", facecolor="#cccccc")
    middle.set(xlabel="view of a patch", ylabel="view of a patch")
    middle.grid(False)
    fig.colorbar(image, ax=middle, shrink=0.8)
    for (name, curve), dashes, colour in zip(curves.items(), DASHES, SERIES, strict=False):
        right.plot(*curve, ls=dashes, color=colour, label=name)
    right.plot(*points, ls="", marker="|", color="black", ms=18, mew=2, label="the pairs, now")
    right.set(title="easy pairs first", xlabel="loss of the pair", ylabel="weight")
    right.set_ylim(-0.03, 1.05)
    right.legend()
    return fig


@styled
def turns_figure(
    t: Sequence[float],
    learning: Mapping[str, Sequence[bool]],
    series: Mapping[str, Sequence[float]],
    scenes: Mapping[str, Scene],
) -> Figure:
    """Who learns when, over lines between 0 and 1, and scans beside it.

    t         fractions of training
    learning  {name: one truth a step}
    """
    fig = Figure(figsize=(12, 4.4), layout="constrained")
    ax, *others = fig.subplots(1, 1 + len(scenes), width_ratios=(2, *[1] * len(scenes)))
    for row, (name, on) in enumerate(learning.items()):
        low, colour = 1.1 + 0.16 * row, SERIES[row]
        ax.fill_between(t, low, low + 0.12, where=on, color=colour, step="post", lw=0)
        text = {"ha": "right", "va": "center", "weight": "bold"}
        ax.text(-0.02, low + 0.06, name, color=colour, **text)
    for (name, y), dashes, colour in zip(series.items(), DASHES, SERIES[::-2], strict=False):
        ax.plot(t, y, color=colour, ls=dashes, label=name)
    ax.set(xlim=(0, 1), ylim=(-0.03, 1.42), yticks=(0, 0.5, 1), title="who learns when")
    ax.set_xlabel(f"fraction of training (of {len(t)} steps)")
    ax.legend(loc="upper center", bbox_to_anchor=(0.45, -0.16), ncols=2, columnspacing=1)
    for panel, (name, scene) in zip(others, scenes.items(), strict=True):
        draw_plane(panel, scene, "coronal", name)
    return fig


class ClassShift(NamedTuple):
    """How the embeddings of one class are moved, in two dimensions.

    start, end          means (2,) of its labelled and unlabelled embeddings
    centre, covariance  (2,) and (2, 2) of what is moved from one to the other
    """

    start: Tensor
    end: Tensor
    centre: Tensor
    covariance: Tensor


@styled
def transport_figure(
    labelled: Sequence[Tensor],
    unlabelled: Sequence[Tensor],
    shifts: Sequence[ClassShift],
    table: LabelTable,
    scene: Scene,
) -> Figure:
    """Embeddings of every class of ``table`` with their shifts, and a scan with heat.

    labelled, unlabelled  of each class (N, 2), drawn as dots and as crosses
    """
    parts = [
        pd.DataFrame(points.numpy(), columns=["x", "y"]).assign(**{"class": name, "scan": scan})
        for scan, clouds in (("labelled", labelled), ("unlabelled", unlabelled))
        for name, points in zip(table.names, clouds, strict=True)
    ]
    points = pd.concat(parts, ignore_index=True)
    colours = dict(zip(table.names, ("#777777", *table.colours[1:]), strict=True))
    fig = Figure(figsize=(12, 4.8), layout="constrained")
    ax, right = fig.subplots(1, 2, width_ratios=(1.7, 1))
    axes = {"x": "x", "y": "y", "hue": "class", "style": "scan", "palette": colours}
    markers = {"labelled": "o", "unlabelled": "X"}
    sns.scatterplot(points, ax=ax, markers=markers, s=36, alpha=0.6, **axes)
    for shift, dashes, colour in zip(shifts, DASHES, colours.values(), strict=False):
        draw_shift(ax, shift, dashes, colour)
    low, high = points[["x", "y"]].quantile([0.02, 0.98]).to_numpy()
    left, bottom = low - 0.15 * (high - low)
    ax.set(xlim=(left, high[0] + low[0] - left), ylim=(bottom, high[1] + low[1] - bottom))
    ax.set(xlabel="first direction", ylabel="second direction")
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1), markerscale=1.6)
    draw_plane(right, scene, "coronal", "loss added to a scan")
    fig.colorbar(colour_scale(scene), ax=right, label=scene.heat_label, shrink=0.85)
    return fig


def draw_shift(ax: Axes, shift: ClassShift, dashes: Dashes, colour: str) -> None:
    """An arrow from start to end, and an ellipse of two standard deviations on either side."""
    values, vectors = torch.linalg.eigh(shift.covariance)
    short, long = (4 * values.clamp(min=0).sqrt()).tolist()
    angle = math.degrees(math.atan2(vectors[1, 1], vectors[0, 1]))
    start, end, centre = ((float(x), float(y)) for x, y in (shift.start, shift.end, shift.centre))
    for width, edge in ((5, "black"), (2.5, colour)):
        look: dict[str, Any] = {"fill": False, "ec": edge, "lw": width, "ls": dashes}
        ax.add_patch(Ellipse(centre, long, short, angle=angle, **look))
    arrow = {"arrowstyle": "-|>", "lw": 3, "color": "black"}
    ax.annotate("", end, start, arrowprops=arrow)
