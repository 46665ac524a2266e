"""Scans in three planes, in mm, with labels, uncertainty and outlines.

Arrays are RAS+ (X, Y, Z). The patient's right is on the viewer's left, as radiologists have it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from matplotlib import colormaps, patheffects
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgba
from matplotlib.figure import Figure, FigureBase, SubFigure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from scipy.ndimage import uniform_filter

from ssltut.data.labels import FOREGROUND, LabelTable
from ssltut.errors import ConfigError
from ssltut.show.static.pictures import DASHES, UNCERTAINTY, Picture, picture, styled

# plane: (axis that is cut, axis shown from left to right, axis shown from bottom to top, letters
# left, right, top, bottom)
PLANES = {"axial": (2, 0, 1, "RLAP"), "coronal": (1, 0, 2, "RLSI"), "sagittal": (0, 1, 2, "APSI")}
# (centre, width) in HU; the others are from the image
WINDOWS = {"bone": (400.0, 1800.0), "soft": (50.0, 400.0)}
HATCHES = ("", "//", "\\\\")  # of the classes of an overlay without outlines
WINDOW_NAMES = (*WINDOWS, "whole", "percentile")
Spacing = tuple[float, float, float]  # mm
HALO = [patheffects.withStroke(linewidth=3, foreground="black")]


def check_shapes(image: np.ndarray, layers: Mapping[str, Any]) -> None:
    """Raises ConfigError when a layer that is there has another shape than the image."""
    for name, layer in layers.items():
        if layer is not None and np.shape(layer) != np.shape(image):
            shape = tuple(np.shape(layer))
            problem = f"{name} has shape {shape} but the image has {np.shape(image)}"
            raise ConfigError(problem, fix="put both on one grid")


@dataclass(frozen=True, eq=False)  # arrays cannot be compared by ==
class Scene:
    """What a slice shows; ``planes``, ``grid`` and ``slices`` take these as keywords.

    image     (X, Y, Z) HU or MR values;  spacing in mm
    overlay   (X, Y, Z) label values, filled;  contours {name: (X, Y, Z) label values}, drawn as
              outlines, one line style a name (default: the overlay's own outlines; {}: none)
    table     names and colours of the label values
    heat      (X, Y, Z) float >= 0;  heat_max  at the top of its scale (default: the largest)
    at        the voxel to cut at (default: the middle of the overlay, else of the first contour,
              else of the image)
    window    "bone", "soft", (centre, width) in HU, "whole" from the least to the greatest value,
              or "percentile" or None for the 1st to the 99th percentile, as MR needs it
    letters   name the patient's sides; False where nobody knows how the axes point
    Raises ConfigError when an array has another shape than the image, or no table names the labels.
    """

    image: np.ndarray
    spacing: Spacing
    overlay: np.ndarray | None = None
    table: LabelTable | None = None
    heat: np.ndarray | None = None
    heat_label: str = ""
    heat_max: float | None = None
    contours: Mapping[str, np.ndarray] | None = None
    at: Sequence[int] | None = None
    window: str | tuple[float, float] | None = "bone"
    letters: bool = True

    def __post_init__(self) -> None:
        layers = {"overlay": self.overlay, "heat": self.heat, **(self.contours or {})}
        check_shapes(self.image, layers)
        for labels in self.labels:
            highest = labels.max(initial=0)
            if self.table is None or highest >= self.table.n_classes:
                problem = f"the labels reach {highest} but no table names that value"
                raise ConfigError(problem, fix="give table=, with a name for each")
        if isinstance(self.window, str) and self.window not in WINDOW_NAMES:
            fix = f"use one of {', '.join(WINDOW_NAMES)}, (centre, width) or None"
            raise ConfigError(f"there is no window {self.window!r}", fix=fix)

    @property
    def colours(self) -> Sequence[str]:
        """Of each label value."""
        return self.table.colours if self.table is not None else ()

    @property
    def labels(self) -> list[np.ndarray]:
        """The overlay and the contours that are there."""
        return [x for x in (self.overlay, *(self.contours or {}).values()) if x is not None]

    @cached_property
    def limits(self) -> tuple[float, float]:
        """The values shown black and white."""
        return limits_of(self.image, self.window)

    @cached_property
    def centre(self) -> tuple[int, int, int]:
        """The voxel to cut at."""
        shape = np.shape(self.image)
        if self.at is not None:
            x, y, z = (int(np.clip(v, 0, n - 1)) for v, n in zip(self.at, shape, strict=True))
            return x, y, z
        inside = np.asarray(self.labels[0]) > 0 if self.labels else np.zeros(shape, bool)
        middle = [round(n / 2) for n in shape]
        if total := np.count_nonzero(inside):
            # of a whole scan, far quicker than a list of its voxels
            counts = [inside.sum(others) for others in ((1, 2), (0, 2), (0, 1))]
            middle = [round(float(n @ np.arange(len(n))) / total) for n in counts]
        return middle[0], middle[1], middle[2]

    @cached_property
    def top(self) -> float:
        """The heat at the top of its scale."""
        largest = 0.0 if self.heat is None else float(self.heat.max())
        return self.heat_max or max(largest, 1e-6)


def limits_of(image: np.ndarray, window: str | tuple[float, float] | None) -> tuple[float, float]:
    """The values shown black and white under ``window``, as in ``Scene``."""
    if window == "whole":
        return float(np.min(image)), float(np.max(image))
    if window is None or window == "percentile":
        low, high = np.percentile(np.asarray(image)[::2, ::2, ::2], (1, 99))
        return float(low), float(high)
    centre, width = WINDOWS[window] if isinstance(window, str) else window
    return centre - width / 2, centre + width / 2


def densest(values: np.ndarray, label: np.ndarray, *, side: int = 9) -> tuple[int, int, int]:
    """The voxel to cut at where ``values`` (X, Y, Z), errors or uncertainty, are densest.

    That is the largest mean over ``side`` voxels each way, away from the rim (the outer tenth of
    the scan) and from planes with less than a tenth of the foreground of the fullest one. Without
    any value it is the middle of the foreground.
    """
    check_shapes(label, {"values": values})
    mean = uniform_filter(np.asarray(values, np.float32), side, mode="constant")
    inside = np.asarray(label) > 0
    for axis, n in enumerate(mean.shape):
        counts = inside.sum(tuple({0, 1, 2} - {axis}))
        rim = min(max(side // 2, -(-n // 10)), (n - 1) // 2)
        planes = np.moveaxis(mean, axis, 0)
        planes[counts < 0.1 * counts.max()] = -1
        planes[:rim] = -1
        planes[n - rim :] = -1
    if mean.max() <= 0:
        return Scene(mean, (1, 1, 1), contours={"": inside}, table=FOREGROUND).centre
    x, y, z = (int(v) for v in np.unravel_index(mean.argmax(), mean.shape))
    return x, y, z


def bar_length(width: float) -> int:
    """Length in mm of the scale bar of a picture ``width`` mm wide: at most a third of it."""
    return next(v for v in (100, 50, 20, 10, 5, 2, 1) if v <= width / 3 or v == 1)


def cut(volume: np.ndarray, plane: str, at: Sequence[int]) -> np.ndarray:
    """The slice (rows, columns) of a RAS+ volume through voxel ``at``, seen as ``PLANES`` says."""
    axis = PLANES[plane][0]
    return np.take(volume, at[axis], axis).T[::-1, ::-1]


def draw_plane(ax: Axes, scene: Scene, plane: str, title: str, *, crosshair: bool = False) -> None:
    """One plane of ``scene`` on ``ax``, whose units are mm from the lower left corner."""
    _, across, up, letters = PLANES[plane]
    at, shape, spacing = scene.centre, scene.image.shape, scene.spacing
    width, height = shape[across] * spacing[across], shape[up] * spacing[up]
    place: dict[str, Any] = {"extent": (0, width, 0, height), "origin": "upper"}
    pixels = place | {"interpolation": "nearest"}
    low, high = scene.limits
    ax.imshow(cut(scene.image, plane, at), cmap="gray", vmin=low, vmax=high, **pixels)
    if scene.overlay is not None:
        filling = 0.45 if scene.contours is None else 0.8  # more where it has no outline
        colours = [(0, 0, 0, 0), *(to_rgba(c, filling) for c in scene.colours[1:])]
        labels = cut(scene.overlay, plane, at)
        ax.imshow(np.array(colours)[labels], **pixels)
        for c in np.unique(labels[labels > 0]) if scene.contours is not None else ():
            hatch = [HATCHES[(c - 1) % len(HATCHES)]]
            ax.contourf(labels == c, [0.5, 1.5], colors="none", hatches=hatch, **place)
    if scene.heat is not None:
        share = np.clip(cut(scene.heat, plane, at) / scene.top, 0, 1)
        alpha = np.clip(4 * share, 0, 0.85)
        ax.imshow(share, alpha=alpha, cmap=UNCERTAINTY, vmin=0, vmax=1, **pixels)
    draw_outlines(ax, scene, plane, place)
    if crosshair:
        x, y = (shape[across] - at[across] - 0.5) * spacing[across], (at[up] + 0.5) * spacing[up]
        ax.axvline(x, color="white", lw=0.8, alpha=0.7)
        ax.axhline(y, color="white", lw=0.8, alpha=0.7)
    decorate(ax, letters if scene.letters else "", width, height)
    ax.set_title(title)


def draw_outlines(ax: Axes, scene: Scene, plane: str, place: dict[str, Any]) -> None:
    """Outlines of the contours, a line style each; else of the overlay, a line style a class."""
    outlines = scene.contours or {}
    if scene.contours is None and scene.overlay is not None:
        outlines = {"": scene.overlay}
    for k, labels in enumerate(outlines.values()):
        flat = cut(labels, plane, scene.centre)
        for c in np.unique(flat):
            if c == 0 or (flat == c).all():
                continue
            dashes = DASHES[k if scene.contours else (c - 1) % len(DASHES)]
            look = place | {"colors": [scene.colours[c]], "linestyles": [dashes]}
            edge = ax.contour(flat == c, [0.5], linewidths=2.4, **look)
            edge.set_path_effects([patheffects.withStroke(linewidth=4, foreground="black")])


def decorate(ax: Axes, letters: str, width: float, height: float) -> None:
    """Orientation letters and a scale bar in mm."""
    ax.set(xlim=(0, width), ylim=(0, height), aspect="equal")
    ax.axis("off")
    white: dict[str, Any] = {"color": "white", "path_effects": HALO}
    middle: dict[str, Any] = {"ha": "center", "va": "center", "weight": "bold"}
    positions = ((0.04, 0.5), (0.96, 0.5), (0.5, 0.95), (0.5, 0.05))
    for letter, (x, y) in zip(letters, positions, strict=False):
        ax.text(x, y, letter, transform=ax.transAxes, **middle, **white)
    length, x, y = bar_length(width), 0.05 * width, 0.05 * height
    ax.plot([x, x + length], [y, y], lw=4, solid_capstyle="butt", **white)
    ax.text(x, 0.07 * height, f"{length} mm", fontsize=12, va="bottom", **white)


def add_key(
    fig: Figure | SubFigure, scenes: Sequence[Scene], planes: Sequence[str] = tuple(PLANES)
) -> None:
    """Legend of the classes and outlines in these ``planes``, and the colour bar of the heat."""

    def classes_in(scene: Scene, labels: np.ndarray) -> set[int]:
        flat = [cut(labels, p, scene.centre).ravel() for p in planes]
        return set(np.unique(np.concatenate(flat)).tolist()) - {0}

    solid = any(s.contours is not None for s in scenes)
    handles: list[Artist] = []
    outlines: dict[str, Artist] = {}
    for table in dict.fromkeys(s.table for s in scenes if s.table is not None):
        here = [s for s in scenes if s.table == table]
        shown = set().union(*(classes_in(s, labels) for s in here for labels in s.labels))
        filled = solid and any(s.overlay is not None for s in here)
        for c in sorted(shown):
            dashes = "-" if solid else DASHES[(c - 1) % len(DASHES)]
            look: dict[str, Any] = {"facecolor": table.colours[c], "edgecolor": "black"}
            look["hatch"] = HATCHES[(c - 1) % len(HATCHES)] if filled else None
            handles.append(Patch(lw=1.5, ls=dashes, label=table.names[c], **look))
    for scene in scenes:
        for dashes, (name, labels) in zip(DASHES, (scene.contours or {}).items(), strict=False):
            if classes_in(scene, labels):
                outlines[name] = Line2D([], [], color="black", ls=dashes, lw=2.5, label=name)
    handles += outlines.values()
    if handles:
        columns = min(5, len(handles))
        fig.legend(handles=handles, loc="outside lower center", ncols=columns, handlelength=3)
    hot = next((s for s in scenes if s.heat is not None), None)
    if hot is not None:
        fig.colorbar(colour_scale(hot), ax=fig.axes, label=hot.heat_label, shrink=0.85, pad=0.01)


def colour_scale(scene: Scene) -> ScalarMappable:
    """What a colour bar of the heat is made from."""
    return ScalarMappable(Normalize(0, scene.top), colormaps[UNCERTAINTY])


def proportions(scene: Scene) -> tuple[list[float], float]:
    """Widths in mm of the three planes, and the greatest height over the sum of widths."""
    extent = np.multiply(np.shape(scene.image), scene.spacing)
    widths = [float(extent[across]) for _, across, _, _ in PLANES.values()]
    highest = max(float(extent[up]) for _, _, up, _ in PLANES.values())
    return widths, highest / sum(widths)


def draw_planes(fig: Figure | SubFigure, scene: Scene) -> None:
    """The three planes of ``scene`` side by side, with their key, in an empty figure."""
    axes = fig.subplots(1, 3, width_ratios=proportions(scene)[0])
    for ax, (plane, (axis, *_)) in zip(axes, PLANES.items(), strict=True):
        title = f"{plane}, {'xyz'[axis]} = {scene.centre[axis]}"
        draw_plane(ax, scene, plane, title, crosshair=True)
    add_key(fig, [scene])


@styled
def planes_figure(scene: Scene, titled: bool) -> Figure:
    """The figure behind ``planes``, with room for a title if ``titled``."""
    width = 12.0 if scene.heat is None else 10.8
    height = width * proportions(scene)[1] + 0.8 + (0.4 if titled else 0.0)
    fig = Figure(figsize=(12.0, height), layout="constrained")
    draw_planes(fig, scene)
    return fig


def planes(
    image: np.ndarray, *, spacing: Spacing, alt: str, title: str | None = None, **layers: Any
) -> Picture:
    """Three planes through one voxel; ``layers`` are the keywords of ``Scene``."""
    return picture(planes_figure(Scene(image, spacing, **layers), bool(title)), alt, title)


def grid_of_axes(fig: FigureBase, n: int, columns: int) -> list[Axes]:
    """``n`` axes in rows of ``columns``, in an empty figure; the last row may have gaps."""
    axes = fig.subplots(-(-n // columns), columns, squeeze=False).ravel()
    for ax in axes[n:]:
        ax.axis("off")
    return list(axes[:n])


@styled
def grid(
    items: Mapping[str, Mapping[str, Any]], *, alt: str, plane: str = "coronal", columns: int = 4
) -> Picture:
    """The same plane of several scans or results side by side: {title: keywords of ``Scene``}.

    Raises ConfigError when there is nothing to show or no such plane.
    """
    if not items or plane not in PLANES:
        fix = f"give at least one scan and one of {', '.join(PLANES)}"
        raise ConfigError(f"a grid of {len(items)} scans in plane {plane!r}", fix=fix)
    scenes = {title: Scene(**item) for title, item in items.items()}
    columns = min(columns, len(scenes))
    rows = -(-len(scenes) // columns)
    _, across, up, _ = PLANES[plane]
    extents = [np.multiply(scene.image.shape, scene.spacing) for scene in scenes.values()]
    ratio = max(extent[up] / extent[across] for extent in extents)
    side = min(4.0, 12.0 / columns)
    fig = Figure(figsize=(side * columns, rows * (side * ratio + 0.45) + 0.5), layout="constrained")
    axes = grid_of_axes(fig, len(scenes), columns)
    for ax, (title, scene) in zip(axes, scenes.items(), strict=True):
        draw_plane(ax, scene, plane, title)
    add_key(fig, list(scenes.values()), [plane])
    return picture(fig, alt)
