"""Two explorers over slices: a threshold of uncertainty, and a map of embeddings."""

import io
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import ipywidgets
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from PIL import ImageDraw

from ssltut.data.labels import LabelTable
from ssltut.errors import ConfigError
from ssltut.show.frontends import frontend
from ssltut.show.live import widgets
from ssltut.show.live.planes import SMALL
from ssltut.show.live.slices import Scenes, SliceExplorer, scenes_of
from ssltut.show.static.embedding import RELIABLE, RIGHT, EmbeddingMap, flatten, map_figure
from ssltut.show.static.pictures import Picture, picture, rendered
from ssltut.show.static.reliability import ReliabilityCounts, curve_figure, reliability_figure
from ssltut.show.static.slices import Scene, check_shapes
from ssltut.text import markup


class RingedFigure:
    """A figure of one plot, drawn once and ringed again and again: 100 times quicker."""

    def __init__(self, fig: Figure) -> None:
        self.image: Any = rendered(fig)
        self.transform: Any = fig.axes[0].transData.frozen()

    def nearest(self, points: np.ndarray, x: float, y: float) -> int:
        """Which of ``points`` (N, 2) is seen nearest to a click (x, y)."""
        place = np.array([x, 1 - y]) * self.image.size
        return int(np.linalg.norm(self.transform.transform(points) - place, axis=1).argmin())

    def ringed(self, point: ArrayLike) -> bytes:
        """PNG with a ring around one ``point`` (2,)."""
        shown, out = self.image.copy(), io.BytesIO()
        pen = ImageDraw.Draw(shown)
        x, y = self.transform.transform(point)
        y = shown.height - y
        for r, colour, width in ((11, "white", 7), (10, "black", 4)):
            pen.ellipse([x - r, y - r, x + r, y + r], outline=colour, width=width)
        shown.save(out, "png", compress_level=1)
        return out.getvalue()


def explore_uncertainty(
    image: np.ndarray,
    uncertainty: np.ndarray,
    *,
    spacing: tuple[float, float, float],
    alt: str,
    wrong: np.ndarray | None = None,
    where: np.ndarray | None = None,
    threshold: float | None = None,
    title: str | None = None,
    layers: Mapping[str, np.ndarray] | None = None,
    **scene: Any,
) -> "Picture | UncertaintyExplorer":
    """Threshold an uncertainty map in nats or as a percentile, over a slice explorer.

    image, uncertainty  (X, Y, Z), in nats
    wrong      (X, Y, Z) bool where the truth is known: adds how right either side is, and the
               risk-coverage curve
    where      (X, Y, Z) bool, the voxels that are counted (default: all)
    threshold  to begin with, in nats (default: the 95th percentile)
    layers and ``scene`` as for ``slices``
    Raises ConfigError when an array has another shape than the image, or no voxel counts.
    """
    check_shapes(image, {"uncertainty": uncertainty, "wrong": wrong, "where": where})
    reliability = ReliabilityCounts(uncertainty, wrong, where)
    threshold = reliability.threshold(95) if threshold is None else threshold
    base = Scene(image, spacing, **scene)
    sides, outlines = reliability.labels(threshold), base.contours or {}
    first = replace(base, overlay=sides, table=reliability.table, contours=outlines, at=base.centre)
    still = picture(reliability_figure(first, reliability, threshold, bool(title)), alt, title)
    if frontend() == "static":
        return still
    heat = {"uncertainty (nats)": np.asarray(uncertainty, np.float32)}
    scenes = {UncertaintyExplorer.LAYER: first} | scenes_of(base, heat | dict(layers or {}))
    return UncertaintyExplorer(scenes, reliability, threshold, still).titled(title)


