"""A whole synthetic pelvis with what confuses a network on real scans: sacrum, spine, the other
hip, contrast medium, a scan that ends anywhere.

Both sides are one anatomy, folded at the midline. Frame as in bones.py: origin at the centre of the
right femoral head, mm.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np

from ssltut.data.case import Case
from ssltut.errors import ConfigError
from ssltut.seeding import derive_seed
from ssltut.synthetic.anatomy import Anatomy, Pathology, Scanner, draw, draw_pathology
from ssltut.synthetic.belly import belly
from ssltut.synthetic.bones import cup_of, femur, osteophytes
from ssltut.synthetic.scanner import metal_streaks, scanned
from ssltut.synthetic.shapes import (
    along,
    ball,
    carve,
    column,
    ellipsoid,
    join,
    limb,
    occupancy,
    rotation,
)
from ssltut.synthetic.tissues import (
    METAL,
    MIDLINE,
    blend,
    bone_tissue,
    cortical,
    implant,
    soft_tissue,
    texture,
)

VERSION = 8
FIELD = (336.0, 336.0, 192.0)  # mm
BOTTOM = (
    -115.0,
    -18.0,
)  # mm from the heads, where the lowest slice may lie: some scans end at the symphysis
FATTY = -80.0  # HU, the least inside a bone
THIN, PATCHY = (
    (0.1, 1.2),
    0.5,
)  # mm of cortex around spongy bone, and sd of its logarithm within a bone: on CT it is thick here and gone there
PLATE = (
    0.0,
    1.0,
)  # share of its cortex that a head keeps where it meets the socket: in many CT the socket's plate is the only bright line there
MARGIN = 0.45  # voxels by which labels reach beyond a bone's surface: references of real CT take in what bone fills in part
METALLIC = 0.2  # share of scans that hold metal whatever else is ill: few scans do, but a model that has not met it fails on them
ABDOMEN = (0.35, 20.0, 100.0)  # share of scans that begin above the joints, and where


@dataclass(frozen=True, kw_only=True)
class Confusers:
    """What else is in the scan. share: how much of what may be there is (0: soft tissue, hips and
    femurs only; 1: all of it).
    """

    share: float = 0.7

    def __post_init__(self) -> None:
        if not 0.0 <= self.share <= 1.0:
            raise ConfigError(f"a share of {self.share}", fix="give a number from 0 to 1")


def make_pelvis(
    seed: int,
    *,
    spacing: float = 3.0,
    field: tuple[float, float, float] = FIELD,
    pathology: Pathology | None = None,
    anatomy: Mapping[str, object] | None = None,
    confusers: Confusers = Confusers(),
    pathology_rate: float = 0.5,
    id: str | None = None,
) -> Case:
    """One synthetic CT of the pelvis, image int16 HU, label 0 background, 1 hip bones, 2 femurs;
    the same bits for the same arguments.

    Labels reach ``MARGIN`` voxels beyond the surface of a bone, as those of real scans do.

    spacing    voxel size in mm; field, the extent in mm along right, anterior, superior (the first
               two equal)
    pathology  given, or one illness with probability ``pathology_rate``, and metal as well in a
               share of ``METALLIC``; it lies in one femur only
    Raises ConfigError where the field is not square or holds fewer than 16 voxels a side.
    """
    size = [round(extent / spacing) for extent in field]
    if size[0] != size[1] or min(size) < 16:
        raise ConfigError(
            f"a field of {' x '.join(map(str, size))} voxels",
            fix="make the first two sides equal and all at least 16",
        )
    rngs = {
        name: np.random.default_rng(derive_seed(seed, "pelvis", name))
        for name in ("anatomy", "place", "bones", "tissue", "noise", "more")
    }
    drawn, machine = draw(Anatomy, rngs["anatomy"], anatomy), draw(Scanner, rngs["noise"])
    illness = draw_pathology(rngs["anatomy"], pathology_rate) if pathology is None else pathology
    if pathology is None and rngs["more"].random() < METALLIC:
        illness = replace(illness, implant=True)
    place = rngs["place"]
    a = replace(illness.applied_to(drawn), cortex_thin=place.uniform(*THIN))
    middle = np.array(
        [
            MIDLINE + place.uniform(-25, 25),
            place.uniform(-25, 15),
            place.uniform(*BOTTOM) + field[2] / 2,
        ]
    )
    if rngs["more"].random() < ABDOMEN[0] * confusers.share:
        middle[2] = rngs["more"].uniform(*ABDOMEN[1:]) + field[2] / 2
    axes = [((np.arange(n) - (n - 1) / 2) * spacing).astype(np.float32) for n in size]
    ras = np.stack(np.meshgrid(*axes, indexing="ij"))
    turn = (
        rotation(0, a.body_tilt + place.uniform(-8, 8))
        @ rotation(2, 0.5 * a.body_tilt)
        @ rotation(1, place.uniform(-4, 4))
    )
    pivot = column([MIDLINE, 0.0, 0.0])
    whole = np.tensordot(turn.astype(np.float32), ras + column(middle) - pivot, 1) + pivot
    p = whole.copy()
    p[0] = MIDLINE + np.abs(whole[0] - MIDLINE)
    leg = np.tensordot(
        (rotation(0, -a.hip_flexion) @ rotation(2, a.hip_rotation)).astype(np.float32), p, 1
    )

    thigh = femur(leg, a, illness, rngs["bones"])
    pelvis, cup = os_coxae(p, a, illness, thigh.distance, rngs["bones"])
    thigh = thigh._replace(cortex=thigh.cortex * at_socket(pelvis, rngs["more"].uniform(*PLATE)))
    hu, fascia = soft_tissue(p, a, spacing, rngs["tissue"], half_depth=place.uniform(90.0, 145.0))
    belly(p, fascia, pelvis, a, hu, spacing, rngs["more"])
    others = (
        [carve(bone, pelvis - 2.0) for bone in axial_skeleton(p, rngs["bones"])]
        if confusers.share
        else []
    )
    for _ in range(int(rngs["more"].poisson(8 * confusers.share))):
        distract(whole, hu, spacing, rngs["more"])
    for bone in others:
        spongy = 0.75 * a.trabecular_hu + 45.0 * texture(hu.shape, 0.8, rngs["tissue"])
        cortical(hu, bone, np.float32(a.cortex_thin), spongy, a.cortex_hu, spacing)
    patchy = np.exp(PATCHY * texture(hu.shape, 9.0 / spacing, rngs["more"]))
    bone_tissue(p, thigh, pelvis, cup, a, illness, hu, spacing, rngs["tissue"], patchy)
    uneven(p, thigh.distance, pelvis, a, hu, spacing, rngs["more"])
    if illness.implant:
        side = 1.0 if a.side == "right" else -1.0
        share = occupancy(implant(leg, thigh, a), spacing) * (side * (whole[0] - MIDLINE) > 0)
        hu += share * (METAL - hu) + metal_streaks(
            share, np.clip(hu / 1000.0 + 1.0, 0.0, None), spacing, rngs["noise"]
        )
    nearest = np.minimum(thigh.distance, pelvis)
    label = np.where(nearest < MARGIN * spacing, np.where(thigh.distance < pelvis, 2, 1), 0).astype(
        np.uint8
    )
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = [steps[0] for steps in axes]
    meta = {
        "anatomy": asdict(drawn),
        "pathology": asdict(illness),
        "scanner": asdict(machine),
        "seed": int(seed),
        "side": "both",
    }
    name = id or f"pelvis-{seed}"
    return Case(
        name, name, scanned(hu, (spacing,) * 3, machine, rngs["noise"]), label, affine, meta
    )


def os_coxae(
    p: np.ndarray,
    a: Anatomy,
    pathology: Pathology,
    femur_distance: np.ndarray,
    rng: np.random.Generator,
) -> tuple:
    """The hip bone of bones.py with a whole ilium: thick roof, a wing that flares up to the crest,
    and a pubis that ends at the symphysis.
    """
    cup, s = cup_of(a, pathology), a.head_radius / 24.0
    q = (p - column(cup.centre)) / np.float32(s)
    near, shift = (MIDLINE + 14.0) / s, rng.uniform(-5.0, 5.0, (6, 3))
    shell = np.maximum(
        ball(q, (-1.5, 0, 1.5), cup.radius / s + 7.0),
        along(q, cup.normal) - np.float32(cup.depth / s),
    )
    roof = join(
        10.0,
        ellipsoid(q, np.array([-3, -3, 33]) + 0.5 * shift[0], (14, 30, 22)),
        limb(q, (0, 8, 46), (10, 27, 34), 9.0, 6.5),
    )
    behind = join(
        10.0,
        limb(q, (-17, -22, 14), np.array([-19, -36, -34]) + shift[1], 12.0, 11.0),
        ellipsoid(q, np.array([-19, -38, -56]) + shift[1], (12, 14, 17)),
        limb(q, (-24, -28, 2), (-43, -40, -2), 8.0, 3.0),
        limb(q, (-18, -22, 26), np.array([-33, -54, 60]) + shift[2], 12.0, 11.0),
    )
    body = np.array([near, 42, -32]) + np.array([0, *shift[3, 1:]])
    pubis = join(
        8.0,
        limb(q, (-20, 19, -7), body + np.array([8, 2, 8]), 10.5, 8.0),
        ellipsoid(q, body, (13, 9, 18)),
    )
    ramus = limb(q, (-24, -38, -62), body + np.array([4, -6, -16]), 7.0, 6.0)
    distance = join(9.0, shell, join(12.0, roof, wing(q, rng)), behind, pubis, ramus) * np.float32(
        s
    )
    if pathology.osteoarthritis > 0:
        rim = np.sqrt(max(cup.radius**2 - cup.depth**2, 1.0))
        distance = join(
            2.5,
            distance,
            *osteophytes(p, -cup.normal, cup.depth, rim + 3.0, pathology.osteoarthritis, rng),
        )
    reach = cup.radius
    fossa = limb(
        q * np.float32(s),
        np.array([-0.60, -0.10, -0.32]) * reach,
        np.array([-0.35, 0.02, -0.95]) * reach,
        0.52 * reach,
    )
    distance = carve(distance, np.minimum(ball(p, cup.centre, reach), fossa))
    symphysis = np.float32(MIDLINE + rng.uniform(1.5, 3.5)) - p[0]
    return np.maximum(carve(distance, femur_distance - np.float32(a.joint_space)), symphysis), cup


def at_socket(pelvis: np.ndarray, share: float) -> np.ndarray:
    """Factor of a femur's cortex (X, Y, Z): ``share`` within 6 mm of the hip bone, whose signed
    distance is ``pelvis``, 1 from 12 mm on.
    """
    return np.interp(pelvis, (6.0, 12.0), (share, 1.0)).astype(np.float32)


def wing(q: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The iliac wing: a sheet x(y, z) within an oval outline, thin in its middle, thick behind,
    below and along the crest.
    """
    jitter = rng.uniform(-1.0, 1.0, 8)
    y, z = q[1], q[2]
    high = np.clip((z - 70.0) / 65.0, 0.0, 1.3)
    slope = 0.50 + 0.06 * jitter[0] + 0.25 * high**2
    sheet = -3.0 + 4.0 * jitter[1] + slope * y + (22.0 + 8.0 * jitter[2]) * high**1.5
    sheet = sheet + (6.0 + 3.0 * jitter[3]) * np.exp(-np.square((y + 15.0) / 35.0))
    level = np.sqrt(
        np.square((y + 8.0 + 4 * jitter[4]) / (74.0 + 5.0 * jitter[5]))
        + np.square((z - 92.0) / (60.0 + 7.0 * jitter[6]))
    )
    outline = (level - 1.0) * np.float32(62.0)
    half = (
        3.2
        + 0.8 * jitter[7]
        + 5.5 / (1.0 + np.exp((y + 52.0) / 7.0))
        + 3.0 * np.exp(outline / 9.0)
        + 5.0 * np.exp(-np.square((z - 45.0) / 18.0))
    )
    notch = np.hypot(y + 66.0, z - 24.0) - np.float32(27.0)
    flat = np.abs(q[0] - sheet) / np.sqrt(1.0 + slope**2) - half
    return np.maximum(carve(np.maximum(flat, outline), notch), 20.0 - z).astype(np.float32)


