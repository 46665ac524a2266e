"""Three linked planes of one scan: what each looks like, as bytes, and the widgets that show it."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import ipywidgets
import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex, to_rgb
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import binary_erosion

from ssltut.show.live.widgets import LiveView, int_slider, plane_image
from ssltut.show.static.pictures import UNCERTAINTY, Picture
from ssltut.show.static.slices import PLANES, Scene, bar_length, cut
from ssltut.text import markup

AXES = {"xyz"[PLANES[plane][0]]: plane for plane in PLANES}
SIDE = 330  # pixels of the longest side of a plane: three fit beside each other on a projector
SMALL = 194  # of planes that have something beside them, on a screen of 1366 x 768
FONT = ImageFont.load_default(size=17)
WORDS: dict[str, Any] = {"fill": "white", "stroke_width": 2, "stroke_fill": "black", "font": FONT}
Limits = tuple[float, float] | None  # the values shown black and white
At = Sequence[int]
ANGLES = ("", "135deg", "45deg")  # of HATCHES, in a style sheet
HEAT = (255 * colormaps[UNCERTAINTY](np.linspace(0, 1, 256))[:, :3]).astype(np.float32)


class LinkedPlanes(LiveView):
    """Three planes of one scan that share a crosshair, each with a slider.

    sliders  {"x", "y", "z"};  images {plane: picture};  columns  both, beside each other
    at       the voxel of the crosshair;  ``go(at)`` moves it and draws once
    A click on a picture goes to its voxel, the wheel turns the slices. A subclass draws in
    ``redraw`` and may answer to the cursor in ``hover``.
    """

    def __init__(
        self, scene: Scene, still: Picture, name: str, side: int, mouse: bool = True, of: str = ""
    ) -> None:
        super().__init__(still, name)
        self.shape, self.side = scene.image.shape, side
        narrow = {"style": {"description_width": "initial"}, "layout": {"width": f"{side}px"}}
        self.frames: dict[str, tuple[tuple, Image.Image]] = {}
        self.sliders, self.images, columns = {}, {}, []
        for axis, plane in AXES.items():
            a, words = PLANES[plane][0], f"{plane} {axis}"
            middle, last = scene.centre[a], self.shape[a] - 1
            self.sliders[axis] = int_slider(axis, middle, 0, last, description=words, **narrow)
            alt = f"{plane} plane{of}. {still.alt}"
            self.images[plane] = plane_image(plane, alt, clickable=mouse)
            self.sliders[axis].observe(self.changed, names="value")
            self.images[plane].on_msg(lambda _, told, __, plane=plane: self.touched(plane, told))
            columns.append(ipywidgets.VBox([self.images[plane], self.sliders[axis]]))
        self.columns = ipywidgets.HBox(columns)

    @property
    def at(self) -> tuple[int, int, int]:
        x, y, z = (self.sliders[axis].value for axis in "xyz")
        return x, y, z

    def go(self, at: At) -> None:
        """Put the crosshair on voxel ``at``; indices outside the scan go to its edge."""
        with self.hold():
            for axis, index in zip("xyz", at, strict=True):
                self.sliders[axis].value = int(index)
        self.redraw()

    def changed(self, change: Mapping[str, Any] | None = None) -> None:
        """A control was moved."""
        if not self.held:
            self.redraw()

    def redraw(self) -> None:
        """Draw what the controls say now."""

    def hover(self, at: tuple[int, int, int] | None) -> None:
        """The cursor is on voxel ``at``, or has left the pictures."""

    def draw_planes(self, scene: Scene, opacity: float, limits: Limits = None) -> None:
        """Draw ``scene``; a plane whose slice and look did not change gets a new crosshair only."""
        for plane, image in self.images.items():
            key = (self.at[PLANES[plane][0]], scene, opacity, limits)
            if plane not in self.frames or self.frames[plane][0] != key:
                self.frames[plane] = key, framed(scene, plane, self.at, opacity, limits, self.side)
            image.value = crossed(self.frames[plane][1], scene, plane, self.at)

    def touched(self, plane: str, message: Mapping[str, Any]) -> None:
        """What the mouse did on a plane: a message of ``ClickableImage``."""
        axis, across, up, _ = PLANES[plane]
        if message["kind"] == "wheel":
            self.sliders["xyz"[axis]].value += int(message["steps"])
        elif message["kind"] == "leave":
            self.hover(None)
        else:
            at = list(self.at)
            for a, share in ((across, message["x"]), (up, message["y"])):
                last = self.shape[a] - 1
                at[a] = last - int(np.clip(share * self.shape[a], 0, last))
            react = self.go if message["kind"] == "click" else self.hover
            react((at[0], at[1], at[2]))


def blend(scene: Scene, plane: str, at: At, opacity: float, limits: Limits = None) -> np.ndarray:
    """One plane through voxel ``at`` with its layers, (rows, columns, 3) uint8, a pixel a voxel.

    limits   the values shown black and white (default: those of the scene's window)
    """
    low, high = limits or scene.limits
    grey = (cut(scene.image, plane, at).astype(np.float32) - low) * (255 / max(high - low, 1e-6))
    pixels = np.repeat(np.clip(grey, 0, 255)[..., None], 3, axis=-1)

    def lay(colour: np.ndarray, alpha: np.ndarray) -> None:
        where = alpha > 0
        share = alpha[where][:, None]
        pixels[where] = pixels[where] * (1 - share) + colour[where] * share

    colours = np.array([to_rgb(c) for c in scene.table.colours] if scene.table else [], np.float32)
    if scene.overlay is not None:
        labels = cut(scene.overlay, plane, at)
        rows, columns = np.indices(labels.shape) // -(-max(labels.shape) // 80)
        slope = np.array([0, 1, -1])[labels.astype(int) % 3 - 1]  # of HATCHES: the image shows
        gaps = (slope != 0) & ((rows + slope * columns) % 3 == 0)  # between the lines
        lay(255 * colours[labels], np.where((labels > 0) & ~gaps, opacity, 0.0))
    if scene.heat is not None:
        share = np.clip(cut(scene.heat, plane, at) / scene.top, 0, 1)
        lay(HEAT[(255 * share).astype(np.uint8)], np.clip(4 * share, 0, 1) * opacity)
    for k, array in enumerate((scene.contours or {}).values()):
        labels = cut(array, plane, at)
        outline = np.zeros(labels.shape, bool)
        for c in np.unique(labels[labels > 0]):
            outline |= (labels == c) & ~binary_erosion(labels == c)
        if k > 0:  # every outline but the first is dashed
            rows, columns = np.indices(labels.shape)
            outline &= (rows + columns) // 2 % 2 == 0
        lay(255 * colours[labels], outline.astype(float))
    return pixels.astype(np.uint8)


def framed(
    scene: Scene, plane: str, at: At, opacity: float, limits: Limits = None, side: int = SIDE
) -> Image.Image:
    """One plane in true proportions, with the patient's sides and a scale bar; no crosshair."""
    _, across, up, letters = PLANES[plane]
    extent = np.multiply(scene.image.shape, scene.spacing)
    scale = side / float(extent.max())
    width, height = (max(1, round(float(extent[a]) * scale)) for a in (across, up))
    pixels = Image.fromarray(blend(scene, plane, at, opacity, limits))
    shown = pixels.resize((width, height), Image.Resampling.NEAREST)
    pen = ImageDraw.Draw(shown)
    if scene.letters:
        places = ((4, height / 2), (width - 4, height / 2), (width / 2, 3), (width / 2, height - 3))
        for letter, place, anchor in zip(letters, places, ("lm", "rm", "ma", "md"), strict=True):
            pen.text(place, letter, anchor=anchor, **WORDS)
    length = bar_length(width / scale)
    box = [(7, height - 12), (9 + length * scale, height - 6)]
    pen.rectangle(box, fill="white", outline="black")
    pen.text((8, height - 15), f"{length} mm", anchor="ls", **WORDS)
    return shown


def position(frame: Image.Image, scene: Scene, plane: str, at: At) -> tuple[float, float]:
    """Where the centre of voxel ``at`` is in the picture of a plane: pixels from left and top."""
    _, across, up, _ = PLANES[plane]
    x, y = (1 - (at[a] + 0.5) / scene.image.shape[a] for a in (across, up))
    return x * frame.width, y * frame.height


def crossed(frame: Image.Image, scene: Scene, plane: str, at: At) -> bytes:
    """JPEG of a plane from ``framed`` with a crosshair at ``at``."""
    shown, out = frame.copy(), io.BytesIO()
    x, y = position(frame, scene, plane, at)
    pen = ImageDraw.Draw(shown)
    pen.line([(x, 0), (x, shown.height)], fill=(150, 150, 150))
    pen.line([(0, y), (shown.width, y)], fill=(150, 150, 150))
    shown.save(out, "jpeg", quality=90)
    return out.getvalue()


def legend(scene: Scene) -> str:
    """HTML key of the classes, the outlines and the heat."""
    marks = []
    if scene.labels and scene.table:
        for c in range(1, scene.table.n_classes):
            angle = ANGLES[(c - 1) % len(ANGLES)]
            name, colour = markup(scene.table.names[c]), to_hex(scene.table.colours[c])
            lines = f"repeating-linear-gradient({angle}, #0000 0 4px, black 4px 5px)"
            fill = f"{lines},{colour}" if angle else colour
            style = f"background:{fill};border:1px solid black;padding:0 0.6em"
            marks.append(f'<nobr><span style="{style}"></span>&nbsp;{name}</nobr>')
    for k, name in enumerate(scene.contours or {}):
        marks.append(f"{'dashed' if k else 'solid'}: {markup(name)}")
    if scene.heat is not None:
        low, high = (f"rgb({', '.join(str(int(v)) for v in HEAT[k])})" for k in (0, 255))
        colours = f"linear-gradient(90deg,{low},rgb(33,145,140),{high})"
        bar = f'<span style="background:{colours};padding:0 3em"></span>'
        marks.append(f"0&nbsp;{bar}&nbsp;{scene.top:.2g} {markup(scene.heat_label)}")
    return f"<span>{'&emsp;'.join(marks)}</span>"
