"""Surfaces, matches and volumes in mm, seen from the front: the patient's right on the left."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from matplotlib.colors import LightSource, to_rgb
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d.art3d import Poly3DCollection
from mpl_toolkits.mplot3d.axes3d import Axes3D

from ssltut.data.labels import LabelTable
from ssltut.errors import ConfigError
from ssltut.show.static.pictures import SERIES, styled
from ssltut.show.static.slices import Spacing, decorate

# Matches that agree are thin, solid, round; the others thick, dashed, square. plotly (``symbol``)
# spaces dashes by the size of the scene, up to none at all, so there the lines stay solid.
AGREES = {"color": "#0072B2", "width": 3, "ls": "-", "marker": "o", "symbol": "circle"}
DIFFERS = {"color": "#D55E00", "width": 7, "ls": (0, (4, 2)), "marker": "s", "symbol": "square"}
POINT: dict[str, Any] = {"ls": "", "marker": "o", "ms": 6, "color": "#F0E442", "mec": "black"}
MATCHES: tuple[dict[str, Any], ...] = (AGREES, DIFFERS)

Array = np.ndarray
Pair = tuple[str, str]
Box = tuple[float, float, float, float]
WHOLE = (0, 0.07, 1, 0.83)


class Mesh(NamedTuple):
    """A triangulated surface: vertices (V, 3) in mm, faces (F, 3) indices of vertices."""

    vertices: np.ndarray
    faces: np.ndarray
    colour: str = "#9A9A9A"
    name: str = "bone"


class MatchScene(NamedTuple):
    """Two scans beside each other, or one alone.

    matches   of the two kinds: (name, path (3 N, 3): start, end and a row of NaN for each line)
    """

    meshes: list[Mesh]
    matches: list[tuple[str, np.ndarray]]
    captions: Sequence[tuple[str, np.ndarray]]  # texts and their positions (3,)


class AnsweredSurface(NamedTuple):
    """A surface, and what a network answers just beneath it.

    vertices (V, 3) mm;  voxels (V, 3) beneath;  said (V,) their answers;  drawn  a mesh for each
    """

    vertices: np.ndarray
    voxels: np.ndarray
    said: np.ndarray
    drawn: MatchScene


def surface(
    label: np.ndarray,
    class_id: int,
    *,
    spacing: Sequence[float] | None = None,
    affine: np.ndarray | None = None,
    table: LabelTable | None = None,
    max_faces: int = 5000,
) -> Mesh:
    """Surface of one class of ``label`` (X, Y, Z), closed also where the scan ends.

    By marching cubes (Lorensen and Cline 1987), on a grid coarse enough for about ``max_faces``.

    spacing    mm; vertices are counted from the centre of voxel (0, 0, 0)
    affine     (4, 4): vertices in its world instead
    table      its colour and name for the class (default: a grey bone)
    Raises ConfigError when the class is not there, or unless one of spacing and affine is given.
    """
    from scipy.ndimage import find_objects, gaussian_filter
    from skimage.measure import marching_cubes

    if (affine is None) == (spacing is None):
        fix = "give spacing= in mm or affine="
        raise ConfigError("a surface needs spacing or affine, not both", fix=fix)
    mask = np.asarray(label) == class_id
    if not mask.any():
        problem = f"no voxel of the label has the value {class_id}"
        raise ConfigError(problem, where="surface", fix=f"it has {np.unique(label).tolist()}")
    box = find_objects(mask.astype(np.uint8))[0]
    crop = mask[box]
    crossed = sum(np.count_nonzero(np.diff(crop, axis=a)) for a in range(3))
    step = max(1, round(np.sqrt(2 * crossed / max_faces)))
    padded = np.pad(crop, 2 * step).astype(np.float32)
    smooth = gaussian_filter(padded, step / 3)  # takes the stairs off, not the size
    vertices, faces, _, _ = marching_cubes(smooth, 0.5, step_size=step, allow_degenerate=False)
    vertices += np.array([b.start for b in box]) - 2 * step
    world = np.diag([*spacing, 1.0]) if spacing is not None else np.asarray(affine, float)
    mesh = Mesh(vertices @ world[:3, :3].T + world[:3, 3], faces)
    if table is None:
        return mesh
    return mesh._replace(colour=table.colours[class_id], name=table.names[class_id])


def surfaces(
    label: np.ndarray, spacing: Sequence[float], table: LabelTable, max_faces: int = 5000
) -> list[Mesh]:
    """The ``surface`` of each class but the background."""
    shared: dict[str, Any] = {"spacing": spacing, "table": table, "max_faces": max_faces}
    return [surface(label, int(c), **shared) for c in np.unique(label) if c > 0]


def answered_surface(
    label: np.ndarray, answer: np.ndarray, class_id: int, spacing: Spacing, table: LabelTable
) -> AnsweredSurface:
    """The ``surface`` of a class of ``label`` in the colours of ``answer``, both (X, Y, Z)."""
    from scipy.ndimage import binary_erosion, distance_transform_edt

    mesh = surface(label, class_id, spacing=spacing)
    mask = np.asarray(label) == class_id
    inside = binary_erosion(mask)  # the outermost voxels are unsure everywhere
    inside = inside if inside.any() else mask
    nearest = distance_transform_edt(~inside, spacing, False, return_indices=True)
    at = np.rint(mesh.vertices / spacing).astype(int).clip(0, np.array(mask.shape) - 1)
    voxels = nearest[(slice(None), *at.T)].T
    said = np.asarray(answer)[tuple(voxels.T)].astype(int)
    of_faces = np.median(said[mesh.faces], axis=1)
    meshes, captions = [], []
    for c in np.unique(of_faces).astype(int):
        colour = table.colours[c] if c else "#777777"  # black would hide the shape
        seen = np.mean(of_faces == c) > 0.02  # the key names no answer that nobody finds
        name = f"answer: {table.names[c]}" if seen else ""
        meshes.append(Mesh(mesh.vertices, mesh.faces[of_faces == c], colour, name))
        if seen and c != class_id:
            captions.append((f"“{table.names[c]}”", beside_patch(mesh.vertices, said == c)))
    return AnsweredSurface(mesh.vertices, voxels, said, MatchScene(meshes, [], captions))


def beside_patch(vertices: np.ndarray, patch: np.ndarray) -> np.ndarray:
    """A place (3,) for the name of ``patch`` (V,) bool: at its height, beside the bone."""
    place = vertices[patch].mean(0)
    away = np.abs(vertices[:, 2] - place[2])
    x = vertices[away <= np.quantile(away, 0.2), 0]
    right = place[0] > (x.min() + x.max()) / 2
    room = 0.3 * np.ptp(vertices[:, 0])
    place[0] = x.max() + room if right else x.min() - room
    return place


def bounding_box(meshes: Sequence[Mesh]) -> tuple[np.ndarray, np.ndarray]:
    """Least and greatest corner (3,) of all meshes together."""
    vertices = np.concatenate([mesh.vertices for mesh in meshes])
    return vertices.min(0), vertices.max(0)


def arrange_matches(
    sides: Sequence[Sequence[Mesh]], a: Array, b: Array, agree: Array, scans: Pair, names: Pair
) -> MatchScene:
    """Both ``sides`` beside each other, and the lines between them.

    a, b   (N, 3) mm, each in the frame of its side
    agree  (N,) bool: which of the two kinds a line is
    """
    (low_a, high_a), (low_b, high_b) = (bounding_box(side) for side in sides)
    gap = 0.65 * (high_a[0] - low_a[0] + high_b[0] - low_b[0])
    shifts = (-(low_a + high_a) / 2, -(low_b + high_b) / 2 - np.array([gap, 0, 0]))
    meshes, matches = [], []
    for side, shift in zip(sides, shifts, strict=True):
        meshes += [mesh._replace(vertices=mesh.vertices + shift) for mesh in side]
    for name, keep in zip(names, (agree, ~agree), strict=True):
        start, end = a[keep] + shifts[0], b[keep] + shifts[1]
        path = np.stack([start, end, np.full_like(start, np.nan)], axis=1)
        matches.append((f"{name} ({keep.sum()})", path.reshape(-1, 3)))
    top = bounding_box(meshes)[1][2] + 8
    captions = [(scans[0], np.array([0, 0, top])), (scans[1], np.array([-gap, 0, top]))]
    return MatchScene(meshes, matches, captions)


@styled
def matches_figure(scene: MatchScene) -> Figure:
    """The still picture of a ``MatchScene``."""
    fig = Figure(figsize=(12, 6.5))
    draw_matches(fig, scene)
    return fig


def draw_matches(fig: Figure, scene: MatchScene, box: Box = WHOLE, ncols: int = 2) -> None:
    """Two scans and their matches, or one scan, in a ``box`` of a figure."""
    ax: Any = fig.add_axes(box, projection="3d", computed_zorder=False)
    draw_meshes(ax, scene.meshes, pale=0.6 if scene.matches else 0, named=not scene.matches)
    for (name, path), style in zip(scene.matches, MATCHES, strict=False):
        if len(path):  # the key names no line that is not there
            look = {key: style[key] for key in ("color", "ls", "marker")}
            edge = {"ms": 6, "mec": "white", "mew": 0.5, "alpha": 0.9, "zorder": 3}
            look |= edge | {"lw": style["width"] / 2.4, "clip_on": False}
            ax.plot(*path.T, label=name, **look)
    for text, position in scene.captions:
        ax.text(*position, text, ha="center", va="bottom", fontsize=15, zorder=4)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, 0.03), ncols=ncols, handlelength=4)


def draw_meshes(ax: Any, meshes: Sequence[Mesh], *, pale: float = 0, named: bool = False) -> None:
    """Shaded meshes with a bar of 50 mm, the patient's sides, and entries of a key if ``named``."""
    for mesh in (mesh for mesh in meshes if named and mesh.name):
        ax.plot([], [], [], ls="", marker="s", ms=12, mec="black", c=mesh.colour, label=mesh.name)
    # all in one collection, so that the near ones hide the far ones
    faces = np.concatenate([mesh.vertices[mesh.faces][:, ::-1] for mesh in meshes])
    colours = [(1 - pale) * np.array(to_rgb(mesh.colour)) + pale for mesh in meshes]
    of_faces = np.repeat(colours, [len(mesh.faces) for mesh in meshes], axis=0)
    light = {"shade": True, "lightsource": LightSource(azdeg=60, altdeg=40)}
    look = {"linewidths": 0, "antialiased": False, "zorder": 1, "clip_on": False}
    ax.add_collection3d(Poly3DCollection(faces, facecolors=of_faces, **light, **look))
    low, high = faces.min((0, 1)), faces.max((0, 1))
    low[2] -= 0.1 * (high[2] - low[2])
    fit_view(ax, low, high)
    bar = {"color": "black", "lw": 4, "solid_capstyle": "butt", "clip_on": False, "zorder": 2}
    ax.plot([high[0], high[0] - 50], [high[1]] * 2, [low[2]] * 2, **bar)
    ax.text(high[0] - 54, high[1], low[2], "50 mm", va="center", fontsize=12, zorder=4)
    middle = (low[2] + high[2]) / 2
    # the corners of the box that are seen farthest out, as the view is turned
    for letter, x, y in (("R", high[0] + 4, low[1]), ("L", low[0] - 4, high[1])):
        ax.text(x, y, middle, letter, ha="center", weight="bold", zorder=4)


