"""The synthetic hip CT: signed distance fields with smooth unions, seeded, with exact labels.
Change VERSION when the same seed gives other voxels.
"""

from collections.abc import Mapping
from dataclasses import asdict

import numpy as np

from ssltut.data.case import Case
from ssltut.errors import ConfigError
from ssltut.seeding import derive_seed
from ssltut.synthetic.anatomy import RANGES, Anatomy, Pathology, Scanner, draw, draw_pathology
from ssltut.synthetic.bones import femur, hip_bone
from ssltut.synthetic.scanner import metal_streaks, scanned
from ssltut.synthetic.shapes import column, occupancy, rotation
from ssltut.synthetic.tissues import METAL, bone_tissue, implant, soft_tissue

__all__ = ["RANGES", "VERSION", "Anatomy", "Pathology", "Scanner", "draw", "make_case"]
VERSION = 1
FIELD_OF_VIEW = 160.0  # mm
CENTRE = np.array(
    [4.0, -14.0, -6.0]
)  # of the field of view from the head: lateral, anterior, superior, mm


def make_case(
    seed: int,
    *,
    size: int = 64,
    spacing: float | None = None,
    anatomy: Anatomy | Mapping[str, object] | None = None,
    pathology: Pathology | None = None,
    scanner: Scanner | Mapping[str, object] | None = None,
    pathology_rate: float = 0.5,
    id: str | None = None,
) -> Case:
    """One synthetic hip CT of size^3 voxels, image int16 HU and label 0 background, 1 hip bone, 2
    femur; the same bits for the same arguments.

    spacing           voxel size in mm; default: 160 mm / size
    anatomy, scanner  given whole, or a mapping of the parameters to set, the others drawn from
                      RANGES
    pathology         given, or drawn: one illness with probability ``pathology_rate``
    ``meta`` holds all parameters (anatomy as drawn, before illness changes it) and ``difficulty``.
    Raises ConfigError for a size below 16 voxels.
    """
    if size < 16:
        raise ConfigError(f"a scan of {size} voxels a side", fix="ask for at least 16")
    rngs = {
        name: np.random.default_rng(derive_seed(seed, name))
        for name in ("anatomy", "pathology", "scanner", "bones", "tissue", "noise", "pose")
    }
    drawn = anatomy if isinstance(anatomy, Anatomy) else draw(Anatomy, rngs["anatomy"], anatomy)
    machine = scanner if isinstance(scanner, Scanner) else draw(Scanner, rngs["scanner"], scanner)
    illness = (
        pathology if pathology is not None else draw_pathology(rngs["pathology"], pathology_rate)
    )
    a, voxel = (
        illness.applied_to(drawn),
        FIELD_OF_VIEW / size if spacing is None else float(spacing),
    )
    side = 1.0 if a.side == "right" else -1.0  # RAS+: the first axis grows to the patient's right

    middle = CENTRE + rngs["pose"].uniform(-5.0, 5.0, 3)
    steps = ((np.arange(size) - (size - 1) / 2) * voxel).astype(np.float32)
    ras = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"))
    ras[0] *= side
    p = np.tensordot(
        (rotation(0, a.body_tilt) @ rotation(2, 0.5 * a.body_tilt)).astype(np.float32),
        ras + column(middle),
        1,
    )
    leg = np.tensordot(
        (rotation(0, -a.hip_flexion) @ rotation(2, a.hip_rotation)).astype(np.float32), p, 1
    )  # turned about the head

    thigh = femur(leg, a, illness, rngs["bones"])
    pelvis, cup = hip_bone(p, a, illness, thigh.distance, rngs["bones"])
    hu, _ = soft_tissue(p, a, voxel, rngs["tissue"])
    bone_tissue(p, thigh, pelvis, cup, a, illness, hu, voxel, rngs["tissue"])
    if illness.implant:
        share = occupancy(implant(leg, thigh, a), voxel)
        streaks = metal_streaks(share, np.clip(hu / 1000.0 + 1.0, 0.0, None), voxel, rngs["noise"])
        hu += share * (METAL - hu) + streaks
    label = np.where(thigh.distance < 0, 2, np.where(pelvis < 0, 1, 0)).astype(np.uint8)
    image = scanned(hu, (voxel,) * 3, machine, rngs["noise"])
    affine = np.diag([voxel, voxel, voxel, 1.0])
    affine[:3, 3] = -(size - 1) / 2 * voxel
    meta = {
        "difficulty": difficulty(a, illness, machine, voxel),
        "anatomy": asdict(drawn),
        "pathology": asdict(illness),
        "scanner": asdict(machine),
        "seed": int(seed),
    }
    name = id or f"hip-{seed}"
    return Case(name, name, image, label, affine, meta)


def difficulty(a: Anatomy, illness: Pathology, scanner: Scanner, voxel: float) -> float:
    """How hard the scan should be to segment, 0 ... 1: our score of narrow joint, faint bone in
    noise, thin cortex in the voxel, illness, metal.
    """
    narrow = np.clip(1.5 - a.joint_space / max(voxel, 1.0), 0.0, 1.0)
    faint = np.clip(4.0 * scanner.noise / max(a.trabecular_hu - a.muscle_hu, 20.0), 0.0, 1.0)
    thin = np.clip(1.0 - a.cortex_thin / (voxel + scanner.fwhm_plane), 0.0, 1.0)
    ill = max(
        illness.osteoarthritis, illness.dysplasia, illness.osteoporosis, float(illness.implant)
    )
    return float(round(0.3 * narrow + 0.2 * faint + 0.15 * thin + 0.35 * ill, 3))
