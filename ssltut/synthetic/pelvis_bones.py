"""The bones that a scan of the whole pelvis shows beyond one hip, as signed distances in mm."""

from functools import partial

import numpy as np

from ssltut.synthetic.anatomy import Anatomy, Pathology, Rng
from ssltut.synthetic.bones import Cup, hip_bone
from ssltut.synthetic.shapes import Distance, Points, capsule, ellipsoid, smooth_union, subtract
from ssltut.synthetic.tissues import MIDLINE, Canvas, texture


def whole_hip_bone(
    p: Points, a: Anatomy, pathology: Pathology, femur: Distance, rng: Rng
) -> tuple[Distance, Cup]:
    """``hip_bone`` with a whole ilium and a pubis that ends at the symphysis."""
    parts = partial(whole_hip_parts, s=a.head_radius / 24.0)
    bone, cup = hip_bone(p, a, pathology, femur, rng, parts)
    symphysis = np.float32(MIDLINE + rng.uniform(1.5, 3.5)) - p[0]
    return np.maximum(bone, symphysis), cup


def whole_hip_parts(q: Points, rng: Rng, s: float) -> list[Distance]:
    """Ilium with a wing up to the crest, ischium and pubis; one unit of ``q`` is ``s`` mm."""
    shift = rng.uniform(-5.0, 5.0, (6, 3))
    roof = ellipsoid(q, np.array([-3, -3, 33]) + 0.5 * shift[0], (14, 30, 22))
    roof = smooth_union(10.0, roof, capsule(q, (0, 8, 46), (10, 27, 34), 9.0, 6.5))
    behind = smooth_union(
        10.0,
        capsule(q, (-17, -22, 14), np.array([-19, -36, -34]) + shift[1], 12.0, 11.0),
        ellipsoid(q, np.array([-19, -38, -56]) + shift[1], (12, 14, 17)),
        capsule(q, (-24, -28, 2), (-43, -40, -2), 8.0, 3.0),
        capsule(q, (-18, -22, 26), np.array([-33, -54, 60]) + shift[2], 12.0, 11.0),
    )
    body = np.array([(MIDLINE + 14.0) / s, 42, -32]) + np.array([0, *shift[3, 1:]])
    pubis = capsule(q, (-20, 19, -7), body + np.array([8, 2, 8]), 10.5, 8.0)
    pubis = smooth_union(8.0, pubis, ellipsoid(q, body, (13, 9, 18)))
    ramus = capsule(q, (-24, -38, -62), body + np.array([4, -6, -16]), 7.0, 6.0)
    return [smooth_union(12.0, roof, iliac_wing(q, rng)), behind, pubis, ramus]


def iliac_wing(q: Points, rng: Rng) -> Distance:
    """A sheet x(y, z) within an oval outline, thin in its middle and thick at its borders."""
    jitter = rng.uniform(-1.0, 1.0, 8)
    y, z = q[1], q[2]
    high = np.clip((z - 70.0) / 65.0, 0.0, 1.3)
    slope = 0.50 + 0.06 * jitter[0] + 0.25 * high**2
    sheet = -3.0 + 4.0 * jitter[1] + slope * y + (22.0 + 8.0 * jitter[2]) * high**1.5
    sheet = sheet + (6.0 + 3.0 * jitter[3]) * np.exp(-np.square((y + 15.0) / 35.0))
    wide = (y + 8.0 + 4 * jitter[4]) / (74.0 + 5.0 * jitter[5])
    tall = (z - 92.0) / (60.0 + 7.0 * jitter[6])
    outline = (np.sqrt(np.square(wide) + np.square(tall)) - 1.0) * np.float32(62.0)
    half = 3.2 + 0.8 * jitter[7] + 5.5 / (1.0 + np.exp((y + 52.0) / 7.0))
    half = half + 3.0 * np.exp(outline / 9.0) + 5.0 * np.exp(-np.square((z - 45.0) / 18.0))
    notch = np.hypot(y + 66.0, z - 24.0) - np.float32(27.0)
    flat = np.abs(q[0] - sheet) / np.sqrt(1.0 + slope**2) - half
    return np.maximum.reduce([flat, outline, -notch, 20.0 - z]).astype(np.float32)


def add_skeleton(
    p: Points, pelvis: Distance, a: Anatomy, canvas: Canvas, bones: Rng, tissue: Rng
) -> None:
    """Sacrum with coccyx, vertebrae and ribs; ``p`` is folded at the midline."""
    size = bones.uniform(0.9, 1.1)
    tilt, base = bones.uniform(-6, 6), bones.uniform(98.0, 114.0)
    for bone in (sacrum_and_coccyx(p, size, tilt, base), spine_and_ribs(p, size, base, bones)):
        spongy = 0.75 * a.trabecular_hu + 45.0 * texture(pelvis.shape, 0.8, tissue)
        apart = subtract(bone, pelvis - 2.0)
        canvas.fill_bone(apart, np.float32(a.cortex_thin), spongy, a.cortex_hu)


def sacrum_and_coccyx(p: Points, size: float, tilt: float, base: float) -> Distance:
    """``base`` is the height of the first sacral vertebra above the head, mm."""
    at, vertebrae = MIDLINE, []
    for i in range(5):
        centre = (at, -34 - 13 * i - tilt * (i > 1), base - 19 * i)
        vertebrae.append(ellipsoid(p, centre, (size * (70 - 12 * i), 19 - 2.4 * i, 17 - i)))
    crest = capsule(p, (at, -58, base), (at, -102, base - 62), 6.0, 4.0)
    canal = capsule(p, (at, -46, base + 14), (at, -86, base - 52), 7.0, 3.0)
    sacrum = subtract(smooth_union(8.0, *vertebrae, crest), canal)
    for i in range(1, 4):  # the holes of the nerves
        z = base - 10 - 19 * i
        hole = capsule(p, (at + 19, -20 - 13 * i, z), (at + 21, -70 - 12 * i, z), 3.5)
        sacrum = subtract(sacrum, hole)
    return np.minimum(sacrum, capsule(p, (at, -88, base - 88), (at, -80, base - 112), 6.0, 3.0))


def spine_and_ribs(p: Points, size: float, base: float, rng: Rng) -> Distance:
    """Vertebrae with arches and processes, and ribs that slope down to the front."""
    at, parts = MIDLINE, []
    for i in range(8):
        z, y = base + 33.0 + 36.0 * i, -26.0 + 3.0 * min(i, 3)
        across = np.hypot((p[0] - at) / np.float32(1.15), p[1] - np.float32(y))
        height = np.abs(p[2] - np.float32(z))
        trunk = np.maximum(across - np.float32(23.0 * size), height - np.float32(13.5))
        arch = smooth_union(
            4.0,
            capsule(p, (at + 14, y - 14, z + 3), (at + 15, y - 36, z - 2), 5.0),
            capsule(p, (at + 15, y - 36, z - 2), (at, y - 48, z - 6), 4.5),
            capsule(p, (at + 14, y - 22, z + 2), (at + 44, y - 28, z + 6), 4.0, 3.0),
            capsule(p, (at, y - 48, z - 6), (at, y - 68, z - 12), 4.0),
        )
        parts.append(smooth_union(3.0, trunk, arch))
    chest = (np.hypot((p[0] - at) / 138.0, (p[1] + 4.0) / 98.0) - 1.0) * 105.0
    for i in range(6):
        height = p[2] - np.float32(base + 150.0 + 27.0 * i) + 0.35 * (p[1] + 100.0)
        parts.append(np.hypot(chest, height) - np.float32(rng.uniform(4.5, 6.5)))
    return np.minimum.reduce(parts)