def fit_view(ax: Axes3D, low: np.ndarray, high: np.ndarray) -> None:
    """Look at a box from the front and a little from above, as large as ``ax`` allows."""
    size = high - low
    elevation, rotation = 8, 10  # degrees
    width = size[:2] @ [np.cos(np.radians(rotation)), np.sin(np.radians(rotation))]
    height = size[2:0:-1] @ [np.cos(np.radians(elevation)), np.sin(np.radians(elevation))]
    ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), zlim=(low[2], high[2]))
    ax.set_proj_type("ortho")
    aspect = ax.bbox.width / ax.bbox.height
    zoom = 0.88 * np.linalg.norm(size) * min(aspect / width, 1 / height)
    ax.set_box_aspect(tuple(size), zoom=zoom)
    ax.view_init(elev=elevation, azim=90 - rotation)
    ax.set_axis_off()


@dataclass(frozen=True)
class VolumeScene:
    """What a viewer is given; ``points`` (N, 3) are mm from the centre of voxel (0, 0, 0).

    shows   what the largest value of the image along a line of sight is
    """

    image: np.ndarray
    spacing: Sequence[float]
    label: np.ndarray | None = None
    points: np.ndarray | None = None
    table: LabelTable | None = None
    shows: str = "brightest value"

    @property
    def meshes(self) -> list[Mesh]:
        """The surface of each class."""
        if self.label is None:
            return []
        classes = range(int(self.label.max()) + 1)
        colours = tuple(SERIES[(c - 1) % len(SERIES)] for c in classes)
        table = self.table or LabelTable("", tuple(f"class {c}" for c in classes), colours)
        return surfaces(self.label, self.spacing, table)


