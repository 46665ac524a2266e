"""Ellipses and ellipsoids fitted to masks, their repair and mirrors; voxels, D = 2 or 3 axes."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import ndimage

SURE = 0.6  # probability from which the repaired mask has a voxel


class Shape(NamedTuple):
    """All x with (x - centre)ᵀ matrix (x - centre) <= 1."""

    centre: np.ndarray  # (D,)
    matrix: np.ndarray  # (D, D), with the eigenvalues 1 / half axis²

    def squared(self, size: Sequence[int]) -> np.ndarray:
        """d² of every voxel of a grid of ``size``: below 1 inside, 1 on the surface."""
        x = np.moveaxis(np.indices(size, float), 0, -1) - self.centre
        return ((x @ self.matrix) * x).sum(-1)


class Mirror(NamedTuple):
    """A line (D = 2) or plane (D = 3) through ``point`` (D,) across the unit vector ``normal``."""

    point: np.ndarray
    normal: np.ndarray

    def partners(self, size: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Where the mirror image of every voxel lies (*size, D), and which voxels lie before it."""
        x = np.moveaxis(np.indices(size, float), 0, -1)
        height = (x - self.point) @ self.normal
        return x - 2.0 * height[..., None] * self.normal, height < 0


def surface_points(mask: np.ndarray) -> np.ndarray:
    """The middles (N, D) of all voxel faces between inside and outside, none at the border."""
    steps = 0.5 * np.eye(mask.ndim)
    faces = [np.argwhere(np.diff(mask, axis=axis)) + steps[axis] for axis in range(mask.ndim)]
    return np.concatenate(faces)


def fit_shape(points: np.ndarray, sphere: bool = False) -> Shape | None:
    """The least-squares ellipse, ellipsoid, circle or sphere through ``points`` (N, D), or None."""
    scale = points.std() if len(points) else 0.0
    if not scale > 0.0:
        return None
    middle = points.mean(0)
    q = (points - middle) / scale
    solved = fit_sphere(q) if sphere else fit_ellipsoid(q)
    if solved is None:
        return None
    centre, matrix = solved
    sound = np.isfinite(matrix).all() and np.linalg.eigvalsh(matrix)[0] > 0.0
    return Shape(middle + scale * centre, matrix / scale**2) if sound else None


