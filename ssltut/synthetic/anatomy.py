"""Every parameter of the synthetic CT with its unit, range and source; each can be set or drawn."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple, TypeVar

import numpy as np

from ssltut.errors import ConfigError

NOBLE = "Noble et al. 1988, Clin Orthop 235:148"
MURRAY = "Murray 1993, J Bone Joint Surg Br 75:228 (definition)"
TREECE = "Treece et al. 2010, Med Image Anal 14:276"
OWN = "our choice, by eye on clinical CT"
ILLNESSES = ("osteoarthritis", "dysplasia", "osteoporosis")


class ParameterRange(NamedTuple):
    """A parameter is drawn uniformly from low ... high (in ``unit``)."""

    low: float
    high: float
    unit: str
    source: str


RANGES: dict[str, ParameterRange] = {
    "head_radius": ParameterRange(20.0, 27.0, "mm", NOBLE),
    "neck_shaft_angle": ParameterRange(120.0, 140.0, "deg", "Gilligan et al. 2013, J Anat 223:133"),
    "anteversion": ParameterRange(
        5.0, 25.0, "deg", "Tönnis and Heinecke 1999, J Bone Joint Surg Am 81:1747"
    ),
    "neck_length": ParameterRange(
        2.0, 2.35, "head radii", NOBLE + " (head centre to shaft axis, from the offset)"
    ),
    "shaft_radius": ParameterRange(12.5, 16.0, "mm", NOBLE),
    "centre_edge_angle": ParameterRange(
        20.0, 45.0, "deg", "Wiberg 1939, Acta Chir Scand 83 Suppl 58"
    ),
    "cup_inclination": ParameterRange(42.0, 52.0, "deg", MURRAY),
    "cup_anteversion": ParameterRange(10.0, 25.0, "deg", MURRAY),
    "joint_space": ParameterRange(2.0, 5.0, "mm", "Lequesne et al. 2004, Ann Rheum Dis 63:1145"),
    "cortex_shaft": ParameterRange(4.0, 6.0, "mm", TREECE),
    "cortex_thin": ParameterRange(1.0, 2.2, "mm", TREECE + " (head, trochanters, pelvis)"),
    "cortex_hu": ParameterRange(1100.0, 1600.0, "HU", OWN),
    "trabecular_hu": ParameterRange(
        180.0, 380.0, "HU", "Schreiber et al. 2011, J Bone Joint Surg Am 93:1057, and " + OWN
    ),
    "marrow_hu": ParameterRange(-70.0, 20.0, "HU", OWN),
    "fat_thickness": ParameterRange(8.0, 28.0, "mm", OWN),
    "muscle_hu": ParameterRange(45.0, 65.0, "HU", OWN),
    "vessel_hu": ParameterRange(45.0, 220.0, "HU", OWN + " (without and with contrast medium)"),
    "body_tilt": ParameterRange(-5.0, 5.0, "deg", OWN),
    "hip_flexion": ParameterRange(-6.0, 8.0, "deg", OWN),
    "hip_rotation": ParameterRange(-10.0, 10.0, "deg", OWN),
    "fwhm_plane": ParameterRange(0.8, 1.6, "mm", OWN),
    "fwhm_z": ParameterRange(1.0, 3.0, "mm", OWN + " (slice thickness)"),
    "noise": ParameterRange(12.0, 45.0, "HU", OWN + " (standard deviation in a voxel)"),
    "hu_shift": ParameterRange(-15.0, 15.0, "HU", OWN + " (between scanners)"),
    "hu_gain": ParameterRange(0.92, 1.08, "", OWN + " (tube voltage: stretches HU above water)"),
}


@dataclass(frozen=True, kw_only=True)
class Anatomy:
    """One patient. Units and ranges: ``RANGES``; ``side`` is "left" or "right"."""

    side: str = "right"
    head_radius: float = 24.0
    neck_shaft_angle: float = 128.0
    anteversion: float = 15.0
    neck_length: float = 2.2
    shaft_radius: float = 14.0
    centre_edge_angle: float = 33.0
    cup_inclination: float = 47.0
    cup_anteversion: float = 17.0
    joint_space: float = 3.5
    cortex_shaft: float = 5.0
    cortex_thin: float = 1.6
    cortex_hu: float = 1350.0
    trabecular_hu: float = 280.0
    marrow_hu: float = -30.0
    fat_thickness: float = 16.0
    muscle_hu: float = 55.0
    vessel_hu: float = 110.0
    body_tilt: float = 0.0
    hip_flexion: float = 0.0
    hip_rotation: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Pathology:
    """What is ill, each from 0 (absent) to 1 (severe); ``implant`` is a nail with a lag screw,
    present or not.

    osteoarthritis  narrow, eccentric joint space, osteophytes, sclerosis, cysts
    dysplasia       small centre-edge angle, steep cup, lateral head, steep neck
    osteoporosis    thin cortex, faint trabecular bone, wide canal
    implant         metal and its streaks; it lies inside the bone, whose label runs through it
    """

    osteoarthritis: float = 0.0
    dysplasia: float = 0.0
    osteoporosis: float = 0.0
    implant: bool = False

    def __post_init__(self) -> None:
        for name in ILLNESSES:
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(
                    f"{name} is {getattr(self, name)}", fix="give a severity from 0 to 1"
                )

    def applied_to(self, anatomy: Anatomy) -> Anatomy:
        """The anatomy with the parameters that illness changes."""
        return replace(
            anatomy,
            joint_space=anatomy.joint_space * (1.0 - 0.8 * self.osteoarthritis),
            centre_edge_angle=anatomy.centre_edge_angle * (1.0 - 0.6 * self.dysplasia),
            cup_inclination=anatomy.cup_inclination + 8.0 * self.dysplasia,
            neck_shaft_angle=anatomy.neck_shaft_angle + 10.0 * self.dysplasia,
            cortex_shaft=anatomy.cortex_shaft * (1.0 - 0.5 * self.osteoporosis),
            cortex_thin=anatomy.cortex_thin * (1.0 - 0.4 * self.osteoporosis),
            trabecular_hu=anatomy.trabecular_hu * (1.0 - 0.65 * self.osteoporosis),
        )


@dataclass(frozen=True, kw_only=True)
class Scanner:
    """Resolution (mm, full width at half maximum), noise, and how its HU differ from another's."""

    fwhm_plane: float = 1.2
    fwhm_z: float = 2.0
    noise: float = 25.0
    hu_shift: float = 0.0
    hu_gain: float = 1.0