class UncertaintyExplorer(widgets.LiveView):
    """A threshold over small slices, with counts and a ring on the risk-coverage curve."""

    LAYER = "reliable and unreliable"

    def __init__(
        self, scenes: Scenes, reliability: ReliabilityCounts, threshold: float, still: Picture
    ) -> None:
        super().__init__(still, "uncertainty")
        self.reliability = reliability
        self.explorer = SliceExplorer(scenes, still, unit=None, mouse=True, side=SMALL)
        top = 1.001 * max(float(reliability.uncertainty.max()), threshold)
        nats, percent = {"max": top, "step": top / 500}, {"max": 100, "step": 0.5}
        self.nats = self.slider("nats", "threshold (nats)", **nats, readout_format=".3f")
        self.percentile = self.slider("percentile", "percentile", **percent, readout_format=".1f")
        self.counts = widgets.classed(ipywidgets.HTML(layout={"width": "30em"}), "counts")
        self.curve = widgets.classed(ipywidgets.Image(format="png"), "curve")
        self.ringed_figure = RingedFigure(curve_figure(reliability))
        sliders = ipywidgets.HBox([self.nats, self.percentile])
        self.children = [sliders, self.explorer, ipywidgets.HBox([self.curve, self.counts])]
        self.settle(threshold)

    def slider(self, name: str, words: str, **scale: Any) -> ipywidgets.FloatSlider:
        slider = ipywidgets.FloatSlider(0, min=0, description=words, **scale, **widgets.WIDE)
        slider.observe(self.moved, names="value")
        return widgets.classed(slider, name)

    def moved(self, change: Mapping[str, Any]) -> None:
        if self.held:
            return
        value = change["new"]
        self.settle(value if change["owner"] is self.nats else self.reliability.threshold(value))

    def settle(self, threshold: float) -> None:
        """Put everything at ``threshold`` nats."""
        reliability, explorer = self.reliability, self.explorer
        with self.hold():
            self.nats.value = threshold
            self.percentile.value = 100 * reliability.kept(threshold) / len(reliability.sorted)
        shown = explorer.scenes[self.LAYER]
        explorer.scenes[self.LAYER] = replace(shown, overlay=reliability.labels(threshold))
        explorer.redraw()
        self.curve.value = self.ringed_figure.ringed(reliability.point(threshold))
        lines = reliability.in_words(threshold).splitlines()
        self.counts.value = widgets.announced("<br>".join(map(markup, lines)))


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
    A click near a point (in JupyterLab), or the slider (arrow keys), takes the crosshair to its
    voxel. Raises ConfigError when the numbers of vectors, places and classes differ, and as
    ``flatten`` does.
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
    still = picture(map_figure(embedding_map), alt, title)
    if frontend() == "static":
        return still
    scenes = scenes_of(Scene(image, spacing, table=table, at=voxels[0], **scene), layers or {})
    return EmbeddingExplorer(embedding_map, scenes, still).titled(title)


class EmbeddingExplorer(widgets.LiveView):
    """A map of voxels over small slices; a click on it, or the slider, chooses a point."""

    def __init__(self, embedding_map: EmbeddingMap, scenes: Scenes, still: Picture) -> None:
        super().__init__(still, "embeddings")
        self.embedding_map = embedding_map
        self.explorer = SliceExplorer(scenes, still, unit=None, mouse=True, side=SMALL)
        panels = list(embedding_map.panels)
        self.figures = {p: RingedFigure(map_figure(embedding_map, p)) for p in panels}
        last = len(embedding_map.points) - 1
        self.point = widgets.int_slider("point", 0, 0, last, **widgets.WIDE)
        self.colour = widgets.dropdown("colour", panels, "colour by")
        self.description = widgets.classed(ipywidgets.HTML(), "description")
        self.map = widgets.plane_image("map", f"map of embeddings. {still.alt}", clickable=True)
        self.map.on_msg(lambda _, message, __: self.touched(message))
        for control in (self.point, self.colour):
            control.observe(lambda _: self.redraw(), names="value")
        controls = [self.description, self.point, self.colour]
        self.children = [widgets.beside([self.map], controls), self.explorer]
        self.redraw()

    def redraw(self) -> None:
        """The ring on the map, the crosshair in the scan and the words follow the chosen point."""
        index, figure = self.point.value, self.figures[self.colour.value]
        self.map.value = figure.ringed(self.embedding_map.points[index])
        self.explorer.go(self.embedding_map.voxels[index])
        self.description.value = widgets.announced(markup(self.embedding_map.describe(index)))

    def touched(self, message: Mapping[str, Any]) -> None:
        """A click chooses the nearest point; that under the cursor is only described."""
        index = self.point.value
        if message["kind"] in ("click", "hover"):
            figure = self.figures[self.colour.value]
            index = figure.nearest(self.embedding_map.points, message["x"], message["y"])
        if message["kind"] == "click":
            self.point.value = index
        self.description.value = widgets.announced(markup(self.embedding_map.describe(index)))
