"""Femur and hip bone as signed distance fields, the same for a left and a right hip.

Frame: origin at the centre of the femoral head, axes lateral, anterior, superior (mm).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ssltut.synthetic.anatomy import Anatomy, Pathology, Rng
from ssltut.synthetic.shapes import (
    Distance,
    Points,
    along,
    ball,
    capsule,
    column,
    ellipsoid,
    rotation,
    rounded_box,
    smooth_union,
    subtract,
    turned,
)

Parts = Callable[[Points, Rng], list[Distance]]


class Femur(NamedTuple):
    """Shape of a femur and what its inside is made of."""

    distance: Distance
    cortex: np.ndarray  # (X, Y, Z), thickness in mm
    canal: np.ndarray  # (X, Y, Z), share of marrow of the shaft in a voxel
    neck_axis: np.ndarray  # (3,), unit vector from the shaft to the head
    base: np.ndarray  # (3,), mm, where the neck meets the axis of the shaft


class Cup(NamedTuple):
    """The bony cavity of the acetabulum; its opening is the plane normal . (p - centre) = depth."""

    centre: np.ndarray  # (3,), mm
    radius: float
    normal: np.ndarray  # (3,), a unit vector
    depth: float


class Hip(NamedTuple):
    """The femur, the signed distance (X, Y, Z) of the hip bone in mm, and its cup."""

    femur: Femur
    pelvis: Distance
    cup: Cup


def smoothstep(x: np.ndarray, low: float, high: float) -> np.ndarray:
    t = np.clip((x - np.float32(low)) / np.float32(high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def turn_leg(p: Points, a: Anatomy) -> Points:
    """Points as the femur sees them, which is turned about its head."""
    return turned(p, rotation(0, -a.hip_flexion), rotation(2, a.hip_rotation))


def neck_axis(anatomy: Anatomy) -> np.ndarray:
    """Unit vector (3,) from the base of the neck to the head; the shaft runs down."""
    angle, turn = np.radians(anatomy.neck_shaft_angle), np.radians(anatomy.anteversion)
    return np.array([-np.sin(angle) * np.cos(turn), np.sin(angle) * np.sin(turn), -np.cos(angle)])


def femur(p: Points, a: Anatomy, pathology: Pathology, rng: Rng) -> Femur:
    """Head with fovea, neck, both trochanters, shaft."""
    r, axis = a.head_radius, neck_axis(a)
    s, base = r / 24.0, -a.neck_length * r * axis
    fovea = ball(p, np.array([-0.93, -0.2, -0.3]) * (r + 3.0), 6.0)
    head = subtract(ball(p, (0, 0, 0), r), fovea)
    neck = capsule(p, -0.45 * r * axis, base, 0.64 * r, 0.74 * r)
    top, bottom = base + np.array([0, 0, -8.0]), base + np.array([-10.0, 2.0, -190.0])
    shaft = capsule(p, top, bottom, a.shaft_radius * 1.15, a.shaft_radius)

    def lump(centre: tuple[float, ...], radii: tuple[float, ...]) -> Distance:
        return ellipsoid(p, base + s * np.array(centre), s * np.array(radii))

    tip = lump((6.0, -16.0, 20.0), (8.0, 8.0, 13.0))
    greater = smooth_union(6.0, lump((13.0, -5.0, 10.0), (12.0, 18.0, 22.0)), tip)
    lesser = lump((-11.0, -13.0, -27.0), (8.5, 8.0, 12.0))
    above, below = base + s * np.array([4.0, -17.0, 8.0]), base + s * np.array([-7.0, -15.0, -22.0])
    crest = capsule(p, above, below, 6.0 * s, 5.0 * s)
    bone = smooth_union(10.0 * s, smooth_union(7.0 * s, neck, shaft, greater), crest, lesser)
    distance = smooth_union(4.0 * s, head, bone)
    if pathology.osteoarthritis > 0:
        spurs = osteophytes(p, axis, 0.30 * r, 0.97 * r, pathology.osteoarthritis, rng)
        distance = smooth_union(2.5, distance, *spurs)
    height = p[2] - np.float32(base[2])
    diaphysis = 1.0 - smoothstep(height, -45.0 * s, -12.0 * s)
    calcar = np.exp(-np.square(ball(p, base + s * np.array([-12.0, 0.0, -12.0]), 0.0) / (16.0 * s)))
    cortex = a.cortex_thin + (a.cortex_shaft - a.cortex_thin) * np.maximum(diaphysis, 0.55 * calcar)
    canal = 1.0 - smoothstep(height, -40.0 * s, 5.0 * s)
    return Femur(distance, cortex.astype(np.float32), canal, axis, base)


def osteophytes(
    p: Points, axis: np.ndarray, height: float, ring: float, severity: float, rng: Rng
) -> list[Distance]:
    """Bony spurs on a ring of radius ``ring`` mm about ``axis``, ``height`` mm below its origin."""
    across = np.cross(axis, [0.0, 1.0, 0.0])
    across /= np.linalg.norm(across)
    other, spurs = np.cross(axis, across), []
    for angle in rng.uniform(0, 2 * np.pi, 4 + int(5 * severity)):
        centre = -height * axis + ring * (np.cos(angle) * across + np.sin(angle) * other)
        spurs.append(ball(p, centre, rng.uniform(2.0, 2.5 + 2.5 * severity)))
    return spurs


def cup_of(a: Anatomy, pathology: Pathology) -> Cup:
    """The acetabulum from the centre-edge angle (Wiberg 1939) and the turns of its opening."""
    incline, turn, edge = np.radians([a.cup_inclination, a.cup_anteversion, a.centre_edge_angle])
    across = np.sin(incline)
    normal = np.array([across * np.cos(turn), across * np.sin(turn), -np.cos(incline)])
    radius = a.head_radius + a.joint_space
    shift = 0.5 * a.joint_space * pathology.osteoarthritis + 4.0 * pathology.dysplasia
    centre = -np.array([0.35, 0.0, 0.94]) * shift
    if pathology.dysplasia:
        radius += 0.6 * float(np.linalg.norm(centre))
    # The rim as seen from the head, in the frontal plane.
    rim = radius * np.array([np.sin(edge), 0.0, np.cos(edge)]) - centre
    return Cup(centre, radius, normal, float(rim @ normal))


def hip_parts(q: Points, rng: Rng) -> list[Distance]:
    """Lower ilium, ischium and pubis as a scan of one hip shows them."""
    wing = rotation(2, -40.0) @ rotation(1, 14.0)
    ilium = smooth_union(
        10.0,
        ellipsoid(q, (-9, -4, 36), (13, 21, 24)),
        rounded_box(q, (-6, -14, 82), wing.T, (7.0, 46.0, 52.0), 6.0),
        capsule(q, (-2, 8, 44), (10, 25, 36), 9.0, 6.0),
    )
    posterior = smooth_union(
        10.0,
        capsule(q, (-16, -22, 14), (-15, -32, -34), 12.0, 11.0),
        ellipsoid(q, (-17, -36, -56), (13, 14, 17)),
        capsule(q, (-24, -28, 2), (-43, -40, -2), 8.0, 3.0),
        capsule(q, (-22, -24, 24), (-34, -52, 52), 12.0, 13.0),
    )
    body = ellipsoid(q, (-80, 29, -36), (13, 9, 18))
    pubis = smooth_union(8.0, capsule(q, (-20, 17, -8), (-70, 32, -26), 10.5, 8.0), body)
    return [ilium, posterior, pubis, capsule(q, (-23, -32, -64), (-70, 22, -52), 7.0, 6.0)]


def hip_bone(
    p: Points, a: Anatomy, pathology: Pathology, femur: Distance, rng: Rng, parts: Parts = hip_parts
) -> tuple[Distance, Cup]:
    """The acetabulum with fossa and notch, and ``parts`` beside it, as signed distance and cup.

    ``parts`` sees points from the centre of the cup for a head radius of 24 mm. No part of the bone
    comes closer to the femur than the joint space.
    """
    cup, s = cup_of(a, pathology), a.head_radius / 24.0
    q = (p - column(cup.centre)) / np.float32(s)
    outer = ball(q, (-1.5, 0, 1.5), cup.radius / s + 7.0)
    shell = np.maximum(outer, along(q, cup.normal) - np.float32(cup.depth / s))
    bone = smooth_union(9.0, shell, *parts(q, rng)) * np.float32(s)
    if pathology.osteoarthritis > 0:
        rim = np.sqrt(max(cup.radius**2 - cup.depth**2, 1.0))
        spurs = osteophytes(p, -cup.normal, cup.depth, rim + 3.0, pathology.osteoarthritis, rng)
        bone = smooth_union(2.5, bone, *spurs)
    upper, lower = np.array([-0.60, -0.10, -0.32]), np.array([-0.35, 0.02, -0.95])
    fossa = capsule(q * np.float32(s), upper * cup.radius, lower * cup.radius, 0.52 * cup.radius)
    bone = subtract(bone, np.minimum(ball(p, cup.centre, cup.radius), fossa))
    return subtract(bone, femur - np.float32(a.joint_space)), cup