def fit_sphere(q: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Centre and matrix of |x|² = 2 centreᵀx + constant through q (N, D)."""
    d = q.shape[1]
    solution = solve(np.column_stack([2.0 * q, np.ones(len(q))]), (q**2).sum(1))
    if solution is None:
        return None
    centre = solution[:d]
    return centre, np.eye(d) / (solution[d] + centre @ centre)


def fit_ellipsoid(q: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Centre and matrix of xᵀMx + bᵀx = 1 through q (N, D)."""
    d = q.shape[1]
    rows, columns = np.triu_indices(d)
    solution = solve(np.column_stack([q[:, rows] * q[:, columns], q]), np.ones(len(q)))
    if solution is None:
        return None
    matrix = np.zeros((d, d))
    matrix[rows, columns] = solution[:-d]
    matrix = (matrix + matrix.T) / 2.0
    if abs(np.linalg.det(matrix)) < 1e-9:
        return None
    centre = -0.5 * np.linalg.solve(matrix, solution[-d:])
    squared = 1.0 + centre @ matrix @ centre
    return (centre, matrix / squared) if squared else None  # 0: two crossing lines


def solve(unknowns: np.ndarray, values: np.ndarray) -> np.ndarray | None:
    """The least-squares solution, None where the points leave it open."""
    solution, _, rank, _ = np.linalg.lstsq(unknowns, values, rcond=None)
    return solution if rank == unknowns.shape[1] else None


def find_shape(mask: np.ndarray, sphere: bool, reach: float, overlap: float) -> Shape | None:
    """The shape of ``mask``; None where it has none, or one that overlaps it too little.

    reach    0: of the whole mask. Above 0: of its thickest end, as the head of a femur: fitted to
             the surface within ``reach`` radii of the largest ball inside, and judged within
             ``reach`` times its own axes
    overlap  the least intersection over union
    """
    points = surface_points(mask)
    if reach and len(points):
        depth = ndimage.distance_transform_edt(mask)
        deepest = np.unravel_index(depth.argmax(), depth.shape)
        points = points[np.linalg.norm(points - deepest, axis=1) <= reach * depth.max()]
    shape = fit_shape(points, sphere)
    if shape is None:
        return None
    squared = shape.squared(mask.shape)
    inside = squared <= 1.0
    judged = squared <= reach**2 if reach else np.ones_like(mask)
    intersection = (inside & mask & judged).sum()
    union = ((inside | mask) & judged).sum()
    return shape if intersection >= overlap * max(union, 1) else None


def repair_mask(p: np.ndarray, squared: np.ndarray, reach: float) -> np.ndarray:
    """The mask of max(p, clip(0.6 + (1 - d²)², 0, 1)) inside and p exp(-(d² - 1) / 2) outside.

    Beyond ``reach`` (where that is not 0) p stays as it is.
    """
    inside = np.maximum(p, np.clip(SURE + (1.0 - squared) ** 2, 0.0, 1.0))
    outside = p * np.exp(-0.5 * np.maximum(squared - 1.0, 0.0))
    repaired = np.where(squared <= 1.0, inside, outside)
    if reach:
        repaired = np.where(squared <= reach**2, repaired, p)
    return repaired >= SURE


def repair(p: np.ndarray, shapes: Sequence[Shape], reach: float) -> tuple[np.ndarray, ...] | None:
    """Probabilities ``p`` of a slice or patch, repaired by their shapes; None without a mirror.

    Gives the mask, the mask with its mirror image and the half before the mirror, all (*size) bool,
    and where the mirror image of each voxel lies (*size, D).
    """
    mirror = mirror_through(shapes) if shapes else None
    if mirror is None:
        return None
    mask = repair_mask(p, np.min([shape.squared(p.shape) for shape in shapes], 0), reach)
    partner, left = mirror.partners(p.shape)
    there = np.moveaxis(partner, -1, 0)
    last = np.reshape(p.shape, (-1,) + (1,) * p.ndim) - 0.5
    in_patch = ((there >= -0.5) & (there <= last)).all(0)
    image = ndimage.map_coordinates(mask.astype(np.uint8), there, order=0, mode="nearest") > 0
    return mask, (mask | image) & in_patch, left, partner


def pieces(mask: np.ndarray, n: int) -> list[np.ndarray]:
    """The ``n`` largest connected pieces of ``mask``, largest first, or all of fewer."""
    number, _ = ndimage.label(mask, np.ones((3,) * mask.ndim))
    sizes = np.bincount(number.flat)[1:]
    return [number == i + 1 for i in np.argsort(-sizes, kind="stable")[:n]]


def mirror_through(shapes: Sequence[Shape]) -> Mirror | None:
    """Of one shape: the mirror through its centre, across its shortest axis.

    Of two (left and right): the plane halfway between their centres, None where it is more than 30
    degrees off the first axis (patient left-right).
    """
    if len(shapes) == 1:
        return Mirror(shapes[0].centre, np.linalg.eigh(shapes[0].matrix)[1][:, -1])
    a, b = (shape.centre for shape in shapes)
    normal = (b - a) / max(float(np.linalg.norm(b - a)), 1e-9)
    if abs(normal[0]) < np.cos(np.pi / 6):
        return None
    return Mirror((a + b) / 2.0, normal * np.sign(normal[0]))


def regularity(p: np.ndarray) -> float | None:
    """½ mean |gradient of p| + ½ mean |Laplacian of the distance to where p > 0.5|, in voxels.

    Low for round masks with a clear edge; None where nothing or everything is above 0.5. Sobel's
    sums are divided by their weights (8 on slices, 32 in 3D), so that a gradient is one a voxel.
    """
    inside = p > 0.5
    if not inside.any() or inside.all():
        return None
    slope = np.sqrt(sum(ndimage.sobel(p, axis) ** 2 for axis in range(p.ndim)))
    slope /= 2 * 4 ** (p.ndim - 1)
    bend = np.abs(ndimage.laplace(ndimage.distance_transform_edt(~inside)))
    return float(slope.mean() + bend.mean()) / 2.0
