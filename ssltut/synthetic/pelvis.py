"""A whole synthetic pelvis with what confuses a network on real scans, and an end anywhere.

Both sides are one anatomy, folded at the midline. Frame as in bones.py: origin at the centre of the
right femoral head, mm.
"""

from contextlib import suppress
from dataclasses import replace
from functools import partial

import numpy as np
from nibabel.affines import from_matvec

from ssltut.data.case import Case
from ssltut.data.cohort import Cohort, Source
from ssltut.data.crop_hips import crop_hips
from ssltut.data.labels import HIP
from ssltut.data.split import Split
from ssltut.errors import ConfigError, DataError
from ssltut.files import cache_dir
from ssltut.seeding import derive_seed, rng_for
from ssltut.synthetic.anatomy import Anatomy, Pathology, Rng, Scanner, draw, draw_pathology, meta_of
from ssltut.synthetic.bones import Hip, femur, turn_leg
from ssltut.synthetic.cohorts import cached_case
from ssltut.synthetic.pelvis_abdomen import add_abdomen, add_distractor
from ssltut.synthetic.pelvis_bones import add_skeleton, whole_hip_bone
from ssltut.synthetic.scanner import add_metal, simulate_scanner
from ssltut.synthetic.shapes import (
    Distance,
    Points,
    along,
    column,
    occupancy,
    rotation,
    turned,
    voxel_centres,
)
from ssltut.synthetic.tissues import MIDLINE, Canvas, add_hip, implant, soft_tissue

VERSION = 8
STREAMS = ("anatomy", "place", "bones", "tissue", "noise", "more")
FIELD = (336.0, 336.0, 192.0)  # mm
HALF_DEPTH = (90.0, 145.0)  # of the body without its fat, mm at a head radius of 24 mm
BOTTOM = (-115.0, -18.0)  # mm from the heads, of the lowest slice: some scans end at the symphysis
MIN_HU = -80.0  # inside a bone
CORTEX_MM = (0.1, 1.2)  # around spongy bone
CORTEX_SD = 0.5  # of the logarithm within a bone: on CT the cortex is thick here and gone there
# Share of its cortex that a head keeps where it meets the socket: in many CT the plate of the
# socket is the only bright line there.
CORTEX_AT_SOCKET = (0.0, 1.0)
# Voxels by which labels go beyond a bone: references of real CT take in what it fills in part.
MARGIN = 0.45
# Share of scans with metal whatever else is ill: few real ones, but without it a model fails there.
METAL_RATE = 0.2
ABDOMEN_RATE = 0.35  # share of scans that begin above the joints
ABDOMEN_BOTTOM = (20.0, 100.0)  # mm from the heads, where those begin
# What is left of the pelves in turn: users often have one hip, with near edges and little air.
CROPS = ("whole", "whole", "left", "whole", "whole", "right")


def make_pelvis(
    seed: int,
    *,
    spacing: float = 3.0,
    field: tuple[float, float, float] = FIELD,
    pathology: Pathology | None = None,
    confusers: float = 0.7,
    pathology_rate: float = 0.5,
    case_id: str | None = None,
) -> Case:
    """One synthetic CT of the pelvis; the same bits for the same arguments.

    The image is int16 HU, the label 0 background, 1 hip bones, 2 femurs, and ``MARGIN`` around.

    spacing    voxel size in mm;  field  extent in mm along right, anterior, superior
    pathology  given, or one illness with probability ``pathology_rate``, and metal as well in a
               share of ``METAL_RATE``; it lies in one femur only
    confusers  share, 0 to 1, of what else may be in the scan (0: soft tissue, hips and femurs only)
    Raises ConfigError for a field that is not square or under 16 voxels a side, and a wrong share.
    """
    size = [round(extent / spacing) for extent in field]
    check_field(size, confusers)
    streams = {name: rng_for(seed, "pelvis", name) for name in STREAMS}
    place, bones, more = streams["place"], streams["bones"], streams["more"]
    drawn = draw(Anatomy, streams["anatomy"])
    scanner = draw(Scanner, streams["noise"])
    if pathology is None:
        ill = draw_pathology(streams["anatomy"], pathology_rate)
        pathology = replace(ill, implant=True) if more.random() < METAL_RATE else ill
    a = replace(pathology.applied_to(drawn), cortex_thin=place.uniform(*CORTEX_MM))
    centre = field_centre(field[2], confusers, place, more)
    grid = voxel_centres(size, spacing)
    whole = tilt(grid + column(centre), a, place)
    p = np.stack([MIDLINE + np.abs(whole[0] - MIDLINE), *whole[1:]])
    leg = turn_leg(p, a)

    thigh = femur(leg, a, pathology, bones)
    pelvis, cup = whole_hip_bone(p, a, pathology, thigh.distance, bones)
    at_socket = socket_factor(pelvis, more.uniform(*CORTEX_AT_SOCKET))
    hip = Hip(thigh._replace(cortex=thigh.cortex * at_socket), pelvis, cup)
    canvas, fascia = soft_tissue(p, a, spacing, streams["tissue"], place.uniform(*HALF_DEPTH))
    add_abdomen(p, fascia, pelvis, a.muscle_hu, canvas, more)
    for _ in range(int(more.poisson(8 * confusers))):
        add_distractor(whole, canvas, more)
    if confusers:
        add_skeleton(p, pelvis, a, canvas, bones, streams["tissue"])
    patchy = np.exp(CORTEX_SD * canvas.texture(9.0, more))
    add_hip(p, hip, a, pathology, canvas, streams["tissue"], patchy)
    vary_density(p, hip, a, canvas, more)
    if pathology.implant:
        side = 1.0 if a.side == "right" else -1.0
        share = occupancy(implant(leg, thigh, a), spacing) * (side * (whole[0] - MIDLINE) > 0)
        add_metal(canvas, share, streams["noise"])
    image = simulate_scanner(canvas, scanner, streams["noise"])
    is_bone = np.minimum(thigh.distance, pelvis) < MARGIN * spacing
    label = np.where(is_bone, np.where(thigh.distance < pelvis, 2, 1), 0).astype(np.uint8)
    meta = {**meta_of(drawn, pathology, scanner, seed), "side": "both"}
    case_id = case_id or f"pelvis-{seed}"
    affine = from_matvec(spacing * np.eye(3), grid[:, 0, 0, 0])
    return Case(case_id, case_id, image, label, affine, meta)


