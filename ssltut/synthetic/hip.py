"""The synthetic hip CT. Change VERSION when the same seed gives other voxels."""

from collections.abc import Mapping
from dataclasses import astuple
from typing import Any

import numpy as np
from nibabel.affines import from_matvec

from ssltut.data.case import Case
from ssltut.errors import ConfigError
from ssltut.seeding import rng_for
from ssltut.synthetic.anatomy import Anatomy, Pathology, Scanner, draw, draw_pathology, meta_of
from ssltut.synthetic.bones import Hip, femur, hip_bone, turn_leg
from ssltut.synthetic.scanner import add_metal, simulate_scanner
from ssltut.synthetic.shapes import column, occupancy, rotation, turned, voxel_centres
from ssltut.synthetic.tissues import add_hip, implant, soft_tissue

VERSION = 1
STREAMS = ("anatomy", "pathology", "scanner", "bones", "tissue", "noise", "pose")
FIELD_OF_VIEW = 160.0  # mm
CENTRE = np.array([4.0, -14.0, -6.0])  # of the field from the head: lateral, anterior, superior, mm


def make_case(
    seed: int,
    *,
    size: int = 64,
    spacing: float | None = None,
    anatomy: Anatomy | Mapping[str, Any] | None = None,
    pathology: Pathology | None = None,
    scanner: Scanner | Mapping[str, Any] | None = None,
    pathology_rate: float = 0.5,
    case_id: str | None = None,
) -> Case:
    """One synthetic hip CT of size^3 voxels; the same bits for the same arguments.

    The image is int16 HU, the label 0 background, 1 hip bone, 2 femur. ``meta`` holds all
    parameters (anatomy as drawn, before illness changes it) and ``difficulty``.

    spacing           voxel size in mm; default: 160 mm / size
    anatomy, scanner  given whole, or a mapping of the parameters to set; others are drawn (RANGES)
    pathology         given, or drawn: one illness with probability ``pathology_rate``
    Raises ConfigError for a size below 16 voxels.
    """
    if size < 16:
        raise ConfigError(f"a scan of {size} voxels a side", fix="ask for at least 16")
    streams = {name: rng_for(seed, name) for name in STREAMS}
    anatomy = draw(Anatomy, streams["anatomy"], anatomy)
    scanner = draw(Scanner, streams["scanner"], scanner)
    pathology = pathology or draw_pathology(streams["pathology"], pathology_rate)
    a = pathology.applied_to(anatomy)
    voxel = FIELD_OF_VIEW / size if spacing is None else float(spacing)

    points = voxel_centres((size, size, size), voxel)
    points[0] *= 1.0 if a.side == "right" else -1.0  # RAS+: the first axis grows to the right
    points += column(CENTRE + streams["pose"].uniform(-5.0, 5.0, 3))
    p = turned(points, rotation(0, a.body_tilt), rotation(2, 0.5 * a.body_tilt))
    leg = turn_leg(p, a)

    thigh = femur(leg, a, pathology, streams["bones"])
    hip = Hip(thigh, *hip_bone(p, a, pathology, thigh.distance, streams["bones"]))
    canvas, _ = soft_tissue(p, a, voxel, streams["tissue"])
    add_hip(p, hip, a, pathology, canvas, streams["tissue"])
    if pathology.implant:
        add_metal(canvas, occupancy(implant(leg, thigh, a), voxel), streams["noise"])
    image = simulate_scanner(canvas, scanner, streams["noise"])
    label = np.where(thigh.distance < 0, 2, np.where(hip.pelvis < 0, 1, 0)).astype(np.uint8)
    score = difficulty(a, pathology, scanner, voxel)
    meta = {"difficulty": score, **meta_of(anatomy, pathology, scanner, seed)}
    case_id = case_id or f"hip-{seed}"
    affine = from_matvec(voxel * np.eye(3), -(size - 1) / 2 * voxel)
    return Case(case_id, case_id, image, label, affine, meta)


def difficulty(a: Anatomy, pathology: Pathology, scanner: Scanner, voxel: float) -> float:
    """How hard the scan should be to segment, 0 to 1: a score of our own."""
    narrow = np.clip(1.5 - a.joint_space / max(voxel, 1.0), 0.0, 1.0)
    faint = np.clip(4.0 * scanner.noise / max(a.trabecular_hu - a.muscle_hu, 20.0), 0.0, 1.0)
    thin = np.clip(1.0 - a.cortex_thin / (voxel + scanner.fwhm_plane), 0.0, 1.0)
    ill = float(max(astuple(pathology)))
    return float(round(0.3 * narrow + 0.2 * faint + 0.15 * thin + 0.35 * ill, 3))
