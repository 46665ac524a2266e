"""Ellipses, spheres and ellipsoids fitted to masks, masks repaired by them, and mirrors through
them; in voxels, D = 2 or 3 axes.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import ndimage

SURE = 0.6  # probability from which the repaired mask has a voxel


class Shape(NamedTuple):
    """All x with (x - centre)ᵀ matrix (x - centre) <= 1; centre (D,), matrix (D, D), whose
    eigenvalues are 1 / half axis².
    """

    centre: np.ndarray
    matrix: np.ndarray

    def squared(self, size: Sequence[int]) -> np.ndarray:
        """d² of every voxel of a grid of ``size``: below 1 inside, 1 on the surface."""
        x = np.moveaxis(np.indices(size, float), 0, -1) - self.centre
        return ((x @ self.matrix) * x).sum(-1)

    def half_axes(self) -> np.ndarray:
        """Half the length of each axis, longest first, (D,)."""
        return np.linalg.eigvalsh(self.matrix) ** -0.5


class Mirror(NamedTuple):
    """A line (D = 2) or plane (D = 3) through ``point`` across the unit vector ``normal``, both
    (D,).
    """

    point: np.ndarray
    normal: np.ndarray

    def partners(self, size: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Where the mirror image of every voxel lies (*size, D), and on which side of the mirror
        the voxel is: True below ``normal``.
        """
        x = np.moveaxis(np.indices(size, float), 0, -1)
        height = (x - self.point) @ self.normal
        return x - 2.0 * height[..., None] * self.normal, height < 0


def surface_points(mask: np.ndarray) -> np.ndarray:
    """The middles of all voxel faces between inside and outside, (N, D). The array's border is
    none: what it cuts is still fitted.
    """
    steps = 0.5 * np.eye(mask.ndim)
    return np.concatenate(
        [np.argwhere(np.diff(mask, axis=axis)) + steps[axis] for axis in range(mask.ndim)]
    )


def fit_shape(points: np.ndarray, sphere: bool = False) -> Shape | None:
    """The least-squares ellipse or ellipsoid xᵀMx + bᵀx = 1 (or circle, sphere) through ``points``
    (N, D); None where there is none.
    """
    d = points.shape[1]
    middle, scale = points.mean(0) if len(points) else 0.0, points.std() if len(points) else 0.0
    if not scale > 0.0:
        return None
    q = (points - middle) / scale
    rows, columns = (range(d), range(d)) if sphere else np.triu_indices(d)
    unknowns = np.column_stack(
        [2.0 * q, np.ones(len(q))] if sphere else [q[:, rows] * q[:, columns], q]
    )
    found, _, rank, _ = np.linalg.lstsq(
        unknowns, (q**2).sum(1) if sphere else np.ones(len(q)), rcond=None
    )
    if rank < unknowns.shape[1]:
        return None
    if sphere:
        centre, squared = found[:d], found[d] + found[:d] @ found[:d]
        matrix = np.eye(d) / squared
    else:
        matrix = np.zeros((d, d))
        matrix[rows, columns] = found[:-d]
        matrix = (matrix + matrix.T) / 2.0
        if abs(np.linalg.det(matrix)) < 1e-9:
            return None
        centre = -0.5 * np.linalg.solve(matrix, found[-d:])
        squared = 1.0 + centre @ matrix @ centre
        if not squared:  # two crossing lines
            return None
        matrix = matrix / squared
    sound = np.isfinite(matrix).all() and np.linalg.eigvalsh(matrix)[0] > 0.0
    return Shape(middle + scale * centre, matrix / scale**2) if sound else None


def find_shape(mask: np.ndarray, sphere: bool, reach: float, overlap: float) -> Shape | None:
    """The shape of ``mask``; None where it has none or their intersection over union is below
    ``overlap``.

    reach  0: of the whole mask. Above 0: of its thickest end, as the head of a femur: fitted to the
           surface within ``reach`` radii of the largest ball inside, and judged within ``reach``
           times its own axes
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
    inside, judged = squared <= 1.0, (squared <= reach**2) if reach else True
    return (
        shape
        if (inside & mask & judged).sum() >= overlap * max(((inside | mask) & judged).sum(), 1)
        else None
    )


def repair(p: np.ndarray, squared: np.ndarray, reach: float) -> np.ndarray:
    """The mask of max(p, clip(0.6 + (1 - d²)², 0, 1)) inside and p exp(-(d² - 1) / 2) outside;
    beyond ``reach`` of p as it is.
    """
    inside = np.maximum(p, np.clip(SURE + (1.0 - squared) ** 2, 0.0, 1.0))
    outside = p * np.exp(-0.5 * np.maximum(squared - 1.0, 0.0))
    repaired = np.where(squared <= 1.0, inside, outside)
    return (np.where(squared <= reach**2, repaired, p) if reach else repaired) >= SURE


def pieces(mask: np.ndarray, n: int) -> list[np.ndarray]:
    """The ``n`` largest connected pieces of ``mask``, largest first, or fewer where there are
    fewer.
    """
    number, _ = ndimage.label(mask, np.ones((3,) * mask.ndim))
    sizes = np.bincount(number.flat)[1:]
    return [number == i + 1 for i in np.argsort(-sizes, kind="stable")[:n]]


def mirror_through(shapes: Sequence[Shape]) -> Mirror | None:
    """Of one shape: through its centre, across its shortest axis. Of two (left and right): the
    plane halfway between their centres, None
    where it is more than 30 degrees off the first axis (patient left-right).
    """
    if len(shapes) == 1:
        return Mirror(shapes[0].centre, np.linalg.eigh(shapes[0].matrix)[1][:, -1])
    a, b = (shape.centre for shape in shapes)
    normal = (b - a) / max(float(np.linalg.norm(b - a)), 1e-9)
    return (
        Mirror((a + b) / 2.0, normal * np.sign(normal[0]))
        if abs(normal[0]) >= np.cos(np.pi / 6)
        else None
    )


def regularity(p: np.ndarray) -> float | None:
    """½ mean |Sobel gradient of p| + ½ mean |Laplacian of the distance to the outside of p > 0.5|:
    low for round masks with a clear edge.

    None where nothing or everything is above 0.5.
    """
    inside = p > 0.5
    if not inside.any() or inside.all():
        return None
    slope = np.sqrt(sum(ndimage.sobel(p, axis) ** 2 for axis in range(p.ndim)))
    return (
        float(slope.mean() + np.abs(ndimage.laplace(ndimage.distance_transform_edt(inside))).mean())
        / 2.0
    )
