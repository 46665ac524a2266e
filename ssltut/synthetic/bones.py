"""Femur and hip bone as signed distance fields.

Frame: origin at the centre of the femoral head, axes lateral, anterior, superior (mm), the same for
a left and a right hip.
"""

from typing import NamedTuple

import numpy as np

from ssltut.synthetic.anatomy import Anatomy, Pathology
from ssltut.synthetic.shapes import along, ball, carve, ellipsoid, join, limb, plate, rotation


class Femur(NamedTuple):
    """distance (X, Y, Z) mm; cortex (X, Y, Z) its thickness mm; canal (X, Y, Z) 0 ... 1, how much a
    place is marrow of the shaft;
    neck_axis unit vector from the shaft to the head and base (3,) where it meets the axis of the
    shaft.
    """

    distance: np.ndarray
    cortex: np.ndarray
    canal: np.ndarray
    neck_axis: np.ndarray
    base: np.ndarray


def smoothstep(x: np.ndarray, low: float, high: float) -> np.ndarray:
    t = np.clip((x - np.float32(low)) / np.float32(high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def neck_axis(anatomy: Anatomy) -> np.ndarray:
    """From the base of the neck to the head: ``neck_shaft_angle`` with the shaft (which runs down),
    turned forward by ``anteversion``.
    """
    angle, turn = np.radians(anatomy.neck_shaft_angle), np.radians(anatomy.anteversion)
    return np.array([-np.sin(angle) * np.cos(turn), np.sin(angle) * np.sin(turn), -np.cos(angle)])


def femur(p: np.ndarray, a: Anatomy, pathology: Pathology, rng: np.random.Generator) -> Femur:
    """Head with fovea, neck, both trochanters, shaft."""
    r, axis = a.head_radius, neck_axis(a)
    s, base = r / 24.0, -a.neck_length * r * axis
    head = carve(ball(p, (0, 0, 0), r), ball(p, np.array([-0.93, -0.2, -0.3]) * (r + 3.0), 6.0))
    neck = limb(p, -0.45 * r * axis, base, 0.64 * r, 0.74 * r)
    shaft = limb(
        p,
        base + np.array([0, 0, -8.0]),
        base + np.array([-10.0, 2.0, -190.0]),
        a.shaft_radius * 1.15,
        a.shaft_radius,
    )
    greater = join(
        6.0,
        ellipsoid(p, base + s * np.array([13.0, -5.0, 10.0]), s * np.array([12.0, 18.0, 22.0])),
        ellipsoid(p, base + s * np.array([6.0, -16.0, 20.0]), s * np.array([8.0, 8.0, 13.0])),
    )
    lesser = ellipsoid(
        p, base + s * np.array([-11.0, -13.0, -27.0]), s * np.array([8.5, 8.0, 12.0])
    )
    crest = limb(
        p,
        base + s * np.array([4.0, -17.0, 8.0]),
        base + s * np.array([-7.0, -15.0, -22.0]),
        6.0 * s,
        5.0 * s,
    )
    bone = join(10.0 * s, join(7.0 * s, neck, shaft, greater), crest, lesser)
    distance = join(4.0 * s, head, bone)
    if pathology.osteoarthritis > 0:
        distance = join(
            2.5, distance, *osteophytes(p, axis, 0.30 * r, 0.97 * r, pathology.osteoarthritis, rng)
        )
    low = p[2] - np.float32(base[2])
    diaphysis = 1.0 - smoothstep(low, -45.0 * s, -12.0 * s)
    calcar = np.exp(-np.square(ball(p, base + s * np.array([-12.0, 0.0, -12.0]), 0.0) / (16.0 * s)))
    cortex = a.cortex_thin + (a.cortex_shaft - a.cortex_thin) * np.maximum(diaphysis, 0.55 * calcar)
    return Femur(
        distance, cortex.astype(np.float32), 1.0 - smoothstep(low, -40.0 * s, 5.0 * s), axis, base
    )


def osteophytes(
    p: np.ndarray,
    axis: np.ndarray,
    height: float,
    ring: float,
    severity: float,
    rng: np.random.Generator,
) -> list[np.ndarray]:
    """Bony spurs on a ring of radius ``ring`` mm about ``axis``, ``height`` mm below its origin."""
    across = np.cross(axis, [0.0, 1.0, 0.0])
    across /= np.linalg.norm(across)
    other, spurs = np.cross(axis, across), []
    for angle in rng.uniform(0, 2 * np.pi, 4 + int(5 * severity)):
        place = -height * axis + ring * (np.cos(angle) * across + np.sin(angle) * other)
        spurs.append(ball(p, place, rng.uniform(2.0, 2.5 + 2.5 * severity)))
    return spurs


class Cup(NamedTuple):
    """centre (3,) mm, radius of the bony cavity mm, normal of the opening (3,), depth: the opening
    plane is normal . (p - centre) = depth.
    """

    centre: np.ndarray
    radius: float
    normal: np.ndarray
    depth: float


def cup_of(a: Anatomy, pathology: Pathology) -> Cup:
    """The acetabulum from the centre-edge angle (Wiberg 1939), inclination and anteversion of its
    opening.

    The head rides up and outwards with osteoarthritis and dysplasia: the cavity, not the head, is
    moved.
    """
    incline, turn, edge = np.radians([a.cup_inclination, a.cup_anteversion, a.centre_edge_angle])
    normal = np.array(
        [np.sin(incline) * np.cos(turn), np.sin(incline) * np.sin(turn), -np.cos(incline)]
    )
    radius = a.head_radius + a.joint_space
    up_and_out = np.array([0.35, 0.0, 0.94])
    centre = -up_and_out * (
        0.5 * a.joint_space * pathology.osteoarthritis + 4.0 * pathology.dysplasia
    )
    radius += 0.6 * float(np.linalg.norm(centre)) if pathology.dysplasia else 0.0
    rim = (
        radius * np.array([np.sin(edge), 0.0, np.cos(edge)]) - centre
    )  # seen from the head, in the frontal plane
    return Cup(centre, radius, normal, float(rim @ normal))


def hip_bone(
    p: np.ndarray,
    a: Anatomy,
    pathology: Pathology,
    femur_distance: np.ndarray,
    rng: np.random.Generator,
) -> tuple[np.ndarray, Cup]:
    """Acetabulum with fossa and notch, ilium, ischium, pubis; the signed distance (X, Y, Z) in mm
    and the cup.
    """
    cup, s = cup_of(a, pathology), a.head_radius / 24.0
    q = (p - np.asarray(cup.centre, np.float32).reshape(3, 1, 1, 1)) / np.float32(
        s
    )  # sizes below are for a head of 24 mm
    outer = cup.radius / s + 7.0
    shell = np.maximum(
        ball(q, (-1.5, 0, 1.5), outer), along(q, cup.normal) - np.float32(cup.depth / s)
    )
    wing = rotation(2, -40.0) @ rotation(1, 14.0)
    ilium = join(
        10.0,
        ellipsoid(q, (-9, -4, 36), (13, 21, 24)),
        plate(q, (-6, -14, 82), wing.T, (7.0, 46.0, 52.0), 6.0),
        limb(q, (-2, 8, 44), (10, 25, 36), 9.0, 6.0),
    )
    posterior = join(
        10.0,
        limb(q, (-16, -22, 14), (-15, -32, -34), 12.0, 11.0),
        ellipsoid(q, (-17, -36, -56), (13, 14, 17)),
        limb(q, (-24, -28, 2), (-43, -40, -2), 8.0, 3.0),
        limb(q, (-22, -24, 24), (-34, -52, 52), 12.0, 13.0),
    )
    pubis = join(
        8.0,
        limb(q, (-20, 17, -8), (-70, 32, -26), 10.5, 8.0),
        ellipsoid(q, (-80, 29, -36), (13, 9, 18)),
    )
    ramus = limb(q, (-23, -32, -64), (-70, 22, -52), 7.0, 6.0)
    distance = join(9.0, shell, ilium, posterior, pubis, ramus) * np.float32(s)
    if pathology.osteoarthritis > 0:
        rim = np.sqrt(max(cup.radius**2 - cup.depth**2, 1.0))
        distance = join(
            2.5,
            distance,
            *osteophytes(p, -cup.normal, cup.depth, rim + 3.0, pathology.osteoarthritis, rng),
        )
    fossa = limb(
        q * np.float32(s),
        np.array([-0.60, -0.10, -0.32]) * cup.radius,
        np.array([-0.35, 0.02, -0.95]) * cup.radius,
        0.52 * cup.radius,
    )
    cavity = np.minimum(ball(p, cup.centre, cup.radius), fossa)
    # No part of the pelvis comes closer to the femur than the joint space.
    return carve(carve(distance, cavity), femur_distance - np.float32(a.joint_space)), cup
