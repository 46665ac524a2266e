"""Scans in three planes, in mm, with labels, uncertainty and outlines.

Arrays are RAS+ (X, Y, Z). Planes follow the radiological convention: the patient's right is on the
viewer's left.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from matplotlib import colormaps, patheffects
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, to_rgba
from matplotlib.figure import Figure, FigureBase
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ssltut.data.labels import LabelTable
from ssltut.errors import ConfigError
from ssltut.show.static.pictures import DASHES, UNCERTAINTY, Picture, picture, styled

# plane: (axis that is cut, axis shown from left to right, axis shown from bottom to top, letters
# left, right, top, bottom)
PLANES = {"axial": (2, 0, 1, "RLAP"), "coronal": (1, 0, 2, "RLSI"), "sagittal": (0, 1, 2, "APSI")}
WINDOWS = {
    "bone": (400.0, 1800.0),
    "soft": (50.0, 400.0),
    "whole": None,
    "percentile": None,
}  # (centre, width) in HU; None: from the image
HALO = [patheffects.withStroke(linewidth=3, foreground="black")]


@dataclass(frozen=True, eq=False)  # arrays have no one truth of ==
class Scene:
    """What a slice shows; ``planes``, ``grid`` and ``slices`` take these as keywords.

    image     (X, Y, Z) HU or MR values;  spacing in mm
    overlay   (X, Y, Z) label values, filled;  contours {name: (X, Y, Z) label values}, drawn as
              outlines, one line style a name (default: the overlay's own outlines; {}: none)
    table     names and colours of the label values
    heat      (X, Y, Z) float >= 0, for example an entropy; heat_max is the value at the top of its
              scale (default: the largest)
    at        the voxel to cut at (default: the middle of the overlay, else of the first contour,
              else of the image)
    window    "bone", "soft", (centre, width) in HU, "whole" from the least to the greatest value,
              or "percentile" or None for the 1st to the 99th percentile, as MR needs it
    letters   name the patient's sides; False where nobody knows how the axes point
    Raises ConfigError when an array has another shape than the image, or labels come without a
    table that names them.
    """

    image: np.ndarray
    spacing: tuple[float, float, float]
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
        layers = {"overlay": self.overlay, "heat": self.heat} | dict(self.contours or {})
        for name, layer in layers.items():
            if layer is not None and np.shape(layer) != np.shape(self.image):
                raise ConfigError(
                    f"{name} has shape {np.shape(layer)} but the image has {np.shape(self.image)}",
                    fix="put both on one grid",
                )
        for labels in self.labels:
            if self.table is None or labels.max(initial=0) >= self.table.n_classes:
                raise ConfigError(
                    f"the labels reach {labels.max(initial=0)} but no table names that value",
                    fix="give table=, with a name for each",
                )
        if isinstance(self.window, str) and self.window not in WINDOWS:
            raise ConfigError(
                f"there is no window {self.window!r}",
                fix=f"use one of {', '.join(WINDOWS)}, (centre, width) or None",
            )

    @property
    def labels(self) -> list[np.ndarray]:
        """The overlay and the contours that are there."""
        return [x for x in (self.overlay, *(self.contours or {}).values()) if x is not None]

    @property
    def filling(self) -> float:
        """How opaque the overlay is in a still picture: more where it has no outline."""
        return 0.45 if self.contours is None else 0.8

    @cached_property
    def limits(self) -> tuple[float, float]:
        """The values shown black and white."""
        return limits_of(self.image, self.window)

    @cached_property
    def centre(self) -> tuple[int, int, int]:
        """The voxel to cut at."""
        shape = np.shape(self.image)
        if self.at is not None:
            return tuple(int(np.clip(v, 0, n - 1)) for v, n in zip(self.at, shape, strict=False))
        inside = np.asarray(self.labels[0]) > 0 if self.labels else np.zeros(shape, bool)
        counts = [
            inside.sum(tuple({0, 1, 2} - {a})) for a in range(3)
        ]  # of a whole scan, far quicker than a list of its voxels
        return tuple(
            round(float(c @ np.arange(len(c))) / c.sum()) if c.any() else round(len(c) / 2)
            for c in counts
        )

    @cached_property
    def top(self) -> float:
        """The heat at the top of its scale."""
        return self.heat_max or max(float(self.heat.max()), 1e-6)


def limits_of(image: np.ndarray, window: str | tuple[float, float] | None) -> tuple[float, float]:
    """The values shown black and white under ``window``, as in ``Scene``."""
    known = WINDOWS[window or "percentile"] if window is None or isinstance(window, str) else window
    if known is not None:
        return known[0] - known[1] / 2, known[0] + known[1] / 2
    low, high = (
        np.percentile(np.asarray(image)[::2, ::2, ::2], (1, 99))
        if window != "whole"
        else (np.min(image), np.max(image))
    )
    return float(low), float(high)


def bar_length(width: float) -> int:
    """Length in mm of the scale bar of a picture ``width`` mm wide: a round number, at most a third
    of it.
    """
    return next(v for v in (100, 50, 20, 10, 5, 2, 1) if v <= width / 3 or v == 1)


def cut(volume: np.ndarray, plane: str, index: int) -> np.ndarray:
    """One slice (rows, columns) of a RAS+ volume as it is looked at: right and anterior on the
    left, superior and anterior at the top.
    """
    return np.take(volume, index, PLANES[plane][0]).T[::-1, ::-1]


def draw_plane(
    ax: Axes, scene: Scene, plane: str, *, crosshair: bool = True, bar: bool = True
) -> None:
    """One plane of ``scene`` on ``ax``, whose units are mm from the lower left corner."""
    axis, across, up, letters = PLANES[plane]
    at, shape, spacing = scene.centre, scene.image.shape, scene.spacing
    width, height = shape[across] * spacing[across], shape[up] * spacing[up]
    place = {"extent": (0, width, 0, height), "origin": "upper", "interpolation": "nearest"}
    low, high = scene.limits
    ax.imshow(cut(scene.image, plane, at[axis]), cmap="gray", vmin=low, vmax=high, **place)
    if scene.overlay is not None:
        colours = np.array(
            [(0, 0, 0, 0), *(to_rgba(c, scene.filling) for c in scene.table.colours[1:])]
        )
        ax.imshow(colours[cut(scene.overlay, plane, at[axis])], **place)
    if scene.heat is not None:
        share = np.clip(cut(scene.heat, plane, at[axis]) / scene.top, 0, 1)
        ax.imshow(
            share, cmap=UNCERTAINTY, vmin=0, vmax=1, alpha=np.clip(4 * share, 0, 0.85), **place
        )
    outlines = (
        {"": scene.overlay}
        if scene.contours is None and scene.overlay is not None
        else scene.contours or {}
    )
    for k, labels in enumerate(outlines.values()):
        flat = cut(labels, plane, at[axis])
        for c in [c for c in np.unique(flat) if c > 0 and (flat != c).any()]:
            style = DASHES[k if scene.contours else (c - 1) % len(DASHES)]
            edge = ax.contour(
                flat == c,
                [0.5],
                extent=place["extent"],
                origin="upper",
                colors=[scene.table.colours[c]],
                linestyles=[style],
                linewidths=2.4,
            )
            edge.set_path_effects(
                [patheffects.withStroke(linewidth=4, foreground="black")]
                if scene.heat is not None
                else []
            )
    if crosshair:
        x, y = (shape[across] - at[across] - 0.5) * spacing[across], (at[up] + 0.5) * spacing[up]
        ax.axvline(x, color="white", lw=0.8, alpha=0.7)
        ax.axhline(y, color="white", lw=0.8, alpha=0.7)
    decorate(ax, letters if scene.letters else "", width, height, bar)


def decorate(ax: Axes, letters: str, width: float, height: float, bar: bool) -> None:
    """Orientation letters and a scale bar in mm."""
    ax.set(xlim=(0, width), ylim=(0, height), aspect="equal")
    ax.axis("off")
    for letter, x, y in zip(letters, (0.04, 0.96, 0.5, 0.5), (0.5, 0.5, 0.95, 0.05), strict=False):
        ax.text(
            x,
            y,
            letter,
            transform=ax.transAxes,
            color="white",
            weight="bold",
            ha="center",
            va="center",
            path_effects=HALO,
        )
    if bar:
        length = bar_length(width)
        ax.plot(
            [0.05 * width, 0.05 * width + length],
            [0.05 * height] * 2,
            color="white",
            lw=4,
            path_effects=HALO,
            solid_capstyle="butt",
        )
        ax.text(
            0.05 * width,
            0.07 * height,
            f"{length} mm",
            color="white",
            fontsize=12,
            va="bottom",
            path_effects=HALO,
        )


def add_key(fig: FigureBase, scenes: Sequence[Scene], axes: Sequence[Axes]) -> None:
    """Legend of the classes and outlines, and the colour bar of the heat."""
    tables = list(dict.fromkeys(s.table for s in scenes if s.table is not None))
    seen = {
        (table, int(c))
        for table in tables
        for s in scenes
        if s.table == table
        for labels in s.labels
        for c in np.flatnonzero(np.bincount(np.ravel(labels)))
        if c > 0
    }
    contours = next((s.contours for s in scenes if s.contours), {})
    solid = contours or any(s.contours is not None for s in scenes)
    filling = max((s.filling for s in scenes if s.overlay is not None), default=0.0)
    handles = [
        Patch(
            facecolor=to_rgba(table.colours[c], filling),
            edgecolor=table.colours[c],
            lw=2.5,
            ls="-" if solid else DASHES[(c - 1) % len(DASHES)],
            label=table.names[c],
        )
        for table, c in sorted(seen, key=lambda entry: (tables.index(entry[0]), entry[1]))
    ]
    handles += [
        Line2D([], [], color="black", ls=DASHES[k], lw=2.5, label=name)
        for k, name in enumerate(contours)
    ]
    if handles:
        fig.legend(
            handles=handles, loc="outside lower center", ncols=min(5, len(handles)), handlelength=3
        )
    hot = next((s for s in scenes if s.heat is not None), None)
    if hot is not None:
        fig.colorbar(colour_scale(hot), ax=list(axes), label=hot.heat_label, shrink=0.85, pad=0.01)


def colour_scale(scene: Scene) -> object:
    from matplotlib.cm import ScalarMappable

    return ScalarMappable(Normalize(0, scene.top), colormaps[UNCERTAINTY])


def proportions(scene: Scene) -> tuple[list[float], float]:
    """Widths in mm of the three planes side by side, and the height of the highest over the width
    of all.
    """
    extent = np.multiply(np.shape(scene.image), scene.spacing)
    widths, heights = zip(
        *((extent[across], extent[up]) for _, across, up, _ in PLANES.values()), strict=False
    )
    return list(widths), max(heights) / sum(widths)


def draw_planes(fig: FigureBase, scene: Scene) -> None:
    """The three planes of ``scene`` side by side, with their key, in an empty figure."""
    axes = fig.subplots(1, 3, width_ratios=proportions(scene)[0])
    for ax, plane in zip(axes, PLANES, strict=False):
        axis = PLANES[plane][0]
        draw_plane(ax, scene, plane)
        ax.set_title(f"{plane}, {'xyz'[axis]} = {scene.centre[axis]}")
    add_key(fig, [scene], axes)


@styled
def planes_figure(scene: Scene, title: str | None = None) -> Figure:
    """The figure behind ``planes``."""
    wide = 12.0 - (1.2 if scene.heat is not None else 0.0)
    fig = Figure(
        figsize=(12.0, wide * proportions(scene)[1] + 0.8 + 0.4 * bool(title)), layout="constrained"
    )
    draw_planes(fig, scene)
    if title:
        fig.suptitle(title, fontsize=16)
    return fig


def planes(
    image: np.ndarray,
    *,
    spacing: tuple[float, float, float],
    alt: str,
    title: str | None = None,
    **layers: object,
) -> Picture:
    """Axial, coronal and sagittal cut through one voxel; ``layers`` are the keywords of
    ``Scene``.
    """
    return picture(planes_figure(Scene(image, spacing, **layers), title), alt)


@styled
def grid_figure(items: Sequence[tuple[str, Scene]], plane: str, columns: int) -> Figure:
    """The figure behind ``grid``."""
    columns = min(columns, len(items))
    rows = -(-len(items) // columns)
    _, across, up, _ = PLANES[plane]
    extents = [np.multiply(scene.image.shape, scene.spacing) for _, scene in items]
    ratio = max(e[up] / e[across] for e in extents)
    side = min(4.0, 12.0 / columns)
    fig = Figure(figsize=(side * columns, rows * (side * ratio + 0.45) + 0.5), layout="constrained")
    axes = fig.subplots(rows, columns, squeeze=False).ravel()
    for ax in axes[len(items) :]:
        ax.axis("off")
    for ax, (title, scene) in zip(axes, items, strict=False):
        draw_plane(ax, scene, plane, crosshair=False)
        ax.set_title(title)
    add_key(fig, [scene for _, scene in items], axes)
    return fig


def grid(
    items: Mapping[str, Mapping[str, object]], *, alt: str, plane: str = "coronal", columns: int = 4
) -> Picture:
    """The same plane of several scans or results side by side: {title: keywords of ``Scene``}.

    Raises ConfigError when there is nothing to show or no such plane.
    """
    if not items or plane not in PLANES:
        raise ConfigError(
            f"a grid of {len(items)} scans in plane {plane!r}",
            fix=f"give at least one scan and one of {', '.join(PLANES)}",
        )
    return picture(
        grid_figure([(title, Scene(**item)) for title, item in items.items()], plane, columns), alt
    )