@styled
def volume_figure(scene: VolumeScene) -> Figure:
    """The still picture of ``show.volume``."""
    image, spacing, points, meshes = scene.image, scene.spacing, scene.points, scene.meshes
    width, height = image.shape[0] * spacing[0], image.shape[2] * spacing[2]
    share = 0.5 if meshes else 1.0
    fig = Figure(figsize=(6 / share, 6))
    ax = fig.add_axes((0.02, 0.02, share - 0.04, 0.84))
    bright = image.max(1).T[::-1, ::-1]
    low, high = np.percentile(bright, (20, 99.8))
    extent = (0, width, 0, height)
    ax.imshow(bright, cmap="gray", vmin=low, vmax=high, extent=extent, interpolation="bilinear")
    decorate(ax, "RLSI", width, height)
    ax.set_title(f"{scene.shows} from front to back")
    if points is not None:
        ax.plot(width - points[:, 0] - spacing[0] / 2, points[:, 2] + spacing[2] / 2, **POINT)
    if meshes:
        right: Any = fig.add_axes((0.5, 0.08, 0.5, 0.82), projection="3d", computed_zorder=False)
        draw_meshes(right, meshes, named=True)
        if points is not None:
            right.plot(*points.T, **POINT, zorder=3, label="points", clip_on=False)
        fig.legend(loc="lower right", ncols=5)
    return fig
