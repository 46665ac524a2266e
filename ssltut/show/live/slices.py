"""The live half of the views: widgets that redraw bytes. Imported only where a notebook is open."""

import html
import io
from collections.abc import Mapping, Sequence

import ipywidgets
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ssltut.show.frontends import frontend
from ssltut.show.live.planes import crossed, framed, legend
from ssltut.show.static.pictures import Illustrated, Picture, rendered
from ssltut.show.static.slices import PLANES, Scene, limits_of

PRESETS = {"bone": "bone", "soft": "soft tissue", "whole": "whole", "percentile": "MR (1 to 99 %)"}
WIDE = {"description_width": "initial"}


def spoken(text: str) -> str:
    """HTML of a line that changes: large enough for the back row, and read out by a screen reader
    when it does.
    """
    return f'<div aria-live="polite" style="font-size: 115%; line-height: 1.5">{text}</div>'


def classed(widget: ipywidgets.DOMWidget, name: str) -> ipywidgets.DOMWidget:
    """``widget`` with the DOM class ssltut-``name``, by which tests and style sheets find it."""
    return widget.add_class(f"ssltut-{name}")


class View(Illustrated, ipywidgets.VBox):
    """A column of widgets; ``illustration`` is what remains in a saved notebook."""

    def __init__(self, children: Sequence[ipywidgets.Widget], still: Picture, name: str) -> None:
        super().__init__(children)
        self.illustration, self.tooltip = still, None
        classed(self, name)


def pane(plane: str, alt: str, mouse: bool) -> ipywidgets.DOMWidget:
    """The picture of one plane: with a mouse in JupyterLab, else the one of core ipywidgets."""
    shown = None
    if mouse and frontend() == "lab":
        try:
            from ssltut.show.live.mouse import Pane

            shown = Pane(alt=alt)
        except ImportError:  # the sliders do all a mouse does
            pass
    return classed(
        shown
        or ipywidgets.Image(format="jpeg", layout={"object_fit": "contain", "margin": "0 6px 0 0"}),
        plane,
    )


