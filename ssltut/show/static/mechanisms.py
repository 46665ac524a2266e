"""Figures of a scan beside what a method makes of it: weights of pairs, turns of two networks,
embeddings that are moved.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from torch import Tensor

from ssltut.data.labels import LabelTable
from ssltut.show.static.pictures import DASHES, SERIES, styled
from ssltut.show.static.slices import Scene, colour_scale, draw_plane


@styled
def pairs(
    scene: Scene,
    grid: np.ndarray,
    curves: Mapping[str, tuple[Tensor, Tensor]],
    points: tuple[Tensor, Tensor],
) -> Figure:
    """A scan with places in it, the weights of their pairs (N, N), NaN where two are no pair, and
    weight against loss.

    curves {name: (losses, weights)}; points the losses and weights of the pairs themselves
    """
    fig = Figure(figsize=(12, 4.4), layout="constrained")
    left, middle, right = fig.subplots(1, 3, width_ratios=(1, 1.25, 1.25))
    draw_plane(left, scene, "coronal", crosshair=False)
    left.set_title("three places in the scan")
    shown = middle.imshow(grid, cmap="viridis", vmin=0, vmax=1)
    middle.set(
        title="weight of a pair (grey: no pair)",
        xlabel="view of a patch",
        ylabel="view of a patch",
        facecolor="#cccccc",
    )
    middle.grid(False)
    fig.colorbar(shown, ax=middle, shrink=0.8)
    for k, (name, curve) in enumerate(curves.items()):
        right.plot(*curve, ls=DASHES[k], color=SERIES[k], label=name)
    right.plot(*points, ls="", marker="|", color="black", ms=18, mew=2, label="the pairs, now")
    right.set(
        title="easy pairs first", xlabel="loss of the pair", ylabel="weight", ylim=(-0.03, 1.05)
    )
    right.legend(loc="lower left")
    return fig


@styled
def turns(
    t: Sequence[float],
    learning: Mapping[str, Sequence[bool]],
    series: Mapping[str, Sequence[float]],
    scenes: Mapping[str, Scene],
) -> Figure:
    """Who learns when ({name: one truth a step}) over lines between 0 and 1, and scans beside it;
    ``t`` fractions of training.
    """
    fig = Figure(figsize=(12, 4.4), layout="constrained")
    ax, *others = fig.subplots(1, 1 + len(scenes), width_ratios=(2, *[1] * len(scenes)))
    for row, (name, on) in enumerate(learning.items()):
        ax.fill_between(
            t, 1.1 + 0.16 * row, 1.22 + 0.16 * row, where=on, color=SERIES[row], step="post", lw=0
        )
        ax.text(
            -0.02,
            1.16 + 0.16 * row,
            name,
            ha="right",
            va="center",
            color=SERIES[row],
            weight="bold",
        )
    for k, (name, y) in enumerate(series.items()):
        ax.plot(t, y, color=("#009E73", "#000000")[k % 2], ls=DASHES[k], label=name)
    ax.set(
        xlabel=f"fraction of training (of {len(t)} steps)",
        ylim=(-0.03, 1.42),
        xlim=(0, 1),
        yticks=(0, 0.5, 1),
        title="who learns when",
    )
    ax.legend(loc="upper center", bbox_to_anchor=(0.45, -0.16), ncols=2, columnspacing=1)
    for panel, (name, scene) in zip(others, scenes.items(), strict=True):
        draw_plane(panel, scene, "coronal", crosshair=False)
        panel.set_title(name)
    return fig


class Way(NamedTuple):
    """From start to end (2,), and the normal distribution, centre (2,) and covariance (2, 2), of
    what is moved along it.
    """

    start: Tensor
    end: Tensor
    centre: Tensor
    covariance: Tensor


@styled
def transport(
    clouds: Sequence[Sequence[Tensor]], ways: Sequence[Way], table: LabelTable, scene: Scene
) -> Figure:
    """Embeddings (N, 2) of every class of ``table``, labelled (dots) and unlabelled (crosses), the
    way of each class, and a scan with heat.
    """
    fig = Figure(figsize=(12, 4.8), layout="constrained")
    ax, right = fig.subplots(1, 2, width_ratios=(1.7, 1))
    for c, (name, colour) in enumerate(
        zip(table.names, ("#777777", *table.colours[1:]), strict=True)
    ):
        for part, (cloud, mark) in enumerate(zip(clouds, (".", "x"), strict=True)):
            ax.plot(
                *cloud[c].T,
                ls="",
                marker=mark,
                ms=6,
                alpha=0.5,
                color=colour,
                label=name if part == 0 else None,
            )
        way = ways[c]
        values, vectors = torch.linalg.eigh(way.covariance)
        short, long = (
            4 * values.clamp(min=0).sqrt()
        ).tolist()  # two standard deviations on either side
        turn = math.degrees(math.atan2(vectors[1, 1], vectors[0, 1]))
        for line, edge in ((5, "black"), (2.5, colour)):
            ax.add_patch(
                Ellipse(
                    way.centre.tolist(),
                    long,
                    short,
                    angle=turn,
                    fill=False,
                    ec=edge,
                    lw=line,
                    ls=DASHES[c % len(DASHES)],
                )
            )
        ax.annotate(
            "",
            way.end.tolist(),
            way.start.tolist(),
            arrowprops={"arrowstyle": "-|>", "lw": 3, "color": "black"},
        )
    every = torch.cat([v for cloud in clouds for v in cloud])
    low, high = (torch.quantile(every, q, dim=0) for q in (0.02, 0.98))
    room = 0.15 * (high - low)
    ax.set(
        title="dots labelled, crosses unlabelled",
        xlabel="first direction",
        ylabel="second direction",
        xlim=(low - room)[:1].tolist() + (high + room)[:1].tolist(),
        ylim=(low - room)[1:].tolist() + (high + room)[1:].tolist(),
    )
    ax.legend(markerscale=2.5, loc="upper right")
    draw_plane(right, scene, "coronal", crosshair=False)
    right.set_title("a labelled scan, made harder here")
    fig.colorbar(colour_scale(scene), ax=right, label=scene.heat_label, shrink=0.85)
    return fig
