"""From shapes to HU: fat, skin, muscles, vessels, bowel and bladder, cartilage, bone with its inner
structure, metal, table and air.
"""

import numpy as np
from scipy.ndimage import gaussian_filter

from ssltut.synthetic.anatomy import Anatomy, Pathology
from ssltut.synthetic.bones import Cup, Femur
from ssltut.synthetic.shapes import along, ball, ellipsoid, limb, norm, occupancy

AIR, FAT, SKIN, CARTILAGE, METAL = -1000.0, -100.0, 40.0, 75.0, 9000.0
MIDLINE = -90.0  # lateral coordinate of the body's mid-sagittal plane, mm

# Centre and radii, mm, for a head radius of 24 mm.
BELLIES = {
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
STRAPS = {
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


def texture(
    shape: tuple[int, ...], sigma: tuple[float, ...] | float, rng: np.random.Generator
) -> np.ndarray:
    """Smooth noise of standard deviation 1; ``sigma`` in voxels."""
    noise = gaussian_filter(rng.standard_normal(shape, dtype=np.float32), sigma)
    return noise / max(float(noise.std()), 1e-6)


def blend(hu: np.ndarray, share: np.ndarray, value: np.ndarray | float) -> None:
    """Fill ``share`` (0 ... 1) of every voxel with ``value``."""
    hu += share * (value - hu)


def cortical(
    hu: np.ndarray,
    distance: np.ndarray,
    cortex: np.ndarray | float,
    inside: np.ndarray,
    cortex_hu: float,
    voxel: float,
) -> None:
    """A bone into ``hu``: ``cortex`` mm of ``cortex_hu`` under its surface ``distance``, and
    ``inside`` HU within.
    """
    whole, core = occupancy(distance, voxel), occupancy(distance + cortex, voxel)
    blend(
        hu,
        whole,
        np.where(
            whole > 0, (inside * core + cortex_hu * (whole - core)) / np.maximum(whole, 1e-3), 0.0
        ),
    )


def soft_tissue(
    p: np.ndarray, a: Anatomy, voxel: float, rng: np.random.Generator, half_depth: float = 54.0
) -> tuple[np.ndarray, np.ndarray]:
    """HU (X, Y, Z) float32 of everything but bone and metal, and roughly the signed distance (X, Y,
    Z) mm of the fascia, under skin and fat.

    half_depth  of the body without its fat, mm at a head radius of 24 mm
    """
    s, fat = a.head_radius / 24.0, a.fat_thickness
    across, depth = (
        np.abs(p[0] - np.float32(MIDLINE)) / np.float32(163.0 * s + fat),
        np.abs(p[1] + 6.0) / np.float32(half_depth * s + fat),
    )
    body = (np.cbrt(across**3 + depth**3) - 1.0) * np.float32(half_depth * s + fat)
    hu = np.full(p.shape[1:], AIR, np.float32)
    under = -6.0 - half_depth * s - fat - 3.0  # the table touches the back
    for top, thickness, value in (
        (under, 6.0, -880.0),
        (under - 6.0, 1.5, -120.0),
        (under - 16.0, 1.5, -120.0),
    ):
        blend(
            hu,
            occupancy(
                np.abs(p[1] - np.float32(top - thickness / 2)) - np.float32(thickness / 2), voxel
            ),
            value,
        )
    blend(hu, occupancy(body, voxel), SKIN)
    blend(hu, occupancy(body + 2.2, voxel), FAT + 12.0 * texture(hu.shape, 4.0 / voxel, rng))
    fascia = body + np.float32(fat)
    strands = 9.0 * texture(hu.shape, (2.0 / voxel, 2.0 / voxel, 7.0 / voxel), rng)
    q = p / np.float32(s)
    near, second = np.full(hu.shape, 99.0, np.float32), np.full(hu.shape, 99.0, np.float32)
    value = np.full(hu.shape, a.muscle_hu, np.float32)
    for shape, place in [(ellipsoid, place) for place in BELLIES.values()] + [
        (limb, place) for place in STRAPS.values()
    ]:
        distance = shape(q, np.asarray(place[0]) + rng.uniform(-3.0, 3.0, 3), *place[1:])
        nearest = distance < near
        second = np.where(nearest, near, np.minimum(second, distance))
        near = np.where(nearest, distance, near)
        value = np.where(nearest, np.float32(a.muscle_hu + rng.uniform(-7.0, 7.0)), value)
    # Muscles swell until they meet: fat is left in the planes between two of them and where none is
    # near.
    plane = np.maximum(np.float32(1.2) - (second - near) / 2.0, near - np.float32(13.0))
    blend(hu, occupancy(np.maximum(plane * np.float32(s), fascia), voxel), value + strands)
    pelvis_organs(q, hu, voxel, rng)
    vein = np.array([-11.0, -3.0, 0.0])
    for start, end in ARTERY:
        blend(hu, occupancy(limb(q, start, end, 4.5), voxel), a.vessel_hu)
        blend(
            hu, occupancy(limb(q, start + vein, end + vein, 5.5), voxel), 0.5 * (a.vessel_hu + 45.0)
        )
    return hu, fascia


def pelvis_organs(q: np.ndarray, hu: np.ndarray, voxel: float, rng: np.random.Generator) -> None:
    """Bladder, and loops of bowel with gas above a level of fluid (the patient lies on the
    back).
    """
    blend(hu, occupancy(ellipsoid(q, (-88, 8, 4), (30, 26, 26)), voxel), 8.0)
    for _ in range(3):
        centre, radius = (
            np.array([-74.0, 10.0, 56.0]) + rng.uniform(-16, 16, 3),
            rng.uniform(10.0, 15.0),
        )
        loop, level = ball(q, centre, radius), centre[1] + rng.uniform(-0.6, 0.6) * radius
        blend(hu, occupancy(loop, voxel), 42.0)
        blend(hu, occupancy(loop + 2.0, voxel), 22.0)
        blend(hu, occupancy(np.maximum(loop + 2.0, np.float32(level) - q[1]), voxel), -960.0)


def bone_tissue(
    p: np.ndarray,
    femur: Femur,
    hip: np.ndarray,
    cup: Cup,
    a: Anatomy,
    pathology: Pathology,
    hu: np.ndarray,
    voxel: float,
    rng: np.random.Generator,
    thickness: np.ndarray | float = 1.0,
) -> None:
    """Cartilage, then cortex over trabecular bone and marrow, into ``hu``; sclerosis and cysts
    where there is osteoarthritis.

    The cortex is ``thickness`` times as thick as the anatomy says, a number or one a voxel.
    """
    joint = np.maximum(
        ball(p, cup.centre, cup.radius + 1.0), along(p, cup.normal) - np.float32(cup.depth + 4.0)
    )
    blend(hu, occupancy(joint, voxel), CARTILAGE)
    mesh = texture(hu.shape, 0.9 / voxel, rng) * 45.0 + texture(hu.shape, 2.5 / voxel, rng) * 35.0
    # The primary compressive group: trabeculae run from the top of the head to the calcar and carry
    # most of the load.
    load = np.exp(
        -np.square(
            limb(p, (-2, 0, a.head_radius), femur.base * 0.62, 0.0)
            / np.float32(0.55 * a.head_radius)
        )
    )
    spongy = a.trabecular_hu * (0.55 + 0.7 * load) + mesh * (0.35 + a.trabecular_hu / 400.0)
    inside = {
        "femur": spongy + femur.canal * (a.marrow_hu - spongy),
        "hip": 0.8 * a.trabecular_hu + mesh,
    }
    solids = (
        ("hip", hip, np.float32(a.cortex_thin) * np.float32(thickness)),
        ("femur", femur.distance, femur.cortex * np.float32(thickness)),
    )
    for name, distance, cortex in solids:
        value = inside[name]
        if pathology.osteoarthritis > 0:
            near = (
                np.exp(-np.square((norm(p) - np.float32(a.head_radius)) / 7.0))
                * np.clip(along(p, (0.35, 0, 0.94)) / a.head_radius, 0, 1) ** 2
            )
            value = value + 650.0 * pathology.osteoarthritis * near
            for _ in range(int(4 * pathology.osteoarthritis)):
                where = np.array(
                    [rng.uniform(-8, 12), rng.uniform(-8, 8), a.head_radius + rng.uniform(-11, 9)]
                )
                value = value + occupancy(ball(p, where, rng.uniform(2.0, 4.5)), voxel) * (
                    25.0 - value
                )
        cortical(hu, distance, cortex, value, a.cortex_hu, voxel)


def implant(p: np.ndarray, femur: Femur, a: Anatomy) -> np.ndarray:
    """Signed distance (mm) of an intramedullary nail with a lag screw through the neck."""
    top = femur.base + np.array([6.0, -3.0, 26.0])
    nail = limb(p, top, femur.base + np.array([-10.0, 2.0, -190.0]), 6.0, 5.0)
    screw = limb(
        p, femur.base - 20.0 * femur.neck_axis, 0.45 * a.head_radius * femur.neck_axis, 5.0
    )
    return np.minimum(nail, screw)