Drawn = TypeVar("Drawn", Anatomy, Scanner)


def draw(
    kind: type[Drawn], rng: np.random.Generator, fixed: Mapping[str, Any] | None = None
) -> Drawn:
    """Draw every parameter of ``Anatomy`` or ``Scanner`` from its range; ``fixed`` ones are set.

    Raises ConfigError for an unknown name.
    """
    fixed = dict(fixed or {})
    drawn: dict[str, Any] = {}
    for field in fields(kind):
        if field.name == "side":
            drawn["side"] = rng.choice(["left", "right"]).item()
        else:
            low, high, *_ = RANGES[field.name]
            drawn[field.name] = float(rng.uniform(low, high))
    if unknown := sorted(set(fixed) - set(drawn)):
        raise ConfigError(
            f"{kind.__name__} has no parameter {', '.join(unknown)}",
            fix=f"use one of {', '.join(drawn)}",
        )
    return kind(**drawn | fixed)


def draw_pathology(rng: np.random.Generator, rate: float) -> Pathology:
    """Healthy with probability 1 - ``rate``; else one illness, or metal, of random severity."""
    is_ill = rng.random() < rate
    which = rng.choice(len(ILLNESSES) + 1, p=[0.4, 0.25, 0.2, 0.15])
    severity: Any = float(rng.uniform(0.4, 1.0))
    if not is_ill:
        return Pathology()
    if which == len(ILLNESSES):
        return Pathology(implant=True)
    return replace(Pathology(), **{ILLNESSES[which]: severity})
