"""Bones and matches in three dimensions, in mm, seen from the front: the patient's right is on the
viewer's left.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure, FigureBase

from ssltut.data.labels import LabelTable
from ssltut.errors import ConfigError
from ssltut.show.static.pictures import styled

# Matches that agree are thin, solid, round; the others thick, dashed, square. plotly spaces dashes
# by the size of the scene, up to
# none at all, so there the lines stay solid.
MATCHES = (
    {"color": "#0072B2", "width": 3, "ls": "-", "marker": "o", "symbol": "circle"},
    {"color": "#D55E00", "width": 7, "ls": (0, (4, 2)), "marker": "s", "symbol": "square"},
)


class Mesh(NamedTuple):
    """A triangulated surface: vertices (V, 3) in mm, faces (F, 3) indices of vertices, and how to
    draw and call it.
    """

    vertices: np.ndarray
    faces: np.ndarray
    colour: str = "#9A9A9A"
    name: str = "bone"


def surface(
    label: np.ndarray,
    class_id: int,
    *,
    spacing: Sequence[float] | None = None,
    affine: np.ndarray | None = None,
    table: LabelTable | None = None,
    max_faces: int = 5000,
) -> Mesh:
    """Surface of one class of ``label`` (X, Y, Z) by marching cubes (Lorensen and Cline 1987),
    closed also where the scan ends.

    spacing    mm; vertices are counted from the centre of voxel (0, 0, 0).  affine (4, 4): vertices
               in its world instead. Give one of them
    table      its colour and name for the class (default: a grey bone)
    max_faces  about how many faces to keep: the grid is coarsened by a whole step, which keeps
               figures small
    Raises ConfigError when the class is not there, or when not exactly one of spacing and affine is
    given.
    """
    from scipy.ndimage import find_objects, gaussian_filter
    from skimage.measure import marching_cubes

    if (spacing is None) == (affine is None):
        raise ConfigError(
            "a surface needs its geometry, once", fix="give either spacing= in mm or affine="
        )
    mask = np.asarray(label) == class_id
    if not mask.any():
        raise ConfigError(
            f"no voxel of the label has the value {class_id}",
            where="surface",
            fix=f"it has {np.unique(label).tolist()}",
        )
    box = find_objects(mask.astype(np.uint8))[0]
    crop = mask[box]
    crossed = sum(np.count_nonzero(np.diff(crop, axis=a)) for a in range(3))
    step = max(1, round(np.sqrt(2 * crossed / max_faces)))
    solid = gaussian_filter(
        np.pad(crop, 2 * step).astype(np.float32), step / 3
    )  # takes the stairs off, not the size
    vertices, faces, _, _ = marching_cubes(solid, 0.5, step_size=step, allow_degenerate=False)
    vertices += np.array([b.start for b in box]) - 2 * step
    turn, shift = (np.diag(spacing), 0.0) if affine is None else (affine[:3, :3], affine[:3, 3])
    look = (table.colours[class_id], table.names[class_id]) if table else ()
    return Mesh(vertices @ np.asarray(turn, float).T + shift, faces, *look)


def segments(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Lines from ``a`` (N, 3) to ``b`` (N, 3) as one path (3 N, 3) in which a row of NaN lifts the
    pen after each.
    """
    return np.stack([a, b, np.full_like(a, np.nan)], axis=1).reshape(-1, 3)


def shifts_apart(a: Sequence[Mesh], b: Sequence[Mesh]) -> tuple[np.ndarray, np.ndarray]:
    """Shifts (3,) in mm that centre both scans and put ``b`` on the viewer's right of ``a`` with a
    gap.
    """
    boxes = [
        (np.min([m.vertices.min(0) for m in s], 0), np.max([m.vertices.max(0) for m in s], 0))
        for s in (a, b)
    ]
    (middle_a, size_a), (middle_b, size_b) = (((low + high) / 2, high - low) for low, high in boxes)
    return -middle_a, -middle_b - [0.65 * (size_a[0] + size_b[0]), 0, 0]


class MatchScene(NamedTuple):
    """Two scans beside each other: meshes, the two paths of matches (name, (3 N, 3)), and captions
    (text, place).
    """

    meshes: list[Mesh]
    matches: list[tuple[str, np.ndarray]]
    captions: list[tuple[str, np.ndarray]]


