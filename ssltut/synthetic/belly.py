"""The soft tissue of a whole pelvis beyond that of one hip: flesh on both faces of the ilium, the
muscles of back and belly, organs.
"""

import numpy as np

from ssltut.synthetic.anatomy import Anatomy
from ssltut.synthetic.shapes import limb, occupancy
from ssltut.synthetic.tissues import MIDLINE, blend, texture

WALL, COVER = (
    (8.0, 24.0),
    (8.0, 34.0),
)  # mm: muscle under the fascia of the belly, and on the hip bone
FAT = (-180.0, -40.0)  # HU: only what is fat becomes flesh


def belly(
    p: np.ndarray,
    fascia: np.ndarray,
    pelvis: np.ndarray,
    a: Anatomy,
    hu: np.ndarray,
    voxel: float,
    rng: np.random.Generator,
) -> None:
    """Fill the fat inside the fascia, into ``hu``: without it a wall of muscle between layers of
    fat is taken for an ilium.

    p (3, X, Y, Z) mm, folded at the midline; fascia and pelvis (X, Y, Z) signed distances, mm, of
    the fascia and of the hip bones.
    """
    uneven = np.exp(0.35 * texture(hu.shape, 15.0 / voxel, rng))
    back, front = np.array([MIDLINE + 36.0, -74.0, 40.0]), np.array([MIDLINE + 40.0, -8.0, 70.0])
    muscles = [
        np.maximum(-fascia - np.float32(rng.uniform(*WALL)) * uneven, 20.0 - p[2]),
        pelvis - np.float32(rng.uniform(*COVER)) * uneven,
        limb(p, back, back + np.array([0, rng.uniform(-6, 10), 260]), rng.uniform(20, 30)),
        limb(
            p,
            front,
            front + np.array([rng.uniform(-12, 4), rng.uniform(-20, 5), 260]),
            rng.uniform(12, 22),
        ),
    ]
    cavity = np.minimum.reduce(muscles)
    planes = np.float32(1.5) - 12.0 * np.abs(
        texture(hu.shape, 11.0 / voxel, rng)
    )  # of fat, between muscles
    fill(
        hu,
        np.maximum.reduce([cavity, fascia, planes]),
        a.muscle_hu + 9.0 * texture(hu.shape, 2.0 / voxel, rng),
        voxel,
    )
    for _ in range(2):  # bowel and organs, without and with contrast medium
        lumps = 12.0 * (
            np.float32(rng.uniform(0.0, 1.2))
            - texture(hu.shape, rng.uniform(8.0, 18.0) / voxel, rng)
        )
        fill(
            hu,
            np.maximum.reduce([lumps, fascia + 6.0, 3.0 - cavity]),
            rng.uniform(10.0, 130.0) + 12.0 * texture(hu.shape, 3.0 / voxel, rng),
            voxel,
        )


def fill(hu: np.ndarray, distance: np.ndarray, value: np.ndarray, voxel: float) -> None:
    """``value`` into what of ``hu`` is fat and lies within ``distance``."""
    blend(hu, occupancy(distance, voxel) * ((hu > FAT[0]) & (hu < FAT[1])), value)
