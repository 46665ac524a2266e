"""The uncertainty explorer: two linked sliders, nats and percentile, over a slice explorer."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import ipywidgets
import numpy as np

from ssltut.show.frontends import frontend
from ssltut.show.live.slices import Scenes, SliceExplorer, scenes_of
from ssltut.show.live.widgets import WIDE, LiveView, RingedFigure, announced, classed
from ssltut.show.static.pictures import Picture, picture
from ssltut.show.static.reliability import ReliabilityCounts, curve_figure, reliability_figure
from ssltut.show.static.slices import Scene, check_shapes


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
    Returns a widget that carries its picture, or, in the static frontend, the picture alone. Raises
    ConfigError when an array has another shape than the image, or no voxel counts.
    """
    check_shapes(image, {"uncertainty": uncertainty, "wrong": wrong, "where": where})
    reliability = ReliabilityCounts(uncertainty, wrong, where)
    threshold = reliability.threshold(95) if threshold is None else threshold
    base = Scene(image, spacing, **scene)
    sides, outlines = reliability.labels(threshold), base.contours or {}
    first = replace(base, overlay=sides, table=reliability.table, contours=outlines, at=base.centre)
    still = picture(reliability_figure(first, reliability, threshold, title), alt)
    if frontend() == "static":
        return still
    heat = {"uncertainty (nats)": np.asarray(uncertainty, np.float32)}
    scenes = {UncertaintyExplorer.LAYER: first} | scenes_of(base, heat | dict(layers or {}))
    return UncertaintyExplorer(scenes, reliability, threshold, still).titled(title)


class UncertaintyExplorer(LiveView):
    """A threshold over a ``SliceExplorer``, with counts and a ring on the risk-coverage curve."""

    LAYER = "reliable and unreliable"

    def __init__(
        self, scenes: Scenes, reliability: ReliabilityCounts, threshold: float, still: Picture
    ) -> None:
        super().__init__(still, "uncertainty")
        self.reliability = reliability
        self.explorer = SliceExplorer(scenes, still)
        top = 1.001 * max(float(reliability.uncertainty.max()), threshold)
        nats, percent = {"max": top, "step": top / 500}, {"max": 100, "step": 0.5}
        self.nats = self.slider("nats", "threshold (nats)", **nats, readout_format=".3f")
        self.percentile = self.slider("percentile", "percentile", **percent, readout_format=".1f")
        self.counts = classed(ipywidgets.HTML(layout={"width": "30em"}), "counts")
        self.curve = classed(ipywidgets.Image(format="png"), "curve")
        self.ringed_figure = RingedFigure(curve_figure(reliability))
        self.held = False
        sliders = ipywidgets.HBox([self.nats, self.percentile])
        self.children = [sliders, self.explorer, ipywidgets.HBox([self.curve, self.counts])]
        self.settle(threshold)

    def slider(self, name: str, words: str, **scale: Any) -> ipywidgets.FloatSlider:
        slider = ipywidgets.FloatSlider(0, min=0, description=words, **scale, **WIDE)
        slider.observe(self.moved, names="value")
        return classed(slider, name)

    def moved(self, change: Mapping[str, Any]) -> None:
        if self.held:
            return
        value = change["new"]
        self.settle(value if change["owner"] is self.nats else self.reliability.threshold(value))

    def settle(self, threshold: float) -> None:
        """Put everything at ``threshold`` nats."""
        reliability, explorer = self.reliability, self.explorer
        self.held = True
        self.nats.value = threshold
        self.percentile.value = 100 * reliability.kept(threshold) / len(reliability.sorted)
        self.held = False
        shown = explorer.scenes[self.LAYER]
        explorer.scenes[self.LAYER] = replace(shown, overlay=reliability.labels(threshold))
        explorer.redraw()
        ring = (self.ringed_figure.axes[0], *reliability.point(threshold))
        self.curve.value = self.ringed_figure.ringed([ring])
        self.counts.value = announced(reliability.in_words(threshold).replace("\n", "<br>"))