def check_field(size: list[int], confusers: float) -> None:
    if size[0] != size[1] or min(size) < 16:
        fix = "make the first two sides equal and all at least 16"
        raise ConfigError(f"a field of {' x '.join(map(str, size))} voxels", fix=fix)
    if not 0.0 <= confusers <= 1.0:
        raise ConfigError(f"a share of {confusers}", fix="give a number from 0 to 1")


def field_centre(height: float, confusers: float, place: Rng, more: Rng) -> np.ndarray:
    """The centre (3,) of a field ``height`` mm high, mm from the head."""
    across, depth = MIDLINE + place.uniform(-25, 25), place.uniform(-25, 15)
    bottom = place.uniform(*BOTTOM)
    if more.random() < ABDOMEN_RATE * confusers:
        bottom = more.uniform(*ABDOMEN_BOTTOM)
    return np.array([across, depth, bottom + height / 2])


def tilt(points: Points, a: Anatomy, place: Rng) -> Points:
    """Points (3, X, Y, Z) turned about the midline, as a patient lies in the scanner."""
    forward, sideways = a.body_tilt + place.uniform(-8, 8), place.uniform(-4, 4)
    pivot = column([MIDLINE, 0.0, 0.0])
    turns = rotation(0, forward), rotation(2, 0.5 * a.body_tilt), rotation(1, sideways)
    return turned(points - pivot, *turns) + pivot


def socket_factor(pelvis: Distance, share: float) -> np.ndarray:
    """Factor of a femur's cortex: ``share`` within 6 mm of the hip bone, 1 from 12 mm on."""
    return np.interp(pelvis, (6.0, 12.0), (share, 1.0)).astype(np.float32)


def vary_density(p: Points, hip: Hip, a: Anatomy, canvas: Canvas, rng: Rng) -> None:
    """The two bones differ in density; the roof of the joint carries the load and is densest."""
    for bone in (hip.femur.distance, hip.pelvis):
        # Down to marrow that is fat: the trochanter of many old patients.
        mean = np.float32(rng.uniform(-330.0, 130.0))
        changed = canvas.hu + (mean + 110.0 * canvas.texture(14.0, rng))
        canvas.fill(bone + np.float32(a.cortex_thin), np.maximum(changed, MIN_HU))
    radius = np.sqrt(np.square(p).sum(0))
    above = np.clip(along(p, (0.2, 0, 0.98)) / np.maximum(radius, 1.0), 0, 1)
    density = np.float32(rng.uniform(0.0, 550.0))
    width = np.float32(rng.uniform(1.5, 10.0))  # mm: from a plate to half the roof
    depth = (radius - a.head_radius - a.joint_space - 1.5) / width
    roof = density * above * np.exp(-np.square(depth))
    canvas.hu += roof * occupancy(hip.pelvis, canvas.voxel)


def pelvis_cohort(
    n: int = 40,
    *,
    seed: int = 0,
    spacing: float = 3.0,
    validation: int = 3,
    pathology_rate: float = 0.6,
) -> Cohort:
    """``n`` synthetic CTs of pelves with confusers, for models that shall meet real scans.

    All are labelled but the ``validation`` held out; every third is cut down to one of its hips
    (CROPS). Bit-reproducible from ``seed``. Raises ConfigError when no scan is left to train on.
    """
    if not 1 <= validation < n:
        raise ConfigError(f"{n} scans with {validation} for validation", fix="raise n")
    folder = cache_dir() / "pelvis" / f"v{VERSION}-{spacing:g}-{seed}-{pathology_rate:g}-cut"
    sources = {}
    for i in range(n):
        file, case_seed = folder / f"pelvis{i:03d}.npz", derive_seed(seed, i)
        crop = CROPS[i % len(CROPS)]
        make = partial(cropped_pelvis, case_seed, spacing, pathology_rate, crop, file.stem)
        content = f"pelvis v{VERSION} {spacing} {pathology_rate} {case_seed} {crop}"
        sources[file.stem] = Source(file.stem, True, content, partial(cached_case, file, make))
    ids = tuple(sources)
    split = Split(ids[validation:], (), ids[:validation], ())
    name = f"synthetic pelves v{VERSION} (seed {seed}, {spacing:g} mm)"
    return Cohort(name, HIP, "CT", split, sources, spacing)


def cropped_pelvis(seed: int, spacing: float, rate: float, crop: str, case_id: str) -> Case:
    """A pelvis, or one of its hips; one that ends above a femur stays whole."""
    case = make_pelvis(seed, spacing=spacing, pathology_rate=rate, case_id=case_id)
    if crop != "whole":
        with suppress(DataError):
            case = replace(crop_hips(case)[crop], id=case_id, patient=case_id)
    return case
