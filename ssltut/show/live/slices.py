"""The slice explorer: three linked planes, layers to switch between, grey values to choose."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import ipywidgets
import numpy as np

from ssltut.data.labels import LabelTable
from ssltut.show.frontends import frontend
from ssltut.show.live.planes import SIDE, LinkedPlanes, legend
from ssltut.show.live.widgets import WIDE, announced, beside, classed, dropdown, wrapped
from ssltut.show.static.pictures import Picture, picture
from ssltut.show.static.slices import Scene, limits_of, planes_figure
from ssltut.text import markup

PRESETS = {"bone": "bone", "soft": "soft tissue", "whole": "whole", "percentile": "MR (1 to 99 %)"}
Scenes = Mapping[str, Scene]
MARK = "#D55E00"  # the colour of a layer of True and False


def slices(
    image: np.ndarray,
    *,
    spacing: tuple[float, float, float],
    alt: str,
    title: str | None = None,
    layers: Mapping[str, np.ndarray] | None = None,
    unit: str | None = None,
    mouse: bool = True,
    **scene: Any,
) -> "Picture | SliceExplorer":
    """Slice explorer: three linked planes with a crosshair, for mouse and keys.

    layers   {name: (X, Y, Z)} to switch between: whole numbers are label values that the table
             names, floats are heat, True marks voxels
    unit     of the image's values (default: HU, or none where the window is that of an MR)
    mouse    False: pictures of core ipywidgets without click and wheel, as in Colab
    scene    keywords of ``Scene``, as for ``planes``
    Raises ConfigError when a layer does not fit the image, or no table names its whole numbers.
    """
    scenes = scenes_of(Scene(image, spacing, **scene), layers or {})
    still = picture(planes_figure(next(iter(scenes.values())), bool(title)), alt, title)
    if frontend() == "static":
        return still
    return SliceExplorer(scenes, still, unit, mouse, SIDE).titled(title)


def scenes_of(scene: Scene, layers: Mapping[str, np.ndarray]) -> dict[str, Scene]:
    """What the explorer can switch between, as {name: scene}.

    That is ``scene`` itself when it has layers of its own, each of ``layers``, and the image alone.
    Raises ConfigError as ``Scene`` does.
    """
    scenes = {"as given": scene} if scene.labels or scene.heat is not None else {}
    bare = replace(scene, overlay=None, heat=None)
    for name, values in layers.items():
        layer = np.asarray(values)
        if layer.dtype == bool:
            table = LabelTable("mark", ("no", name), ("#000000", MARK))
            scenes[name] = replace(bare, overlay=layer.astype(np.uint8), contours={}, table=table)
        elif layer.dtype.kind == "f":
            scenes[name] = replace(bare, heat=layer, heat_label=name, heat_max=None)
        else:
            scenes[name] = replace(bare, overlay=layer)
    return scenes | {"image alone": replace(bare, contours=None)}


class SliceExplorer(LinkedPlanes):
    """Three linked planes of one scan; ``grey`` are the values shown black and white."""

    def __init__(
        self, scenes: Scenes, still: Picture, unit: str | None, mouse: bool, side: int
    ) -> None:
        first = next(iter(scenes.values()))
        super().__init__(first, still, "explorer", side, mouse)
        self.scenes, self.image = dict(scenes), first.image
        default = "" if first.window in (None, "percentile") else "HU"
        self.unit = default if unit is None else unit
        self.layer = dropdown("layer", list(scenes), "layer")
        opacity = ipywidgets.FloatSlider(0.5, min=0, max=1, step=0.1, description="opacity")
        self.opacity = classed(opacity, "opacity")
        self.grey = grey_slider(first)
        self.windows = {}
        for name, text in PRESETS.items():
            if self.unit == "HU" or name in ("whole", "percentile"):
                button = ipywidgets.Button(description=text, layout={"width": "auto"})
                button.on_click(partial(self.choose_window, name))
                self.windows[name] = classed(button, f"window-{name}")
        self.readout = classed(ipywidgets.HTML(), "readout")
        self.key = classed(ipywidgets.HTML(), "legend")
        for control in (self.opacity, self.grey, self.layer):
            control.observe(self.changed, names="value")
        layers = [self.layer, self.opacity, self.key]
        greys = [self.grey, *self.windows.values()]
        if side < SIDE:  # the controls beside the planes: a view has room above or below
            self.children = [beside([self.columns, self.readout], [*layers, wrapped(greys)])]
        else:
            self.children = [self.columns, self.readout, wrapped(layers), wrapped(greys)]
        self.redraw()

    @property
    def scene(self) -> Scene:
        return self.scenes[self.layer.value]

    def choose_window(self, name: str, _: ipywidgets.Button) -> None:
        self.grey.value = limits_of(self.image, name)

    def redraw(self) -> None:
        """Draw the planes and say what is at the crosshair."""
        self.key.value = legend(self.scene)
        self.draw_planes(self.scene, self.opacity.value, self.grey.value)
        self.read(self.at)

    def hover(self, at: tuple[int, int, int] | None) -> None:
        self.read(at or self.at, "cursor" if at else "crosshair")

    def read(self, at: tuple[int, int, int], where: str = "crosshair") -> None:
        """Say what is at voxel ``at``: the image's value, and the name or value of every layer."""
        known = [f"{self.image[at]:.4g} {self.unit}".strip()]
        for name, scene in self.scenes.items():
            labels = {"label" if name == "as given" else name: scene.overlay}
            for of, array in (labels | dict(scene.contours or {})).items():
                if array is not None and scene.table:
                    known.append(f"{of}: {scene.table.names[int(array[at])]}")
            if scene.heat is not None:
                known.append(f"{scene.heat_label or 'heat'} {scene.heat[at]:.3f}")
        text = markup(" · ".join(dict.fromkeys(known)))
        place = ", ".join(map(str, at))
        self.readout.value = announced(f"{where} ({place}): <b>{text}</b>")


def grey_slider(scene: Scene) -> ipywidgets.FloatRangeSlider:
    """A slider over all values of the image that begins with those of the scene's window."""
    whole = limits_of(scene.image, "whole")
    low, high = min(scene.limits[0], whole[0]), max(scene.limits[1], whole[1])
    scale = {"min": low, "max": high, "step": (high - low) / 400 or 1.0}
    look: dict[str, Any] = WIDE | {"layout": {"width": "28em"}}
    look["readout_format"] = ".0f" if high - low > 20 else ".2f"
    slider = ipywidgets.FloatRangeSlider(value=scene.limits, description="window", **scale, **look)
    return classed(slider, "grey")
