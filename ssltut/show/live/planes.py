"""The slice explorer: what each plane looks like, as bytes that a picture widget shows at once. Its
controls are in ``live``.
"""

import io
from collections.abc import Mapping
from dataclasses import replace
from functools import cache

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_rgb
from scipy.ndimage import binary_erosion

from ssltut.data.labels import LabelTable
from ssltut.errors import ConfigError
from ssltut.show.frontends import frontend
from ssltut.show.static.pictures import UNCERTAINTY, picture
from ssltut.show.static.slices import PLANES, Scene, bar_length, cut, planes_figure

SIDE = 330  # pixels of the longest side of a plane: three fit beside each other on a projector
HEAT = (255 * colormaps[UNCERTAINTY](np.linspace(0, 1, 256))[:, :3]).astype(np.float32)
MARK = "#D55E00"  # the colour of a layer of True and False


def blend(
    scene: Scene,
    plane: str,
    at: tuple[int, int, int],
    opacity: float,
    limits: tuple[float, float] | None = None,
) -> np.ndarray:
    """One plane through voxel ``at`` with its layers, (rows, columns, 3) uint8; one pixel per
    voxel. ``limits`` in place of the window's.
    """
    axis = PLANES[plane][0]
    low, high = limits or scene.limits
    grey = np.clip(
        (cut(scene.image, plane, at[axis]).astype(np.float32) - low)
        * (255 / max(high - low, 1e-6)),
        0,
        255,
    )
    pixels = np.repeat(grey[..., None], 3, axis=-1)

    def lay(colour: np.ndarray, alpha: np.ndarray) -> None:
        where = alpha > 0
        share = alpha[where][:, None]
        pixels[where] = (
            pixels[where] * (1 - share) + (colour[where] if colour.ndim == 3 else colour) * share
        )

    if scene.overlay is not None:
        labels = cut(scene.overlay, plane, at[axis])
        lay(
            255 * np.array([to_rgb(c) for c in scene.table.colours], np.float32)[labels],
            np.where(labels > 0, opacity, 0.0),
        )
    if scene.heat is not None:
        share = np.clip(cut(scene.heat, plane, at[axis]) / scene.top, 0, 1)
        lay(HEAT[(255 * share).astype(np.uint8)], np.clip(4 * share, 0, 1) * opacity)
    for k, labels in enumerate((scene.contours or {}).values()):
        flat = cut(labels, plane, at[axis])
        gaps = (
            np.add.outer(*map(np.arange, flat.shape)) // 2 % 2 * (k > 0)
        )  # every outline but the first is dashed
        for c in np.unique(flat[flat > 0]):
            lay(
                255 * np.array(to_rgb(scene.table.colours[c])),
                ((flat == c) & ~binary_erosion(flat == c) & (gaps == 0)).astype(float),
            )
    return pixels.astype(np.uint8)


def framed(
    scene: Scene,
    plane: str,
    at: tuple[int, int, int],
    opacity: float,
    limits: tuple[float, float] | None = None,
) -> object:
    """One plane in true proportions, with the patient's sides and a scale bar: a PIL image that
    waits for its crosshair.
    """
    from PIL import Image, ImageDraw

    _, across, up, letters = PLANES[plane]
    scale = pixels_per_mm(scene)
    size = width, height = tuple(
        max(1, round(scene.image.shape[a] * scene.spacing[a] * scale)) for a in (across, up)
    )
    shown = Image.fromarray(blend(scene, plane, at, opacity, limits)).resize(
        size, Image.Resampling.NEAREST
    )
    pen, style = (
        ImageDraw.Draw(shown),
        {"fill": "white", "stroke_width": 2, "stroke_fill": "black", "font": typeface()},
    )
    spots = (
        (4, height / 2, "lm"),
        (width - 4, height / 2, "rm"),
        (width / 2, 3, "ma"),
        (width / 2, height - 3, "md"),
    )
    for letter, (left, top, anchor) in zip(letters if scene.letters else "", spots, strict=False):
        pen.text((left, top), letter, anchor=anchor, **style)
    length = bar_length(width / scale)
    pen.rectangle(
        [(7, height - 12), (9 + length * scale, height - 6)], fill="white", outline="black"
    )
    pen.text((8, height - 15), f"{length} mm", anchor="ls", **style)
    return shown


def pixels_per_mm(scene: Scene) -> float:
    return SIDE / max(n * s for n, s in zip(scene.image.shape, scene.spacing, strict=False))


