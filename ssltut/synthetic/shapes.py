"""Signed distance fields: negative inside, in mm. Points ``p`` are (3, X, Y, Z) float32 in mm."""

from collections.abc import Callable, Sequence
from functools import reduce, wraps
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

Vector = Sequence[float] | np.ndarray
Points = np.ndarray  # (3, X, Y, Z) float32, mm
Distance = np.ndarray  # (X, Y, Z) float32, mm
SLAB = 2**15  # voxels


def in_slabs(function: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    """``function`` of points (3, X, Y, Z), evaluated for a few layers after the other.

    Its values (..., X, Y, Z) keep their bits, and what it makes on the way stays in the cache.
    """

    @wraps(function)
    def run(p: Points, *rest: Any) -> np.ndarray:
        n = max(1, SLAB // p[0, 0].size)
        parts = [function(p[:, i : i + n], *rest) for i in range(0, p.shape[1], n)]
        return np.concatenate(parts, axis=-3)

    return run


def column(v: ArrayLike) -> np.ndarray:
    return np.asarray(v, np.float32).reshape(3, 1, 1, 1)


def norm(p: Points) -> np.ndarray:
    return np.sqrt(p[0] * p[0] + p[1] * p[1] + p[2] * p[2])


def along(p: Points, direction: Vector) -> np.ndarray:
    """The coordinate of every point along ``direction``."""
    x, y, z = (np.float32(v) for v in direction)
    return x * p[0] + y * p[1] + z * p[2]


@in_slabs
def ball(p: Points, centre: Vector, radius: float) -> Distance:
    return norm(p - column(centre)) - np.float32(radius)


@in_slabs
def ellipsoid(p: Points, centre: Vector, radii: Vector) -> Distance:
    """First-order distance to an ellipsoid: exact on the surface, a good estimate near it."""
    q = p - column(centre)
    level, slope = norm(q / column(radii)), norm(q / column(np.square(radii)))
    return level * (level - 1.0) / np.maximum(slope, 1e-6)


@in_slabs
def capsule(
    p: Points, start: Vector, end: Vector, r_start: float, r_end: float | None = None
) -> Distance:
    """A rod with round ends from ``start`` to ``end`` whose radius changes linearly."""
    r_end = r_start if r_end is None else r_end
    axis = np.asarray(end, np.float32) - np.asarray(start, np.float32)
    q = p - column(start)
    t = np.clip(along(q, axis) / np.float32(axis @ axis), 0.0, 1.0)
    return norm(q - column(axis) * t) - (np.float32(r_start) + np.float32(r_end - r_start) * t)


def rounded_box(
    p: Points, centre: Vector, rotation: np.ndarray, half: Vector, rounding: float
) -> Distance:
    """A box with half sizes ``half`` whose axes are the rows of ``rotation`` (3, 3)."""
    q = np.tensordot(rotation.astype(np.float32), p - column(centre), 1)
    d = np.abs(q) - column(half) + np.float32(rounding)
    return norm(np.maximum(d, 0.0)) + np.minimum(d.max(0), 0.0) - np.float32(rounding)


def smooth_union(k: float, first: Distance, *others: Distance) -> Distance:
    """Union in which surfaces closer than ``k`` mm flow into each other."""
    for other in others:
        blend = np.maximum(np.float32(k) - np.abs(first - other), 0.0)
        first = np.minimum(first, other) - blend * blend / np.float32(4.0 * k)
    return first


def subtract(solid: Distance, hole: Distance) -> Distance:
    return np.maximum(solid, -hole)


def rotation(axis: int, degrees: float) -> np.ndarray:
    """Rotation matrix (3, 3) about a coordinate axis."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    i, j = [(1, 2), (2, 0), (0, 1)][axis]
    matrix = np.eye(3)
    matrix[np.ix_((i, j), (i, j))] = [[c, -s], [s, c]]
    return matrix


def turned(p: Points, *rotations: np.ndarray) -> Points:
    """Points turned by the product of ``rotations``, the last one first."""
    return np.tensordot(reduce(np.matmul, rotations).astype(np.float32), p, 1)


def voxel_centres(size: Sequence[int], voxel: float) -> Points:
    """Points (3, *size) of a grid around the origin, ``voxel`` mm apart."""
    axes = [((np.arange(n) - (n - 1) / 2) * voxel).astype(np.float32) for n in size]
    return np.stack(np.meshgrid(*axes, indexing="ij"))


def occupancy(distance: Distance, voxel: float) -> np.ndarray:
    """Share of a voxel inside the surface, 0 to 1, from the distance of its centre."""
    return np.clip(0.5 - distance / np.float32(voxel), 0.0, 1.0)
