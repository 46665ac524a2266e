"""The embedding map: voxels as points of a plane, by class, by reliability, by right and wrong."""

from dataclasses import dataclass
from importlib import import_module

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from ssltut.data.labels import LabelTable
from ssltut.errors import ConfigError
from ssltut.show.static.pictures import MARKERS, styled

NEEDS = {"tsne": ("sklearn.manifold", "scikit-learn"), "umap": ("umap", "umap-learn")}
SPELT = {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}
# The later name of each is drawn on top.
RELIABLE = LabelTable("reliable", ("reliable", "unreliable"), ("#0072B2", "#CC79A7"))
RIGHT = LabelTable("right", ("right", "wrong"), ("#0072B2", "#D55E00"))


def flatten(vectors: ArrayLike, method: str = "pca", seed: int = 0) -> tuple[np.ndarray, list[str]]:
    """Vectors (N, D) as points (N, 2), and a name for each of the two axes.

    method   "pca" (Pearson 1901, by singular values), "tsne" (van der Maaten and Hinton 2008) or
             "umap" (McInnes et al. 2018), where installed
    Raises ConfigError for a method unknown or not installed, or fewer than three vectors.
    """
    x = np.asarray(vectors, float)
    if method not in SPELT or x.ndim != 2 or len(x) < 3 or x.shape[1] < 2:
        fix = f"give at least 3 vectors (N, D >= 2) and one of {', '.join(SPELT)}"
        raise ConfigError(f"a map of vectors of shape {x.shape} by {method!r}", fix=fix)
    if method == "pca":
        left, size, rows = np.linalg.svd(x - x.mean(0), full_matrices=False)
        # The sign is free: this one is the same on every machine.
        sign = np.sign(rows[np.arange(2), abs(rows[:2]).argmax(1)])
        shares = size**2 / max((size**2).sum(), 1e-12)
        names = [f"component {k + 1}: {shares[k]:.0%} of variance" for k in range(2)]
        return left[:, :2] * size[:2] * sign, names
    module, package = NEEDS[method]
    try:
        library = import_module(module)
    except ImportError:
        problem = f"{SPELT[method]} needs {package}, which is not installed"
        fix = f"pip install {package}, or use method='pca'"
        raise ConfigError(problem, fix=fix) from None
    others = len(x) - 1
    if method == "tsne":
        model = library.TSNE(perplexity=min(30, others / 3), init="pca", random_state=seed)
    else:
        model = library.UMAP(n_neighbors=min(15, others), random_state=seed)
    points = np.asarray(model.fit_transform(x), float)
    return points, [f"{SPELT[method]} {k}, no unit" for k in (1, 2)]


@dataclass(frozen=True, eq=False)
class EmbeddingMap:
    """points (N, 2), names of their axes, their voxels (N, 3); panels {name: (values, table)}."""

    points: np.ndarray
    axes: list[str]
    panels: dict[str, tuple[np.ndarray, LabelTable]]
    voxels: np.ndarray

    def describe(self, index: int) -> str:
        """What is known of a point, in words."""
        known = ", ".join(table.names[values[index]] for values, table in self.panels.values())
        return f"point {index}: {known}, voxel {tuple(map(int, self.voxels[index]))}"


def draw_panel(ax: Axes, embedding_map: EmbeddingMap, panel: str) -> None:
    """Each value with its colour and its marker, the rarest on top."""
    values, table = embedding_map.panels[panel]
    # Background is black on a scan, grey on paper; fewer voxels get larger marks.
    colours = ["#999999", *table.colours[1:]] if panel == "class" else table.colours
    size = float(np.clip(12000 / len(values), 8, 50))  # points²
    present, counts = np.unique(values, return_counts=True)
    for k in np.argsort(-counts, kind="stable"):
        c = present[k]
        x, y = embedding_map.points[values == c].T
        look = {"s": size, "color": colours[c], "marker": MARKERS[c % len(MARKERS)], "alpha": 0.75}
        look |= {"linewidths": 0.5, "edgecolors": "#333333"}
        ax.scatter(x, y, label=f"{table.names[c]} ({counts[k]})", **look)
    title = "by class" if panel == "class" else f"{table.names[0]} or {table.names[1]}"
    ax.set(title=title, xlabel=embedding_map.axes[0])


@styled
def map_figure(embedding_map: EmbeddingMap, alone: str = "") -> Figure:
    """The still picture: a panel for each colouring; that of the live view: one ``alone``."""
    panels = [alone] if alone else list(embedding_map.panels)
    n = len(panels)
    fig = Figure(figsize=(6.6, 3.3) if alone else (max(4 * n, 6), 5.2), layout="constrained")
    axes = fig.subplots(1, n, squeeze=False, sharex=True, sharey=True)[0]
    for ax, panel in zip(axes, panels, strict=True):
        draw_panel(ax, embedding_map, panel)
        key = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.17)}
        if alone:
            key = {"loc": "center left", "bbox_to_anchor": (1, 0.5)}
        ax.legend(**key, markerscale=1.8, handletextpad=0.1)
    axes[0].set_ylabel(embedding_map.axes[1])
    return fig
