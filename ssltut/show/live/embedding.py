"""The embedding map: voxels as points of a plane, by class, by reliability, by right and wrong, and
where each of them is in the scan.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from ssltut.data.labels import LabelTable
from ssltut.errors import ConfigError
from ssltut.show.frontends import frontend
from ssltut.show.live.planes import scenes_of
from ssltut.show.live.scene3d import plotly_widget
from ssltut.show.static.pictures import MARKERS, Illustrated, Picture, picture, styled
from ssltut.show.static.slices import Scene

NEEDS = {"tsne": ("sklearn.manifold", "scikit-learn"), "umap": ("umap", "umap-learn")}
SPELT = {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}
SYMBOLS = (
    "circle",
    "square",
    "triangle-up",
    "diamond",
    "triangle-down",
    "cross",
    "x",
)  # plotly's names for MARKERS
OTHER = {
    "reliable": LabelTable(
        "reliable", ("reliable", "unreliable"), ("#0072B2", "#CC79A7")
    ),  # the later name is drawn on top
    "right": LabelTable("right", ("right", "wrong"), ("#56B4E9", "#D55E00")),
}


def flatten(vectors: ArrayLike, method: str = "pca", seed: int = 0) -> tuple[np.ndarray, list[str]]:
    """Vectors (N, D) as points (N, 2), and a name for each of the two axes.

    method   "pca" (Pearson 1901, by singular values), "tsne" (van der Maaten and Hinton 2008) or
             "umap" (McInnes et al. 2018), where installed
    Raises ConfigError for an unknown method, one that is not installed, or fewer than three
    vectors.
    """
    x = np.asarray(vectors, float)
    if method not in SPELT or x.ndim != 2 or len(x) < 3 or x.shape[1] < 2:
        raise ConfigError(
            f"a map of vectors of shape {x.shape} by {method!r}",
            fix=f"give at least 3 vectors (N, D >= 2) and one of {', '.join(SPELT)}",
        )
    if method == "pca":
        x = x - x.mean(0)
        left, size, rows = np.linalg.svd(x, full_matrices=False)
        turn = np.sign(
            rows[np.arange(2), abs(rows[:2]).argmax(1)]
        )  # the sign is free: this one is the same on every machine
        shares = size**2 / max((size**2).sum(), 1e-12)
        return left[:, :2] * size[:2] * turn, [
            f"component {k + 1} ({shares[k]:.0%} of the variance)" for k in range(2)
        ]
    module, package = NEEDS[method]
    try:
        found = import_module(module)
    except ImportError:
        raise ConfigError(
            f"{SPELT[method]} needs {package}, which is not installed",
            fix=f"pip install {package}, or use method='pca'",
        ) from None
    few = len(x) - 1
    made = (
        found.TSNE(perplexity=min(30, few / 3), init="pca", random_state=seed)
        if method == "tsne"
        else found.UMAP(n_neighbors=min(15, few), random_state=seed)
    )
    return np.asarray(made.fit_transform(x), float), [
        f"{SPELT[method]} {k}, no unit" for k in (1, 2)
    ]


@dataclass(frozen=True, eq=False)
class Map:
    """points (N, 2) with the names of their axes; panels {title: (values (N,), their LabelTable)};
    places (N, 3) voxels.
    """

    points: np.ndarray
    axes: list[str]
    panels: dict[str, tuple[np.ndarray, LabelTable]]
    places: np.ndarray

    @cached_property
    def size(self) -> float:
        """Marker area in points²: fewer voxels get larger ones."""
        return float(np.clip(12000 / len(self.points), 8, 50))

    def told(self, index: int) -> str:
        """What is known of a point, in words."""
        known = ", ".join(table.names[values[index]] for values, table in self.panels.values())
        return f"point {index}: {known}, voxel {tuple(map(int, self.places[index]))}"


def explore_embeddings(
    vectors: ArrayLike,
    places: ArrayLike,
    image: np.ndarray,
    *,
    spacing: tuple[float, float, float],
    classes: ArrayLike,
    table: LabelTable,
    alt: str,
    reliable: ArrayLike | None = None,
    right: ArrayLike | None = None,
    method: str = "pca",
    seed: int = 0,
    title: str | None = None,
    layers: Mapping[str, np.ndarray] | None = None,
    mouse: bool = True,
    **scene: object,
) -> object:
    """Embeddings of voxels as a map, coloured by class, by reliability and by right or wrong, over
    a slice explorer.

    vectors (N, D) of the voxels ``places`` (N, 3) of ``image``;  classes (N,) label values that
    ``table`` names reliable, right (N,) bool, where known;  method, seed as in ``flatten``;
    layers, mouse and ``scene`` as for ``slices`` A click on a point (in JupyterLab), or the slider
    below (arrow keys), takes the crosshair to its voxel. Returns a widget (attributes point,
    colour, map, told, explorer) with its picture, or, in the static frontend, the picture alone.
    Raises ConfigError when the numbers of vectors, places and classes differ, and what ``flatten``
    raises.
    """
    places, panels = (
        np.asarray(places, int).reshape(-1, 3),
        {"class": (np.asarray(classes, int), table)},
    )
    panels |= {
        name: ((~np.asarray(values, bool)).astype(int), OTHER[name])
        for name, values in (("reliable", reliable), ("right", right))
        if values is not None
    }
    lengths = {"vectors": len(vectors), "places": len(places)} | {
        name: len(values) for name, (values, _) in panels.items()
    }
    if len(set(lengths.values())) > 1:
        raise ConfigError(
            "an embedding map of " + ", ".join(f"{n} {name}" for name, n in lengths.items()),
            fix="give one of each per voxel",
        )
    made = Map(*flatten(vectors, method, seed), panels, places)
    still = picture(drawn(made, title), alt)
    if frontend() == "static":
        return still
    base = Scene(image, spacing, table=table, at=places[0], **scene)
    return widget(made, scenes_of(base, layers or {}), still, title, mouse)


def scattered(ax: Axes, made: Map, name: str) -> None:
    """One panel: each value with its colour and its marker, the rarest on top."""
    values, table = made.panels[name]
    for c in sorted(np.unique(values), key=lambda c: -np.count_nonzero(values == c)):
        colour = (
            "#999999" if table.name not in OTHER and c == 0 else table.colours[c]
        )  # background is black on a scan, grey on paper
        ax.scatter(
            *made.points[values == c].T,
            s=made.size,
            color=colour,
            marker=MARKERS[c % len(MARKERS)],
            alpha=0.75,
            linewidths=0,
            label=f"{table.names[c]} ({np.count_nonzero(values == c)})",
        )
    ax.set(
        title=f"by {name}" if name == "class" else f"{table.names[0]} or {table.names[1]}",
        xlabel=made.axes[0],
    )
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), markerscale=1.8, handletextpad=0.1)


@styled
def drawn(made: Map, title: str | None) -> Figure:
    """The still picture: a panel for each colouring."""
    n = len(made.panels)
    fig = Figure(figsize=(max(4 * n, 6), 5.2), layout="constrained")
    axes = fig.subplots(1, n, squeeze=False, sharex=True, sharey=True)[0]
    for ax, name in zip(axes, made.panels, strict=False):
        scattered(ax, made, name)
    axes[0].set_ylabel(made.axes[1])
    if title:
        fig.suptitle(title, fontsize=16)
    return fig


def plotted(
    made: Map, picked: Callable[[int], None]
) -> tuple[object, Callable[[str], None], Callable[[int], None]]:
    """The map in plotly, and how to colour it by a panel and to ring a point; a click calls
    ``picked`` with the index of the point.
    """
    import plotly.graph_objects as go

    x, y = made.points.T
    owners: list[np.ndarray] = []

    def looks(name: str) -> list[dict[str, object]]:
        """A trace for every value a panel can have, empty where this one has fewer."""
        values, table = made.panels[name]
        owners[:] = [
            np.flatnonzero(values == c)
            for c in range(max(table.n_classes for _, table in made.panels.values()))
        ]
        colours = [
            "#999999" if table.name not in OTHER and c == 0 else colour
            for c, colour in enumerate(table.colours)
        ]
        return [
            {
                "x": x[own],
                "y": y[own],
                "name": table.names[c] if len(own) else "",
                "showlegend": bool(len(own)),
                "text": [made.told(i) for i in own],
                "marker": {"color": colours[c % len(colours)], "symbol": SYMBOLS[c % len(SYMBOLS)]},
            }
            for c, own in enumerate(owners)
        ]

    size = {
        "mode": "markers",
        "marker_size": max(6, made.size**0.5 + 2),
        "marker_opacity": 0.75,
        "hoverinfo": "text",
    }
    ring = go.Scatter(
        x=x[:1],
        y=y[:1],
        mode="markers",
        name="chosen",
        hoverinfo="skip",
        marker={"size": 20, "symbol": "circle-open", "color": "black", "line": {"width": 4}},
    )
    layout = {
        "height": 460,
        "width": 620,
        "font": {"size": 15},
        "margin": {"l": 60, "r": 10, "t": 40, "b": 60},
        "showlegend": True,
        "hovermode": "closest",
        "xaxis": {"title": made.axes[0]},
        "yaxis": {"title": made.axes[1]},
        "legend": {"orientation": "h", "y": -0.2},
        "template": "plotly_white",
        "hoverlabel": {"bgcolor": "white", "font": {"color": "black"}},
    }
    figure = plotly_widget(
        [*(go.Scatter(**look).update(**size) for look in looks(next(iter(made.panels)))), ring],
        layout,
    )

    def colour(name: str) -> None:
        with figure.batch_update():
            for trace, look in zip(figure.data, looks(name), strict=False):
                trace.update(**look)

    for c, trace in enumerate(figure.data[:-1]):
        trace.on_click(
            lambda _, points, __, c=c: (
                picked(int(owners[c][points.point_inds[0]])) if points.point_inds else None
            )
        )
    return figure, colour, lambda index: figure.data[-1].update(x=x[[index]], y=y[[index]])


def widget(
    made: Map, scenes: dict[str, Scene], still: Picture, title: str | None, mouse: bool
) -> Illustrated:
    """The live half of ``explore_embeddings``: plotly in JupyterLab, the still picture with a ring
    elsewhere.
    """
    import ipywidgets

    from ssltut.show.live.slices import WIDE, Backdrop, SliceExplorer, View, classed, spoken

    first = next(iter(scenes.values()))
    explorer = SliceExplorer(
        scenes,
        still,
        title=None,
        unit="" if first.window in (None, "percentile") else "HU",
        mouse=mouse,
    )
    point = classed(
        ipywidgets.IntSlider(
            0, 0, len(made.points) - 1, description="point", style=WIDE, layout={"width": "30em"}
        ),
        "point",
    )
    colour = classed(
        ipywidgets.Dropdown(options=list(made.panels), description="colour by"), "colour"
    )
    told, shown = classed(ipywidgets.HTML(), "told"), None
    if frontend() == "lab" and mouse:
        figure, paint, ring = plotted(made, lambda index: point.set_trait("value", index))
        colour.observe(lambda change: paint(change["new"]), names="value")
        shown, controls = ipywidgets.VBox([figure]), [point, colour]
    else:
        still_map, figure, controls = (
            Backdrop(drawn(made, title)),
            ipywidgets.Image(format="png"),
            [point],
        )
        shown = figure

        def ring(index: int) -> None:
            figure.value = still_map.ringed([(ax, *made.points[index]) for ax in still_map.axes])

        ring(0)

    def chosen(change: object = None) -> None:
        if change is not None:
            ring(point.value)
        explorer.go(made.places[point.value])
        told.value = spoken(made.told(point.value))

    point.observe(chosen, names="value")
    chosen()
    box = View(
        [
            *([ipywidgets.HTML(f"<b>{title}</b>")] if title else []),
            classed(shown, "map"),
            ipywidgets.HBox(controls),
            told,
            explorer,
        ],
        still,
        "embeddings",
    )
    box.explorer, box.point, box.colour, box.told, box.map = explorer, point, colour, told, figure
    return box
