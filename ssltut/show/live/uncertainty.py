"""The uncertainty explorer: two linked sliders, nats and percentile, over a slice explorer."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ssltut.show.frontends import frontend
from ssltut.show.live.planes import checked, scenes_of
from ssltut.show.static.pictures import Picture, picture
from ssltut.show.static.reliability import (
    OUTCOMES,
    SIDES,
    ReliabilityCounts,
    counts_in_words,
    curve_figure,
    label_sides,
    reliability_figure,
)
from ssltut.show.static.slices import Scene


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
    mouse: bool = True,
    **scene: object,
) -> object:
    """Threshold an uncertainty map with two linked sliders, nats and percentile, over a slice
    explorer.

    image, uncertainty (X, Y, Z), in nats;  wrong (X, Y, Z) bool where the truth is known: adds how
    right either side is, and the risk-coverage curve
    where      (X, Y, Z) bool, the voxels that are counted (default: all), for example those near a
               surface
    threshold  to begin with, in nats (default: the 95th percentile);  layers, mouse and ``scene``
               as for ``slices``
    Returns a widget (attributes nats, percentile, counts, curve, explorer) with its picture, or, in
    the static frontend, the picture alone. Raises ConfigError when an array has another shape than
    the image, or no voxel counts.
    """
    checked(image, uncertainty=uncertainty, wrong=wrong, where=where)
    wrong = None if wrong is None else np.asarray(wrong, bool)
    doubt = ReliabilityCounts(uncertainty, wrong, where)
    threshold = doubt.threshold(95) if threshold is None else threshold
    base = Scene(image, spacing, **scene)
    first = replace(
        base,
        overlay=label_sides(uncertainty, wrong, threshold),
        table=SIDES if wrong is None else OUTCOMES,
        contours=base.contours or {},
        at=base.centre,
    )
    still = picture(reliability_figure(first, doubt, threshold, title), alt)
    if frontend() == "static":
        return still
    others = scenes_of(
        base, {"uncertainty (nats)": np.asarray(uncertainty, np.float32)} | dict(layers or {})
    )
    return widget(
        {"reliable and unreliable": first} | others,
        doubt,
        threshold,
        uncertainty,
        wrong,
        still,
        title,
        mouse,
    )


def widget(
    scenes: dict[str, Scene],
    doubt: ReliabilityCounts,
    threshold: float,
    uncertainty: np.ndarray,
    wrong: np.ndarray | None,
    still: Picture,
    title: str | None,
    mouse: bool,
) -> object:
    """The live half of ``explore_uncertainty``."""
    import ipywidgets

    from ssltut.show.live.slices import WIDE, Backdrop, SliceExplorer, View, classed, spoken

    layer, first = next(iter(scenes.items()))
    explorer = SliceExplorer(
        scenes,
        still,
        title=title,
        unit="" if first.window in (None, "percentile") else "HU",
        mouse=mouse,
    )
    top, curve = max(float(np.max(uncertainty)), threshold) * 1.001, Backdrop(curve_figure(doubt))
    kind = {"style": WIDE, "layout": {"width": "26em"}}
    nats = classed(
        ipywidgets.FloatSlider(
            0,
            min=0,
            max=top,
            step=top / 500,
            description="threshold (nats)",
            readout_format=".3f",
            **kind,
        ),
        "nats",
    )
    percentile = classed(
        ipywidgets.FloatSlider(
            0, min=0, max=100, step=0.5, description="percentile", readout_format=".1f", **kind
        ),
        "percentile",
    )
    counts, shown = (
        classed(ipywidgets.HTML(layout={"width": "30em"}), "counts"),
        classed(ipywidgets.Image(format="png"), "curve"),
    )
    state = {"moving": False}

    def settle(value: float) -> None:
        """Everything at ``value`` nats."""
        state["moving"] = True
        nats.value, percentile.value = value, 100 * doubt.kept(value) / len(doubt.sorted)
        state["moving"] = False
        explorer.scenes[layer] = replace(
            explorer.scenes[layer], overlay=label_sides(uncertainty, wrong, value)
        )
        explorer.redraw()
        shown.value = curve.ringed([(curve.axes[0], *doubt.point(value))])
        counts.value = spoken(counts_in_words(doubt, value).replace("\n", "<br>"))

    def moved(change: dict) -> None:
        if not state["moving"]:
            settle(change["new"] if change["owner"] is nats else doubt.threshold(change["new"]))

    nats.observe(moved, names="value")
    percentile.observe(moved, names="value")
    settle(threshold)
    box = View(
        [ipywidgets.HBox([nats, percentile]), explorer, ipywidgets.HBox([shown, counts])],
        still,
        "uncertainty",
    )
    box.explorer, box.nats, box.percentile, box.counts, box.curve = (
        explorer,
        nats,
        percentile,
        counts,
        shown,
    )
    return box