def arrange_matches(
    sides: Sequence[Sequence[Mesh]],
    a: np.ndarray,
    b: np.ndarray,
    agree: np.ndarray,
    scans: tuple[str, str],
    names: tuple[str, str],
) -> MatchScene:
    """Both ``sides`` moved apart, and lines from ``a`` to ``b`` (N, 3) mm, each in the frame of its
    side, in two kinds: agreeing and not.
    """
    shifts = shifts_apart(*sides)
    meshes = [
        m._replace(vertices=m.vertices + shift)
        for side, shift in zip(sides, shifts, strict=False)
        for m in side
    ]
    matches = [
        (f"{name} ({keep.sum()})", segments(a[keep] + shifts[0], b[keep] + shifts[1]))
        for name, keep in zip(names, (agree, ~agree), strict=False)
    ]
    top = max(m.vertices[:, 2].max() for m in meshes)
    captions = [
        (
            text,
            np.array(
                [
                    np.mean([(m.vertices[:, 0].min() + m.vertices[:, 0].max()) / 2 for m in side])
                    + shift[0],
                    0,
                    top + 8,
                ]
            ),
        )
        for text, side, shift in zip(scans, sides, shifts, strict=False)
    ]
    return MatchScene(meshes, matches, captions)


@styled
def matches_figure(scene: MatchScene, title: str | None) -> Figure:
    """The still picture of a room."""
    fig = Figure(figsize=(12, 6.5))
    draw_matches(fig, scene, title)
    return fig


def draw_matches(fig: FigureBase, scene: MatchScene, title: str | None) -> None:
    """A room on a figure or a part of one."""
    ax = fig.add_axes((0, 0.07, 1, 0.83), projection="3d", computed_zorder=False)
    draw_meshes(ax, scene.meshes, pale=0.6)
    for (name, path), style in zip(scene.matches, MATCHES, strict=False):
        ax.plot(
            *path.T,
            color=style["color"],
            ls=style["ls"],
            lw=style["width"] / 2.4,
            marker=style["marker"],
            ms=6,
            mec="white",
            mew=0.5,
            alpha=0.9,
            label=name,
            zorder=3,
            clip_on=False,
        )
    for text, place in scene.captions:
        ax.text(*place, text, ha="center", va="bottom", fontsize=15, zorder=4)
    fig.legend(loc="lower center", ncols=2, handlelength=4)
    if title:
        fig.suptitle(title, fontsize=16)


def draw_meshes(ax: Axes, meshes: Sequence[Mesh], *, pale: float = 0.0) -> None:
    """Shaded meshes in true proportions, as large as ``ax`` allows, with a bar of 50 mm and the
    patient's sides.
    """
    from matplotlib.colors import LightSource
    from mpl_toolkits.mplot3d.art3d import Poly3DCollection

    faces = np.concatenate(
        [mesh.vertices[mesh.faces][:, ::-1] for mesh in meshes]
    )  # in one collection, so that the near ones hide the far ones
    colours = np.repeat(
        [(1 - pale) * np.array(to_rgb(m.colour)) + pale for m in meshes],
        [len(m.faces) for m in meshes],
        axis=0,
    )
    ax.add_collection3d(
        Poly3DCollection(
            faces,
            facecolors=colours,
            shade=True,
            lightsource=LightSource(azdeg=60, altdeg=40),
            linewidths=0,
            antialiased=False,
            zorder=1,
            clip_on=False,
        )
    )
    low, high = faces.min((0, 1)), faces.max((0, 1))
    low[2] -= 0.1 * (high[2] - low[2])
    size = high - low
    tilt, turn = np.radians((8, 10))
    across, up = (
        size[0] * np.cos(turn) + size[1] * np.sin(turn),
        size[2] * np.cos(tilt) + size[1] * np.sin(tilt),
    )
    ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), zlim=(low[2], high[2]))
    ax.set_proj_type("ortho")
    ax.set_box_aspect(
        tuple(size),
        zoom=0.88 * np.linalg.norm(size) * min(ax.bbox.width / ax.bbox.height / across, 1 / up),
    )
    ax.view_init(elev=8, azim=80)
    ax.set_axis_off()
    bar = {"color": "black", "lw": 4, "solid_capstyle": "butt", "clip_on": False, "zorder": 2}
    ax.plot([high[0], high[0] - 50], [high[1]] * 2, [low[2]] * 2, **bar)
    ax.text(high[0] - 54, high[1], low[2], "50 mm", va="center", fontsize=12, zorder=4)
    for letter, x in (("R", high[0] + 4), ("L", low[0] - 4)):
        ax.text(x, high[1], (low[2] + high[2]) / 2, letter, ha="center", weight="bold", zorder=4)
