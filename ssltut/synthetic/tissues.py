"""From shapes to HU: fat, skin, muscles, vessels, organs, cartilage, bone, metal, table and air."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import gaussian_filter

from ssltut.synthetic.anatomy import Anatomy, Pathology, Rng
from ssltut.synthetic.bones import Femur, Hip
from ssltut.synthetic.shapes import Distance, Points, along, ball, capsule, ellipsoid, occupancy

AIR, FAT, SKIN, CARTILAGE, METAL = -1000.0, -100.0, 40.0, 75.0, 9000.0
MIDLINE = -90.0  # lateral coordinate of the body's mid-sagittal plane, mm
Values = np.ndarray | float

# Centre and radii, mm, for a head radius of 24 mm.
ELLIPSOID_MUSCLES = {
    "gluteus maximus": ((2, -56, -8), (58, 17, 66)),
    "gluteus medius": ((36, -6, 52), (17, 40, 46)),
    "gluteus minimus": ((22, 8, 40), (10, 24, 30)),
    "tensor fasciae latae": ((52, 30, 4), (9, 13, 56)),
    "vastus lateralis": ((60, 8, -78), (14, 22, 46)),
    "vastus intermedius": ((40, 14, -90), (20, 15, 48)),
    "adductors": ((-26, 2, -84), (24, 24, 38)),
    "obturator internus": ((-44, -10, -12), (8, 26, 26)),
    "obturator externus": ((-36, 6, -44), (20, 8, 11)),
    "hamstrings": ((4, -42, -92), (20, 13, 34)),
}
# Start, end, radius.
CAPSULE_MUSCLES = {
    "psoas": ((-34, 14, 90), (-6, 36, 0), 14.0),
    "iliopsoas tendon": ((-6, 36, 0), (24, -8, -62), 9.0),
    "iliacus": ((-20, 8, 90), (-2, 32, 14), 11.0),
    "sartorius": ((34, 46, 70), (-18, 46, -100), 7.0),
    "rectus femoris": ((10, 38, 28), (26, 42, -110), 10.0),
    "pectineus": ((-52, 36, -24), (16, 4, -66), 9.0),
    "quadratus femoris": ((-6, -36, -50), (40, -24, -44), 9.0),
    "piriformis": ((-56, -48, 26), (40, -18, 4), 8.0),
}
ARTERY = [((-44, 26, 90), (-14, 44, 14)), ((-14, 44, 14), (-12, 42, -110))]
# Mattress and the two faces of the table: mm below the back, thickness in mm, HU.
TABLE = [(0.0, 6.0, -880.0), (6.0, 1.5, -120.0), (16.0, 1.5, -120.0)]


def texture(shape: tuple[int, ...], sigma: ArrayLike, rng: Rng) -> np.ndarray:
    """Smooth noise of standard deviation 1; ``sigma`` in voxels."""
    noise = gaussian_filter(rng.standard_normal(shape, dtype=np.float32), sigma)
    return noise / max(float(noise.std()), 1e-6)


@dataclass
class Canvas:
    """The scan in the making: hu (X, Y, Z) float32, voxels of ``voxel`` mm a side."""

    hu: np.ndarray
    voxel: float

    def fill(self, distance: Distance, value: Values, among: np.ndarray | bool = True) -> None:
        """``value`` HU inside a signed ``distance`` (mm), over what was there, where ``among``."""
        self.hu += occupancy(distance, self.voxel) * among * (value - self.hu)

    def fill_bone(self, distance: Distance, cortex: ArrayLike, inside: Values, hu: float) -> None:
        """``cortex`` mm of ``hu`` under the surface of a bone, and ``inside`` HU within."""
        whole, core = occupancy(distance, self.voxel), occupancy(distance + cortex, self.voxel)
        mean = (inside * core + hu * (whole - core)) / np.maximum(whole, 1e-3)
        self.hu += whole * (np.where(whole > 0, mean, 0.0) - self.hu)

    def texture(self, size: ArrayLike, rng: Rng) -> np.ndarray:
        """Smooth noise of standard deviation 1 in lumps of ``size`` mm."""
        return texture(self.hu.shape, np.divide(size, self.voxel), rng)


def soft_tissue(
    p: Points, a: Anatomy, voxel: float, rng: Rng, half_depth: float = 54.0
) -> tuple[Canvas, Distance]:
    """Everything but bone and metal, and the signed distance (X, Y, Z, mm) of the fascia under fat.

    half_depth is that of the body without its fat, mm at a head radius of 24 mm.
    """
    s, fat = a.head_radius / 24.0, a.fat_thickness
    across = np.abs(p[0] - np.float32(MIDLINE)) / np.float32(163.0 * s + fat)
    depth = np.abs(p[1] + 6.0) / np.float32(half_depth * s + fat)
    body = (np.cbrt(across**3 + depth**3) - 1.0) * np.float32(half_depth * s + fat)
    canvas = Canvas(np.full(p.shape[1:], AIR, np.float32), voxel)
    back = -6.0 - half_depth * s - fat - 3.0  # the table touches it
    for below, thickness, value in TABLE:
        middle = np.float32(back - below - thickness / 2)
        canvas.fill(np.abs(p[1] - middle) - np.float32(thickness / 2), value)
    canvas.fill(body, SKIN)
    canvas.fill(body + 2.2, FAT + 12.0 * canvas.texture(4.0, rng))
    fascia = body + np.float32(fat)
    q = p / np.float32(s)
    add_muscles(q, fascia, a, canvas, rng)
    add_pelvic_organs(q, canvas, rng)
    vein = np.array([-11.0, -3.0, 0.0])  # beside the artery
    for start, end in ARTERY:
        canvas.fill(capsule(q, start, end, 4.5), a.vessel_hu)
        canvas.fill(capsule(q, start + vein, end + vein, 5.5), 0.5 * (a.vessel_hu + 45.0))
    return canvas, fascia


def add_muscles(q: Points, fascia: Distance, a: Anatomy, canvas: Canvas, rng: Rng) -> None:
    """Muscles that swell until they nearly meet; q are points for a head radius of 24 mm."""
    strands = 9.0 * canvas.texture((2.0, 2.0, 7.0), rng)
    near, second = np.full_like(fascia, 99.0), np.full_like(fascia, 99.0)
    value = np.full_like(fascia, a.muscle_hu)
    for shape, muscles in ((ellipsoid, ELLIPSOID_MUSCLES), (capsule, CAPSULE_MUSCLES)):
        for first, *others in muscles.values():
            distance = shape(q, np.asarray(first) + rng.uniform(-3.0, 3.0, 3), *others)
            nearest = distance < near
            second = np.where(nearest, near, np.minimum(second, distance))
            near = np.where(nearest, distance, near)
            value = np.where(nearest, np.float32(a.muscle_hu + rng.uniform(-7.0, 7.0)), value)
    plane = np.maximum(np.float32(1.2) - (second - near) / 2.0, near - np.float32(13.0))
    canvas.fill(np.maximum(plane * np.float32(a.head_radius / 24.0), fascia), value + strands)


def add_pelvic_organs(q: Points, canvas: Canvas, rng: Rng) -> None:
    """Bladder, and loops of bowel with gas above fluid (the patient lies on the back)."""
    canvas.fill(ellipsoid(q, (-88, 8, 4), (30, 26, 26)), 8.0)
    for _ in range(3):
        centre = np.array([-74.0, 10.0, 56.0]) + rng.uniform(-16, 16, 3)
        radius = rng.uniform(10.0, 15.0)
        loop = ball(q, centre, radius)
        level = centre[1] + rng.uniform(-0.6, 0.6) * radius
        canvas.fill(loop, 42.0)
        canvas.fill(loop + 2.0, 22.0)
        canvas.fill(np.maximum(loop + 2.0, np.float32(level) - q[1]), -960.0)


def add_hip(
    p: Points, hip: Hip, a: Anatomy, ill: Pathology, canvas: Canvas, rng: Rng, factor: ArrayLike = 1
) -> None:
    """Cartilage, and the two bones with a cortex ``factor`` times as thick as the anatomy says."""
    femur, cup = hip.femur, hip.cup
    opening = along(p, cup.normal) - np.float32(cup.depth + 4.0)
    canvas.fill(np.maximum(ball(p, cup.centre, cup.radius + 1.0), opening), CARTILAGE)
    mesh = canvas.texture(0.9, rng) * 45.0 + canvas.texture(2.5, rng) * 35.0
    # The trabeculae from the top of the head to the calcar carry most of the load.
    group = capsule(p, (-2, 0, a.head_radius), femur.base * 0.62, 0.0)
    load = np.exp(-np.square(group / np.float32(0.55 * a.head_radius)))
    spongy = a.trabecular_hu * (0.55 + 0.7 * load) + mesh * (0.35 + a.trabecular_hu / 400.0)
    factor = np.asarray(factor, np.float32)
    inside = with_arthritis(0.8 * a.trabecular_hu + mesh, p, a, ill, canvas.voxel, rng)
    canvas.fill_bone(hip.pelvis, np.float32(a.cortex_thin) * factor, inside, a.cortex_hu)
    inside = spongy + femur.canal * (a.marrow_hu - spongy)
    inside = with_arthritis(inside, p, a, ill, canvas.voxel, rng)
    canvas.fill_bone(femur.distance, femur.cortex * factor, inside, a.cortex_hu)


def with_arthritis(
    value: np.ndarray, p: Points, a: Anatomy, pathology: Pathology, voxel: float, rng: Rng
) -> np.ndarray:
    """HU inside a bone with the sclerosis and the cysts of osteoarthritis above the head."""
    if pathology.osteoarthritis == 0:
        return value
    surface = np.exp(-np.square(ball(p, (0, 0, 0), a.head_radius) / 7.0))
    above = np.clip(along(p, (0.35, 0, 0.94)) / a.head_radius, 0, 1) ** 2
    value = value + 650.0 * pathology.osteoarthritis * (surface * above)
    for _ in range(int(4 * pathology.osteoarthritis)):
        centre = rng.uniform((-8, -8, -11), (12, 8, 9)) + (0, 0, a.head_radius)
        value = value + occupancy(ball(p, centre, rng.uniform(2.0, 4.5)), voxel) * (25.0 - value)
    return value


def implant(p: Points, femur: Femur, a: Anatomy) -> Distance:
    """Signed distance (mm) of an intramedullary nail with a lag screw through the neck."""
    top, bottom = np.array([6.0, -3.0, 26.0]), np.array([-10.0, 2.0, -190.0])
    nail = capsule(p, femur.base + top, femur.base + bottom, 6.0, 5.0)
    start, end = femur.base - 20.0 * femur.neck_axis, 0.45 * a.head_radius * femur.neck_axis
    return np.minimum(nail, capsule(p, start, end, 5.0))