def uneven(
    p: np.ndarray,
    thigh: np.ndarray,
    pelvis: np.ndarray,
    a: Anatomy,
    hu: np.ndarray,
    voxel: float,
    rng: np.random.Generator,
) -> None:
    """The two bones differ in density, and the roof of the joint, which carries the load, is the
    densest part of the hip bone.
    """
    for bone in (thigh, pelvis):  # down to marrow that is fat: the trochanter of many old patients
        more = np.float32(rng.uniform(-330.0, 130.0)) + 110.0 * texture(hu.shape, 14.0 / voxel, rng)
        blend(hu, occupancy(bone + np.float32(a.cortex_thin), voxel), np.maximum(hu + more, FATTY))
    far = np.sqrt(np.square(p).sum(0))
    above = np.clip(along(p, (0.2, 0, 0.98)) / np.maximum(far, 1.0), 0, 1)
    dense, width = rng.uniform(0.0, 550.0), rng.uniform(1.5, 10.0)  # from a plate to half the roof
    hu += (
        np.float32(dense)
        * above
        * np.exp(-np.square((far - a.head_radius - a.joint_space - 1.5) / np.float32(width)))
        * occupancy(pelvis, voxel)
    )


def axial_skeleton(p: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """Sacrum with coccyx, and vertebrae with arches, processes and ribs, as signed distances."""
    at, size = MIDLINE, rng.uniform(0.9, 1.1)
    tilt, base = rng.uniform(-6, 6), rng.uniform(98.0, 114.0)
    parts = [
        ellipsoid(
            p,
            (at, -34 - 13 * i - tilt * (i > 1), base - 19 * i),
            (size * (70 - 12 * i), 19 - 2.4 * i, 17 - i),
        )
        for i in range(5)
    ]
    crest = limb(p, (at, -58, base), (at, -102, base - 62), 6.0, 4.0)
    canal = limb(p, (at, -46, base + 14), (at, -86, base - 52), 7.0, 3.0)
    sacrum = carve(join(8.0, *parts, crest), canal)
    for i in range(1, 4):  # the holes of the nerves
        sacrum = carve(
            sacrum,
            limb(
                p,
                (at + 19, -20 - 13 * i, base - 10 - 19 * i),
                (at + 21, -70 - 12 * i, base - 10 - 19 * i),
                3.5,
            ),
        )
    coccyx = limb(p, (at, -88, base - 88), (at, -80, base - 112), 6.0, 3.0)
    spine = []
    for i in range(8):
        z, y, r = base + 33.0 + 36.0 * i, -26.0 + 3.0 * min(i, 3), 23.0 * size
        trunk = np.maximum(
            np.hypot((p[0] - at) / np.float32(1.15), p[1] - np.float32(y)) - np.float32(r),
            np.abs(p[2] - np.float32(z)) - np.float32(13.5),
        )
        arch = join(
            4.0,
            limb(p, (at + 14, y - 14, z + 3), (at + 15, y - 36, z - 2), 5.0),
            limb(p, (at + 15, y - 36, z - 2), (at, y - 48, z - 6), 4.5),
            limb(p, (at + 14, y - 22, z + 2), (at + 44, y - 28, z + 6), 4.0, 3.0),
            limb(p, (at, y - 48, z - 6), (at, y - 68, z - 12), 4.0),
        )
        spine.append(join(3.0, trunk, arch))
    around = (np.hypot((p[0] - at) / 138.0, (p[1] + 4.0) / 98.0) - 1.0) * 105.0
    for i in range(6):  # ribs, which slope down to the front
        spine.append(
            np.hypot(around, p[2] - np.float32(base + 150.0 + 27.0 * i) + 0.35 * (p[1] + 100.0))
            - np.float32(rng.uniform(4.5, 6.5))
        )
    return [np.minimum(sacrum, coccyx), np.minimum.reduce(spine)]


def distract(p: np.ndarray, hu: np.ndarray, voxel: float, rng: np.random.Generator) -> None:
    """Something in the belly or flesh that is no bone of the hip: bright vessel, bowel with
    contrast medium or air, kidney, calcification, rib.
    """
    centre = np.array([MIDLINE, -5.0, 60.0]) + rng.uniform(-1, 1, 3) * [130.0, 55.0, 110.0]
    kind = rng.choice(5, p=[0.2, 0.3, 0.2, 0.15, 0.15])
    if kind == 0:
        shape, value = (
            limb(p, centre, centre + rng.normal(0, 45, 3), rng.uniform(2, 8)),
            rng.uniform(90, 350),
        )
    elif kind == 1:
        shape, value = (
            ellipsoid(p, centre, rng.uniform(10, 28, 3)),
            rng.choice([rng.uniform(-60, 60), rng.uniform(100, 500), -900.0]),
        )
    elif kind == 2:
        shape, value = ellipsoid(p, centre, rng.uniform(18, 42, 3)), rng.uniform(20, 250)
    elif kind == 3:
        shape, value = ball(p, centre, rng.uniform(1.5, 5)), rng.uniform(200, 1200)
    else:
        shape, value = (
            np.abs(limb(p, centre, centre + rng.normal(0, 50, 3), rng.uniform(4, 7))) - 1.5,
            rng.uniform(300, 1000),
        )
    inside = occupancy(shape, voxel) * (hu > -300)
    blend(hu, inside, value + 15.0 * texture(hu.shape, 1.0, rng))
