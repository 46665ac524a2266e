"""The slice explorer: three planes that follow their sliders, as bytes in core ipywidgets, so that it works in JupyterLab and in Colab."""

import io
from functools import cache

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_rgb
from scipy.ndimage import binary_erosion

from ssltut.data.labels import LabelTable
from ssltut.show.frontends import frontend
from ssltut.show.pictures import UNCERTAINTY, Illustrated, Picture
from ssltut.show.slices import PLANES, Scene, cut, planes

SIDE = 330  # pixels of the longest side of a plane: three fit beside each other on a projector


def blend(scene: Scene, plane: str, at: tuple[int, int, int], opacity: float) -> np.ndarray:
    """One plane through voxel ``at`` with its layers, (rows, columns, 3) uint8; one pixel per voxel."""
    axis = PLANES[plane][0]
    low, high = scene.limits
    grey = np.clip((cut(scene.image, plane, at[axis]).astype(np.float32) - low) / max(high - low, 1e-6), 0, 1)
    pixels = np.repeat(grey[..., None], 3, axis=-1)

    def lay(colour: np.ndarray, alpha: np.ndarray) -> None:
        pixels[:] = pixels * (1 - alpha[..., None]) + colour * alpha[..., None]

    if scene.overlay is not None:
        labels = cut(scene.overlay, plane, at[axis])
        lay(np.array([to_rgb(c) for c in scene.table.colours])[labels], np.where(labels > 0, opacity, 0.0))
    if scene.heat is not None:
        share = np.clip(cut(scene.heat, plane, at[axis]) / scene.top, 0, 1)
        lay(colormaps[UNCERTAINTY](share)[..., :3], np.clip(4 * share, 0, 1) * opacity)
    for k, labels in enumerate((scene.contours or {}).values()):
        flat = cut(labels, plane, at[axis])
        gaps = np.add.outer(*map(np.arange, flat.shape)) // 2 % 2 * (k > 0)  # every outline but the first is dashed
        for c in np.unique(flat[flat > 0]):
            lay(np.array(to_rgb(scene.table.colours[c])), ((flat == c) & ~binary_erosion(flat == c) & (gaps == 0)).astype(float))
    return (255 * pixels).astype(np.uint8)


def slice_jpeg(scene: Scene, plane: str, at: tuple[int, int, int], opacity: float = 0.5) -> bytes:
    """JPEG of one plane in true proportions, with a crosshair at ``at`` and the patient's side marked."""
    from PIL import Image, ImageDraw

    _, across, up, letters = PLANES[plane]
    shape, spacing = scene.image.shape, scene.spacing
    scale = SIDE / max(n * s for n, s in zip(shape, spacing))
    size = tuple(max(1, round(shape[a] * spacing[a] * scale)) for a in (across, up))
    shown = Image.fromarray(blend(scene, plane, at, opacity)).resize(size, Image.Resampling.NEAREST)
    x, y = ((shape[a] - at[a] - 0.5) * spacing[a] * scale for a in (across, up))
    pen, (width, height) = ImageDraw.Draw(shown), size
    pen.line([(x, 0), (x, height)], fill=(150, 150, 150))
    pen.line([(0, y), (width, y)], fill=(150, 150, 150))
    spots = ((4, height / 2, "lm"), (width - 4, height / 2, "rm"), (width / 2, 3, "ma"), (width / 2, height - 3, "md"))
    for letter, (left, top, anchor) in zip(letters, spots):
        pen.text((left, top), letter, anchor=anchor, fill="white", stroke_width=2, stroke_fill="black", font=typeface())
    out = io.BytesIO()
    shown.save(out, "jpeg", quality=90)
    return out.getvalue()


@cache
def typeface() -> object:
    from PIL import ImageFont

    return ImageFont.load_default(size=17)


def legend(table: LabelTable | None, scene: Scene) -> str:
    """HTML key of the classes that are in the picture."""
    seen = sorted({int(c) for labels in scene.labels for c in np.unique(labels) if c > 0})
    marks = [f'<span style="color:{table.colours[c]};-webkit-text-stroke:0.5px black">&#9632;</span> {table.names[c]}' for c in seen]
    marks += [f"{'solid' if k == 0 else 'dashed'}: {name}" for k, name in enumerate(scene.contours or {})]
    if scene.heat is not None:
        low, high = (f"rgb({', '.join(str(int(255 * v)) for v in colormaps[UNCERTAINTY](share)[:3])})" for share in (0.0, 1.0))
        bar = f'<span style="background:linear-gradient(90deg,{low},rgb(33,145,140),{high});padding:0 3em"></span>'
        marks.append(f"0 {bar} {scene.top:.2g} {scene.heat_label}")
    return "&emsp;".join(marks)


def explore(image: np.ndarray, *, spacing: tuple[float, float, float], alt: str, title: str | None = None, **layers: object) -> object:
    """Slice explorer: a slider per axis (arrow keys work) and one for the opacity of the layers; ``layers`` are the keywords of ``Scene``.

    Returns a widget that carries the picture of ``planes`` beside itself, or, in the static frontend, that picture alone.
    Attributes of the widget: ``sliders`` {"x", "y", "z", "opacity"} and ``images`` {plane: ipywidgets.Image}.
    """
    still = planes(image, spacing=spacing, alt=alt, title=title, **layers)
    return still if frontend() == "static" else widget(Scene(image, spacing, **layers), still, title)


def widget(scene: Scene, still: Picture, title: str | None) -> object:
    """The live half of ``explore``."""
    import ipywidgets

    class Explorer(Illustrated, ipywidgets.VBox):
        """Three planes and their sliders; ``illustration`` is what remains in a saved notebook."""

    names = {"xyz"[PLANES[plane][0]]: plane for plane in PLANES}
    sliders = {axis: ipywidgets.IntSlider(scene.centre["xyz".index(axis)], 0, scene.image.shape["xyz".index(axis)] - 1,
                                          description=f"{plane} {axis}", continuous_update=True) for axis, plane in names.items()}
    opacity = ipywidgets.FloatSlider(0.5, min=0, max=1, step=0.1, description="opacity")
    images = {plane: ipywidgets.Image(format="jpeg", layout={"object_fit": "contain", "margin": "0 6px 0 0"}) for plane in PLANES}

    def redraw(change: object = None) -> None:
        at = tuple(sliders[axis].value for axis in "xyz")
        for plane, shown in images.items():
            shown.value = slice_jpeg(scene, plane, at, opacity.value)

    redraw()
    columns = [ipywidgets.VBox([images[plane], sliders[axis]]) for axis, plane in names.items()]
    for slider in (*sliders.values(), opacity):
        slider.observe(redraw, names="value")
    rows = [ipywidgets.HTML(f"<b>{title}</b>")] if title else []
    rows += [ipywidgets.HBox(columns), ipywidgets.HBox([opacity, ipywidgets.HTML(legend(scene.table, scene))])]
    box = Explorer(rows)
    box.illustration, box.sliders, box.images = still, sliders | {"opacity": opacity}, images
    return box
