"""The embedding explorer: a map of voxels, and where each of them is in the scan."""

from collections.abc import Mapping
from typing import Any

import ipywidgets
import numpy as np
from numpy.typing import ArrayLike

from ssltut.data.labels import LabelTable
from ssltut.errors import ConfigError
from ssltut.show.frontends import frontend
from ssltut.show.live.scene3d import plotly_widget
from ssltut.show.live.slices import Scenes, SliceExplorer, scenes_of
from ssltut.show.live.widgets import (
    WIDE,
    LiveView,
    RingedFigure,
    announced,
    classed,
    dropdown,
    int_slider,
)
from ssltut.show.static.embedding import RELIABLE, RIGHT, EmbeddingMap, flatten, map_figure
from ssltut.show.static.pictures import Picture, picture
from ssltut.show.static.slices import Scene

# plotly's names for MARKERS
SYMBOLS = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "x")
LAYOUT = {
    "height": 460,
    "width": 620,
    "font": {"size": 15},
    "margin": {"l": 60, "r": 10, "t": 40, "b": 60},
    "showlegend": True,
    "hovermode": "closest",
    "legend": {"orientation": "h", "y": -0.2},
    "template": "plotly_white",
    "hoverlabel": {"bgcolor": "white", "font": {"color": "black"}},
}


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
    **scene: Any,
) -> "Picture | EmbeddingExplorer":
    """A map of voxel embeddings by class, reliability and right or wrong, over a slice explorer.

    vectors  (N, D) of the voxels ``places`` (N, 3) of ``image``
    classes  (N,) label values that ``table`` names;  reliable, right (N,) bool, where known
    method, seed   as in ``flatten``;  layers and ``scene`` as for ``slices``
    A click on a point (in JupyterLab), or the slider below (arrow keys), takes the crosshair to its
    voxel. Returns a widget that carries its picture, or, in the static frontend, the picture alone.
    Raises ConfigError when the numbers of vectors, places and classes differ, and as ``flatten``.
    """
    voxels = np.asarray(places, int).reshape(-1, 3)
    panels = {"class": (np.asarray(classes, int), table)}
    for marks, names in ((reliable, RELIABLE), (right, RIGHT)):
        if marks is not None:
            panels[names.name] = (~np.asarray(marks, bool)).astype(int), names
    lengths = {"vectors": len(np.asarray(vectors)), "places": len(voxels)}
    lengths |= {name: len(values) for name, (values, _) in panels.items()}
    if len(set(lengths.values())) > 1:
        given = ", ".join(f"{n} {name}" for name, n in lengths.items())
        raise ConfigError(f"an embedding map of {given}", fix="give one of each per voxel")
    embedding_map = EmbeddingMap(*flatten(vectors, method, seed), panels, voxels)
    still = picture(map_figure(embedding_map, title), alt)
    if frontend() == "static":
        return still
    scenes = scenes_of(Scene(image, spacing, table=table, at=voxels[0], **scene), layers or {})
    return EmbeddingExplorer(embedding_map, scenes, still).titled(title)


class EmbeddingExplorer(LiveView):
    """A map of voxels over a ``SliceExplorer``: plotly's in JupyterLab, elsewhere a picture."""

    def __init__(self, embedding_map: EmbeddingMap, scenes: Scenes, still: Picture) -> None:
        super().__init__(still, "embeddings")
        self.embedding_map = embedding_map
        self.explorer = SliceExplorer(scenes, still)
        last = len(embedding_map.points) - 1
        self.point = int_slider("point", 0, 0, last, **WIDE)
        panels = list(embedding_map.panels)
        self.colour = dropdown("colour", panels, "colour by")
        self.description = classed(ipywidgets.HTML(), "description")
        controls = [self.point]
        if frontend() == "lab":
            plot = PlotlyMap(embedding_map, panels[0], self.point)
            self.map, self.ring = plot.figure, plot.ring
            self.colour.observe(lambda change: plot.paint(change["new"]), names="value")
            controls.append(self.colour)
        else:
            self.map = ipywidgets.Image(format="png")
            self.ringed_figure = RingedFigure(map_figure(embedding_map, None))
            self.ring = self.ring_picture
        self.point.observe(lambda _: self.redraw(), names="value")
        box = classed(ipywidgets.VBox([self.map]), "map")
        self.children = [box, ipywidgets.HBox(controls), self.description, self.explorer]
        self.redraw()

    def redraw(self) -> None:
        """The ring on the map, the crosshair in the scan and the words follow the chosen point."""
        index = self.point.value
        self.ring(index)
        self.explorer.go(self.embedding_map.voxels[index])
        self.description.value = announced(self.embedding_map.describe(index))

    def ring_picture(self, index: int) -> None:
        x, y = self.embedding_map.points[index]
        self.map.value = self.ringed_figure.ringed([(ax, x, y) for ax in self.ringed_figure.axes])


class PlotlyMap:
    """The map in plotly, a trace for every value that a panel can have; a click sets ``point``."""

    def __init__(self, embedding_map: EmbeddingMap, panel: str, point: Any) -> None:
        import plotly.graph_objects as go

        self.map, self.point = embedding_map, point
        look = {"marker_size": max(6, embedding_map.size**0.5 + 2), "marker_opacity": 0.75}
        traces = [go.Scatter(**trace).update(look) for trace in self.traces(panel)]
        x, y = embedding_map.points[:1].T
        ring = {"size": 20, "symbol": "circle-open", "color": "black", "line": {"width": 4}}
        traces.append(go.Scatter(x=x, y=y, name="chosen", hoverinfo="skip", marker=ring))
        titles = dict(zip(("xaxis_title", "yaxis_title"), embedding_map.axes, strict=True))
        layout = LAYOUT | titles
        self.figure = plotly_widget([trace.update(mode="markers") for trace in traces], layout)
        for trace in self.figure.data[:-1]:
            trace.on_click(self.clicked)

    def traces(self, panel: str) -> list[dict[str, Any]]:
        values, table = self.map.panels[panel]
        colours = self.map.colours(panel)
        traces = []
        for c in range(max(table.n_classes for _, table in self.map.panels.values())):
            members = np.flatnonzero(values == c)
            x, y = self.map.points[members].T
            trace = {"x": x, "y": y, "customdata": members, "showlegend": bool(len(members))}
            trace["name"] = table.names[c] if len(members) else ""
            trace["text"] = [self.map.describe(int(i)) for i in members]
            trace["marker_color"] = colours[c % len(colours)]
            trace["marker_symbol"] = SYMBOLS[c % len(SYMBOLS)]
            traces.append(trace | {"hoverinfo": "text"})
        return traces

    def paint(self, panel: str) -> None:
        with self.figure.batch_update():
            for trace, look in zip(self.figure.data[:-1], self.traces(panel), strict=True):
                trace.update(**look)

    def ring(self, index: int) -> None:
        x, y = self.map.points[[index]].T
        self.figure.data[-1].update(x=x, y=y)

    def clicked(self, trace: Any, points: Any, _: object) -> None:
        if points.point_inds:
            self.point.value = int(trace.customdata[points.point_inds[0]])
