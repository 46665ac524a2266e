"""What synthetic hip and pelvis share: random streams, pose, geometry, meta."""

from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ssltut.seeding import derive_seed
from ssltut.synthetic.anatomy import Anatomy, Pathology, Rng, Scanner
from ssltut.synthetic.shapes import Points, rotation, turned


def random_streams(seed: int, *names: str, of: tuple[str, ...] = ()) -> dict[str, Rng]:
    """A random generator for each of ``names``, so that no draw disturbs another."""
    return {name: np.random.default_rng(derive_seed(seed, *of, name)) for name in names}


def turn_leg(p: Points, a: Anatomy) -> Points:
    """Points as the femur sees them, which is turned about its head."""
    return turned(p, rotation(0, -a.hip_flexion), rotation(2, a.hip_rotation))


def affine_of(voxel: float, origin: ArrayLike) -> np.ndarray:
    affine = np.diag([voxel, voxel, voxel, 1.0])
    affine[:3, 3] = origin
    return affine


def meta_of(anatomy: Anatomy, pathology: Pathology, scanner: Scanner, seed: int) -> dict[str, Any]:
    """What ``Case.meta`` keeps of how a scan was made."""
    return {
        "anatomy": asdict(anatomy),
        "pathology": asdict(pathology),
        "scanner": asdict(scanner),
        "seed": int(seed),
    }