def crossed(shown: object, scene: Scene, plane: str, at: tuple[int, int, int]) -> bytes:
    """JPEG of a plane from ``framed`` with a crosshair at ``at``."""
    from PIL import ImageDraw

    _, across, up, _ = PLANES[plane]
    x, y = (
        (scene.image.shape[a] - at[a] - 0.5) * scene.spacing[a] * pixels_per_mm(scene)
        for a in (across, up)
    )
    shown, out = shown.copy(), io.BytesIO()
    pen = ImageDraw.Draw(shown)
    pen.line([(x, 0), (x, shown.height)], fill=(150, 150, 150))
    pen.line([(0, y), (shown.width, y)], fill=(150, 150, 150))
    shown.save(out, "jpeg", quality=90)
    return out.getvalue()


@cache
def typeface() -> object:
    from PIL import ImageFont

    return ImageFont.load_default(size=17)


def legend(scene: Scene) -> str:
    """HTML key of the classes, the outlines and the heat."""
    named = range(1, scene.table.n_classes) if scene.labels else ()
    marks = [
        f'<span style="color:{scene.table.colours[c]};-webkit-text-stroke:0.5px'
        f' black">&#9632;</span> {scene.table.names[c]}'
        for c in named
    ]
    marks += [
        f"{'solid' if k == 0 else 'dashed'}: {name}" for k, name in enumerate(scene.contours or {})
    ]
    if scene.heat is not None:
        low, high = (f"rgb({', '.join(str(int(v)) for v in HEAT[k])})" for k in (0, 255))
        bar = (
            f'<span style="background:linear-gradient(90deg,{low},rgb(33,145,140),{high});padding:0'
            ' 3em"></span>'
        )
        marks.append(f"0&nbsp;{bar}&nbsp;{scene.top:.2g} {scene.heat_label}")
    return "&emsp;".join(marks)


def scenes_of(scene: Scene, layers: Mapping[str, np.ndarray]) -> dict[str, Scene]:
    """What the explorer can switch between: the scene as given when it has layers of its own, each
    of ``layers``, and the image alone.

    Raises ConfigError when a layer does not fit the image, or holds whole numbers that no table
    names.
    """
    found = {"as given": scene} if scene.labels or scene.heat is not None else {}
    bare = replace(scene, overlay=None, heat=None)
    for name, layer in layers.items():
        layer = np.asarray(layer)
        if layer.dtype == bool:
            found[name] = replace(
                bare,
                overlay=layer.astype(np.uint8),
                contours={},
                table=LabelTable("mark", ("no", name), ("#000000", MARK)),
            )
        else:
            heat = (
                {"heat": layer, "heat_label": name, "heat_max": None}
                if layer.dtype.kind == "f"
                else {"overlay": layer}
            )
            found[name] = replace(bare, **heat)
    return found | {"image alone": replace(bare, contours=None)}


def slices(
    image: np.ndarray,
    *,
    spacing: tuple[float, float, float],
    alt: str,
    title: str | None = None,
    layers: Mapping[str, np.ndarray] | None = None,
    unit: str | None = None,
    mouse: bool = True,
    **scene: object,
) -> object:
    """Slice explorer: three linked planes with a crosshair. Click sets it, the wheel turns the
    slices, sliders (arrow and page keys) do both.

    layers   {name: (X, Y, Z)} to switch between: whole numbers are label values that the table
             names, floats are heat, True marks voxels, for example {"labels": ..., "prediction":
             ..., "error": prediction != label, "uncertainty (nats)": ...}
    unit     of the image's values (default: HU, or none where the window is that of an MR)
    mouse    False: pictures of core ipywidgets without click and wheel, as in Colab
    scene    keywords of ``Scene``, as for ``planes``
    Returns a ``live.SliceExplorer`` that carries the picture beside itself, or, in the static
    frontend, that picture alone. Raises ConfigError when a layer does not fit the image, or holds
    whole numbers that no table names.
    """
    scenes = scenes_of(Scene(image, spacing, **scene), layers or {})
    still = picture(planes_figure(next(iter(scenes.values())), title), alt)
    if frontend() == "static":
        return still
    from ssltut.show.live.slices import SliceExplorer

    given = next(iter(scenes.values())).window
    return SliceExplorer(
        scenes,
        still,
        title=title,
        unit=unit if unit is not None else "" if given in (None, "percentile") else "HU",
        mouse=mouse,
    )


def checked(image: np.ndarray, **arrays: np.ndarray | None) -> None:
    """Raises ConfigError when an array that is there has another shape than the image."""
    for name, array in arrays.items():
        if array is not None and np.shape(array) != np.shape(image):
            raise ConfigError(
                f"{name} has shape {np.shape(array)} but the image has {np.shape(image)}",
                fix="put both on one grid",
            )
