"""What a scan of the whole pelvis shows beyond one hip: flesh, organs, and what is no hip bone."""

import numpy as np

from ssltut.synthetic.anatomy import Rng
from ssltut.synthetic.shapes import Distance, Points, ball, capsule, ellipsoid
from ssltut.synthetic.tissues import MIDLINE, Canvas, texture

WALL = (8.0, 24.0)  # mm of muscle under the fascia of the abdomen
COVER = (8.0, 34.0)  # mm of muscle on the hip bone
FAT = (-180.0, -40.0)  # HU: only what is fat becomes flesh


def add_abdomen(
    p: Points, fascia: Distance, pelvis: Distance, muscle_hu: float, canvas: Canvas, rng: Rng
) -> None:
    """Fill the fat inside the fascia: muscles of back and abdomen, flesh on the ilium, organs.

    Without it a wall of muscle between layers of fat is taken for an ilium. p is folded at the
    midline; fascia and pelvis are signed distances (X, Y, Z) in mm, pelvis that of the hip bones.
    """
    thickness = np.exp(0.35 * canvas.texture(15.0, rng))
    back, front = np.array([MIDLINE + 36.0, -74.0, 40.0]), np.array([MIDLINE + 40.0, -8.0, 70.0])
    wall = np.maximum(-fascia - np.float32(rng.uniform(*WALL)) * thickness, 20.0 - p[2])
    cover = pelvis - np.float32(rng.uniform(*COVER)) * thickness
    top = back + np.array([0, rng.uniform(-6, 10), 260])
    erector = capsule(p, back, top, rng.uniform(20, 30))
    top = front + np.array([rng.uniform(-12, 4), rng.uniform(-20, 5), 260])
    psoas = capsule(p, front, top, rng.uniform(12, 22))
    cavity = np.minimum.reduce([wall, cover, erector, psoas])
    fat_planes = np.float32(1.5) - 12.0 * np.abs(canvas.texture(11.0, rng))
    muscle = muscle_hu + 9.0 * canvas.texture(2.0, rng)
    replace_fat(np.maximum.reduce([cavity, fascia, fat_planes]), muscle, canvas)
    for _ in range(2):  # bowel and organs, without and with contrast medium
        size = np.float32(rng.uniform(0.0, 1.2))
        lumps = 12.0 * (size - canvas.texture(rng.uniform(8.0, 18.0), rng))
        value = rng.uniform(10.0, 130.0) + 12.0 * canvas.texture(3.0, rng)
        replace_fat(np.maximum.reduce([lumps, fascia + 6.0, 3.0 - cavity]), value, canvas)


def replace_fat(distance: Distance, value: np.ndarray, canvas: Canvas) -> None:
    canvas.fill(distance, value, among=(canvas.hu > FAT[0]) & (canvas.hu < FAT[1]))


def add_distractor(p: Points, canvas: Canvas, rng: Rng) -> None:
    """Something that is no bone of the hip, anywhere in the body."""
    centre = np.array([MIDLINE, -5.0, 60.0]) + rng.uniform(-1, 1, 3) * [130.0, 55.0, 110.0]
    kinds = ["vessel", "bowel", "kidney", "calcification", "rib"]
    kind = rng.choice(kinds, p=[0.2, 0.3, 0.2, 0.15, 0.15])
    if kind == "vessel":
        shape = capsule(p, centre, centre + rng.normal(0, 45, 3), rng.uniform(2, 8))
        value = rng.uniform(90, 350)
    elif kind == "bowel":  # with fluid, contrast medium or gas
        shape = ellipsoid(p, centre, rng.uniform(10, 28, 3))
        value = rng.choice([rng.uniform(-60, 60), rng.uniform(100, 500), -900.0])
    elif kind == "kidney":
        shape = ellipsoid(p, centre, rng.uniform(18, 42, 3))
        value = rng.uniform(20, 250)
    elif kind == "calcification":
        shape = ball(p, centre, rng.uniform(1.5, 5))
        value = rng.uniform(200, 1200)
    else:  # a rib
        rod = capsule(p, centre, centre + rng.normal(0, 50, 3), rng.uniform(4, 7))
        shape = np.abs(rod) - 1.5
        value = rng.uniform(300, 1000)
    grain = 15.0 * texture(canvas.hu.shape, 1.0, rng)
    canvas.fill(shape, value + grain, among=canvas.hu > -300)
