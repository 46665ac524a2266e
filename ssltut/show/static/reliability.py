"""Which voxels a threshold calls reliable, and how right either side is."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ssltut.data.labels import LabelTable
from ssltut.errors import ConfigError
from ssltut.show.static.pictures import SERIES, styled
from ssltut.show.static.slices import Scene, draw_planes, proportions

Mask = np.ndarray | None
SIDES = LabelTable("sides", ("reliable", "unreliable"), ("#000000", "#CC79A7"))
OUTCOMES = LabelTable(
    "outcomes",
    ("reliable, right", "unreliable, right", "unreliable, wrong", "reliable, but wrong"),
    ("#000000", "#F0E442", "#56B4E9", "#D55E00"),
)


class ReliabilityCounts:
    """The counts of every threshold; voxels with ``uncertainty`` >= threshold are unreliable.

    uncertainty  (X, Y, Z);  wrong  (X, Y, Z) bool, or None where no truth is known
    where        (X, Y, Z) bool: the voxels that count (default: all)
    Raises ConfigError when no voxel counts.
    """

    def __init__(self, uncertainty: np.ndarray, wrong: Mask = None, where: Mask = None) -> None:
        self.uncertainty = np.asarray(uncertainty)
        self.wrong = None if wrong is None else np.asarray(wrong, bool)
        self.table = SIDES if wrong is None else OUTCOMES
        kept = np.ones(np.shape(uncertainty), bool) if where is None else np.asarray(where, bool)
        values = self.uncertainty[kept]
        if not len(values):
            raise ConfigError("no voxel to count", where="where", fix="mark at least one voxel")
        order = np.argsort(values)
        self.sorted = values[order]
        self.errors: np.ndarray | None = None  # among the n most certain voxels, n from 0 to all
        if self.wrong is not None:
            self.errors = np.r_[0, np.cumsum(self.wrong[kept][order])]

    def kept(self, threshold: float) -> int:
        """How many voxels lie under ``threshold``."""
        return int(np.searchsorted(self.sorted, threshold, "left"))

    def threshold(self, percentile: float) -> float:
        """The threshold under which ``percentile`` % of the voxels lie."""
        index = round(percentile / 100 * len(self.sorted))
        if index < len(self.sorted):
            return float(self.sorted[index])
        return float(np.nextafter(self.sorted[-1], np.inf))

    def sides(self, threshold: float) -> list[tuple[str, int, float, float]]:
        """Of either side: name, voxels, their share, and the share of right ones (NaN: unknown)."""
        n, total = self.kept(threshold), len(self.sorted)
        sides = []
        for name, first, last in zip(SIDES.names, (0, n), (n, total), strict=True):
            right = np.nan
            if self.errors is not None and last > first:
                right = 1 - (self.errors[last] - self.errors[first]) / (last - first)
            sides.append((name, last - first, (last - first) / total, right))
        return sides

    def labels(self, threshold: float) -> np.ndarray:
        """Label values (X, Y, Z) uint8 of ``table``."""
        unreliable = (self.uncertainty >= threshold).astype(np.uint8)
        if self.wrong is None:
            return unreliable
        return np.where(self.wrong, 3 - unreliable, unreliable)

    def caught(self, threshold: float) -> float:
        """Share of all errors that is on the unreliable side; NaN without errors."""
        if self.errors is None or not self.errors[-1]:
            return float("nan")
        return float(1 - self.errors[self.kept(threshold)] / self.errors[-1])

    def point(self, threshold: float) -> tuple[float, float]:
        """Coverage and risk at ``threshold``; without a truth, the threshold and the coverage."""
        n = self.kept(threshold)
        coverage = n / len(self.sorted)
        if self.errors is None:
            return threshold, coverage
        return coverage, float(self.errors[n] / max(n, 1))

    def in_words(self, threshold: float) -> str:
        """The counts at ``threshold``, a line for each side."""
        text = [f"At {threshold:.3f} nats"]
        for name, voxels, share, right in self.sides(threshold):
            text.append(f"{name}: {voxels:,} voxels ({share:.1%})")
            if not np.isnan(right):
                text[-1] += f",\n    {right:.1%} of them right"
        caught = self.caught(threshold)
        if not np.isnan(caught):
            text.append(f"{caught:.0%} of all errors are called unreliable")
        return "\n".join(text)

    def draw_curve(self, ax: Axes) -> None:
        """The risk-coverage curve (El-Yaniv and Wiener 2010); without truth the coverage alone."""
        n = np.unique(np.linspace(1, len(self.sorted), 400).round().astype(int))
        coverage = n / len(self.sorted)
        if self.errors is None:
            ax.plot(self.sorted[n - 1], coverage, color=SERIES[0])
            ax.set(xlabel="threshold (nats)", ylabel="share of reliable voxels", ylim=(-0.05, 1.08))
            return
        by_chance = self.errors[-1] / len(self.sorted)
        ax.plot(coverage, self.errors[n] / n, color=SERIES[0], label="uncertainty")
        ax.axhline(by_chance, color="black", ls="--", label="random choice")
        top = ax.get_ylim()[1]
        ax.set(xlim=(-0.04, 1.04), ylim=(-0.08 * top, 1.1 * max(top, 1e-3)))
        ax.set(xlabel="coverage: share called reliable", ylabel="error rate among them")
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.2)


@styled
def reliability_figure(
    scene: Scene, counts: ReliabilityCounts, threshold: float, titled: bool
) -> Figure:
    """Three planes, below them the curve and the counts, with room for a title if ``titled``."""
    high = 12 * proportions(scene)[1] + 0.8
    fig = Figure(figsize=(12, high + 3.9 + (0.4 if titled else 0.0)), layout="constrained")
    above, below = fig.subfigures(2, 1, squeeze=False, height_ratios=(high, 3.9))[:, 0]
    draw_planes(above, scene)
    ax, words = below.subplots(1, 2, width_ratios=(3, 2))
    counts.draw_curve(ax)
    ax.plot(*counts.point(threshold), ls="", marker="o", ms=16, mfc="none", mec="black", mew=3)
    words.axis("off")
    words.text(0, 0.5, counts.in_words(threshold), va="center", fontsize=15, linespacing=1.5)
    return fig


@styled
def curve_figure(counts: ReliabilityCounts) -> Figure:
    """The curve of the live view."""
    fig = Figure(figsize=(6.4, 2.7), layout="constrained")
    counts.draw_curve(fig.subplots())
    return fig
