"""Which voxels a threshold on the uncertainty calls reliable, and how right the prediction is on
either side.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ssltut.data.labels import LabelTable
from ssltut.errors import ConfigError
from ssltut.show.static.pictures import SERIES, styled
from ssltut.show.static.slices import Scene, draw_planes, proportions

SIDES = LabelTable("sides", ("reliable", "unreliable"), ("#000000", "#CC79A7"))
OUTCOMES = LabelTable(
    "verdicts",
    ("reliable, right", "unreliable, right", "unreliable, wrong", "reliable, but wrong"),
    ("#000000", "#F0E442", "#56B4E9", "#D55E00"),
)


class ReliabilityCounts:
    """Every threshold's counts, from voxels sorted once; unreliable are those with ``uncertainty``
    >= threshold, as in ssltut.methods.uncertainty.

    uncertainty, wrong (X, Y, Z), wrong bool or None where no truth is known;  where (X, Y, Z) bool
    or None: the voxels that count Raises ConfigError when no voxel counts.
    """

    def __init__(
        self,
        uncertainty: np.ndarray,
        wrong: np.ndarray | None = None,
        where: np.ndarray | None = None,
    ) -> None:
        chosen = ... if where is None else np.asarray(where, bool)
        doubt = np.asarray(uncertainty)[chosen].ravel()
        if not len(doubt):
            raise ConfigError("no voxel to count", where="where", fix="mark at least one voxel")
        order = np.argsort(doubt)
        self.sorted, self.errors = doubt[order], None
        if wrong is not None:
            self.errors = np.concatenate(
                [[0], np.cumsum(np.asarray(wrong, bool)[chosen].ravel()[order])]
            )

    def kept(self, threshold: float) -> int:
        """How many voxels lie under ``threshold``."""
        return int(np.searchsorted(self.sorted, threshold, "left"))

    def threshold(self, percentile: float) -> float:
        """The threshold under which ``percentile`` % of the voxels lie (all of them: just above the
        largest).
        """
        index = round(percentile / 100 * len(self.sorted))
        return (
            float(self.sorted[index])
            if index < len(self.sorted)
            else float(np.nextafter(self.sorted[-1], np.inf))
        )

    def sides(self, threshold: float) -> list[tuple[str, int, float, float]]:
        """(name, voxels, their share, share of right ones among them or NaN) of the reliable and of
        the unreliable side.
        """
        n, total = self.kept(threshold), len(self.sorted)
        counts = (n, total - n)
        errors = (
            (np.nan, np.nan)
            if self.errors is None
            else (self.errors[n], self.errors[-1] - self.errors[n])
        )
        return [
            (name, count, count / total, 1 - wrong / count if count else np.nan)
            for name, count, wrong in zip(SIDES.names, counts, errors, strict=False)
        ]

    def caught(self, threshold: float) -> float:
        """Share of all errors that is on the unreliable side; NaN without errors."""
        return (
            float(1 - self.errors[self.kept(threshold)] / self.errors[-1])
            if self.errors is not None and self.errors[-1]
            else np.nan
        )

    def point(self, threshold: float) -> tuple[float, float]:
        """Where ``threshold`` is on the curve: coverage and risk, or threshold and coverage where
        no truth is known.
        """
        n = self.kept(threshold)
        return (
            (threshold, n / len(self.sorted))
            if self.errors is None
            else (n / len(self.sorted), self.errors[n] / max(n, 1))
        )

    def draw_curve(self, ax: Axes) -> None:
        """The risk-coverage curve (El-Yaniv and Wiener 2010), or the share of reliable voxels where
        no truth is known.
        """
        n = np.unique(np.linspace(1, len(self.sorted), 400).round().astype(int))
        if self.errors is None:
            ax.plot(self.sorted[n - 1], n / len(self.sorted), color=SERIES[0])
            ax.set(xlabel="threshold (nats)", ylabel="share of reliable voxels", ylim=(-0.05, 1.08))
            return
        ax.plot(n / len(self.sorted), self.errors[n] / n, color=SERIES[0], label="uncertainty")
        ax.axhline(
            self.errors[-1] / len(self.sorted), color=SERIES[4], ls="--", label="random choice"
        )
        ax.set(
            xlabel="coverage: share called reliable",
            ylabel="error rate among them",
            xlim=(-0.04, 1.04),
        )
        ax.set_ylim(-0.08 * ax.get_ylim()[1], 1.1 * max(ax.get_ylim()[1], 1e-3))
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.2)


def label_sides(uncertainty: np.ndarray, wrong: np.ndarray | None, threshold: float) -> np.ndarray:
    """Label values (X, Y, Z) uint8 of SIDES, or with ``wrong`` of OUTCOMES."""
    unreliable = (uncertainty >= threshold).astype(np.uint8)
    return unreliable if wrong is None else np.where(wrong, 3 - unreliable, unreliable)


def counts_in_words(doubt: ReliabilityCounts, threshold: float) -> str:
    """The counts in words, a line for each side."""
    told = [
        f"{name}: {count:,} voxels ({share:.1%})"
        + ("" if np.isnan(right) else f",\n    {right:.1%} of them right")
        for name, count, share, right in doubt.sides(threshold)
    ]
    caught = doubt.caught(threshold)
    told += [] if np.isnan(caught) else [f"{caught:.0%} of all errors are called unreliable"]
    return "\n".join([f"At {threshold:.3f} nats", *told])


@styled
def reliability_figure(
    scene: Scene, doubt: ReliabilityCounts, threshold: float, title: str | None
) -> Figure:
    """The still picture: three planes, and below them the curve and the counts."""
    high = 12 * proportions(scene)[1] + 0.8
    fig = Figure(figsize=(12, high + 3.9 + 0.4 * bool(title)), layout="constrained")
    above, below = fig.subfigures(2, 1, height_ratios=(high, 3.9))
    draw_planes(above, scene)
    ax, words = below.subplots(1, 2, width_ratios=(3, 2))
    doubt.draw_curve(ax)
    ax.plot(*doubt.point(threshold), ls="", marker="o", ms=16, mfc="none", mec="black", mew=3)
    words.axis("off")
    words.text(0, 0.5, counts_in_words(doubt, threshold), va="center", fontsize=15, linespacing=1.5)
    if title:
        fig.suptitle(title, fontsize=16)
    return fig


@styled
def curve_figure(doubt: ReliabilityCounts) -> Figure:
    """The curve of the live view."""
    fig = Figure(figsize=(6, 3.4), layout="constrained")
    doubt.draw_curve(fig.subplots())
    return fig