class SliceExplorer(View):
    """Three linked planes of one scan.

    sliders  {"x", "y", "z", "opacity"};  images {plane: picture};  layer a Dropdown of ``scenes``;
             windows {preset: Button}
    grey     FloatRangeSlider of the values shown black and white;  readout, key: HTML
    """

    def __init__(
        self,
        scenes: Mapping[str, Scene],
        still: Picture,
        *,
        title: str | None,
        unit: str,
        mouse: bool,
    ) -> None:
        self.scenes, self.unit, self.moving, self.framed = dict(scenes), unit, False, {}
        first = next(iter(self.scenes.values()))
        self.image = first.image
        axes = {"xyz"[PLANES[plane][0]]: plane for plane in PLANES}
        self.sliders = {
            axis: classed(
                ipywidgets.IntSlider(
                    first.centre["xyz".index(axis)],
                    0,
                    self.image.shape["xyz".index(axis)] - 1,
                    description=f"{plane} {axis}",
                ),
                axis,
            )
            for axis, plane in axes.items()
        }
        self.sliders["opacity"] = classed(
            ipywidgets.FloatSlider(0.5, min=0, max=1, step=0.1, description="opacity"), "opacity"
        )
        self.images = {plane: pane(plane, f"{plane} plane. {still.alt}", mouse) for plane in PLANES}
        self.layer = classed(
            ipywidgets.Dropdown(options=list(self.scenes), description="layer"), "layer"
        )
        whole, (low, high) = limits_of(self.image, "whole"), first.limits
        ends = (min(low, whole[0]), max(high, whole[1]))
        self.grey = classed(
            ipywidgets.FloatRangeSlider(
                value=(low, high),
                min=ends[0],
                max=ends[1],
                step=(ends[1] - ends[0]) / 400 or 1.0,
                description="window",
                layout={"width": "28em"},
                readout_format=".0f" if ends[1] - ends[0] > 20 else ".2f",
            ),
            "grey",
        )
        self.windows = {
            name: classed(
                ipywidgets.Button(description=text, layout={"width": "auto"}), f"window-{name}"
            )
            for name, text in PRESETS.items()
            if unit == "HU" or name in ("whole", "percentile")
        }
        self.readout, self.key = (
            classed(ipywidgets.HTML(), "readout"),
            classed(ipywidgets.HTML(legend(first)), "legend"),
        )
        columns = [
            ipywidgets.VBox([self.images[plane], self.sliders[axis]])
            for axis, plane in axes.items()
        ]
        rows = [ipywidgets.HTML(f"<b>{html.escape(title)}</b>")] if title else []
        super().__init__(
            [
                *rows,
                ipywidgets.HBox(columns),
                self.readout,
                ipywidgets.HBox([self.layer, self.sliders["opacity"], self.key]),
                ipywidgets.HBox([self.grey, *self.windows.values()]),
            ],
            still,
            "explorer",
        )
        for control in (*self.sliders.values(), self.grey):
            control.observe(self.redraw, names="value")
        self.layer.observe(self.chosen, names="value")
        for name, button in self.windows.items():
            button.on_click(
                lambda _, name=name: self.grey.set_trait("value", limits_of(self.image, name))
            )
        for plane, shown in self.images.items():
            shown.on_msg(lambda _, message, __, plane=plane: self.touched(plane, message))
        self.redraw()

    @property
    def at(self) -> tuple[int, int, int]:
        """The voxel of the crosshair."""
        return tuple(self.sliders[axis].value for axis in "xyz")

    @property
    def scene(self) -> Scene:
        return self.scenes[self.layer.value]

    def go(self, at: Sequence[int]) -> None:
        """Put the crosshair on voxel ``at`` and draw once."""
        self.moving = True
        try:
            for axis, index in zip("xyz", at, strict=False):
                self.sliders[axis].value = int(index)
        finally:
            self.moving = False
        self.redraw()

    def chosen(self, change: object = None) -> None:
        """Another layer: its key, and the planes again."""
        self.key.value = legend(self.scene)
        self.redraw()

    def redraw(self, change: object = None) -> None:
        """All three planes; one whose slice and look did not change gets a new crosshair only."""
        if self.moving:
            return
        look = (self.scene, self.sliders["opacity"].value, self.grey.value)
        for plane, shown in self.images.items():
            index = self.at[PLANES[plane][0]]
            if self.framed.get(plane, (None,))[0] != (index, *look):
                self.framed[plane] = (index, *look), framed(self.scene, plane, self.at, *look[1:])
            shown.value = crossed(self.framed[plane][1], self.scene, plane, self.at)
        self.read(self.at)

    def read(self, at: tuple[int, int, int], where: str = "crosshair") -> None:
        """Say what is at voxel ``at``: the image's value, and the name or value of every layer."""
        told = [f"{self.image[at]:.4g} {self.unit}".strip()]
        for name, scene in self.scenes.items():
            labels = {name if name != "as given" else "label": scene.overlay} | dict(
                scene.contours or {}
            )
            told += [
                f"{of}: {scene.table.names[int(array[at])]}"
                for of, array in labels.items()
                if array is not None
            ]
            told += (
                [f"{scene.heat_label or 'heat'} {scene.heat[at]:.3f}"]
                if scene.heat is not None
                else []
            )
        text = html.escape(" · ".join(dict.fromkeys(told)))
        self.readout.value = spoken(f"{where} ({', '.join(map(str, at))}): <b>{text}</b>")

    def touched(self, plane: str, message: Mapping[str, object]) -> None:
        """What the mouse did on a plane: {"kind": "click", "hover", "leave" or "wheel", "x", "y":
        share of width and height, "steps"}.
        """
        axis, across, up, _ = PLANES[plane]
        if message["kind"] == "wheel":
            self.sliders["xyz"[axis]].value += int(message["steps"])
        elif message["kind"] == "leave":
            self.read(self.at)
        else:
            at = list(self.at)
            for a, share in ((across, message["x"]), (up, message["y"])):
                n = self.image.shape[a]
                at[a] = n - 1 - int(np.clip(share * n, 0, n - 1))
            self.go(at) if message["kind"] == "click" else self.read(tuple(at), "cursor")


class Backdrop:
    """A matplotlib figure drawn once, on which points are ringed again and again: a redraw would
    take a hundred times as long.
    """

    def __init__(self, fig: Figure) -> None:
        self.base, self.axes = rendered(fig), fig.axes
        self.place = {ax: ax.transData.frozen() for ax in fig.axes}

    def ringed(self, points: Sequence[tuple[Axes, float, float]]) -> bytes:
        """PNG with a ring around each point (axes, x, y)."""
        from PIL import ImageDraw

        shown, out = self.base.copy(), io.BytesIO()
        pen = ImageDraw.Draw(shown)
        for ax, *point in points:
            x, y = self.place[ax].transform(point)
            for radius, colour, width in ((11, "white", 7), (10, "black", 4)):
                pen.ellipse(
                    [x - radius, shown.height - y - radius, x + radius, shown.height - y + radius],
                    outline=colour,
                    width=width,
                )
        shown.save(out, "png", compress_level=1)
        return out.getvalue()
