"""Every parameter of the synthetic CT with its unit, range and source; each can be set or drawn."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, NamedTuple, TypeVar

import numpy as np

from ssltut.errors import ConfigError

NOBLE = "Noble et al. 1988, Clin Orthop 235:148"
MURRAY = "Murray 1993, J Bone Joint Surg Br 75:228 (definition)"
TREECE = "Treece et al. 2010, Med Image Anal 14:276"
GILLIGAN = "Gilligan et al. 2013, J Anat 223:133"
TOENNIS = "Tönnis and Heinecke 1999, J Bone Joint Surg Am 81:1747"
WIBERG = "Wiberg 1939, Acta Chir Scand 83 Suppl 58"
SCHREIBER = "Schreiber et al. 2011, J Bone Joint Surg Am 93:1057"
OWN = "our choice, by eye on clinical CT"
FROM_OFFSET = "head centre to shaft axis, from the offset"
Rng = np.random.Generator
ILLNESSES = ("osteoarthritis", "dysplasia", "osteoporosis")


class ParameterRange(NamedTuple):
    """A parameter is drawn uniformly from low ... high (in ``unit``)."""

    low: float
    high: float
    unit: str
    source: str


def ranged(default: float, *about: Any) -> Any:
    """A parameter with its ``ParameterRange``."""
    return field(default=default, metadata={"range": ParameterRange(*about)})


@dataclass(frozen=True, kw_only=True)
class Anatomy:
    """One patient. Units and ranges: ``RANGES``; ``side`` is "left" or "right"."""

    side: str = "right"
    head_radius: float = ranged(24.0, 20.0, 27.0, "mm", NOBLE)
    neck_shaft_angle: float = ranged(128.0, 120.0, 140.0, "deg", GILLIGAN)
    anteversion: float = ranged(15.0, 5.0, 25.0, "deg", TOENNIS)
    neck_length: float = ranged(2.2, 2.0, 2.35, "head radii", f"{NOBLE} ({FROM_OFFSET})")
    shaft_radius: float = ranged(14.0, 12.5, 16.0, "mm", NOBLE)
    centre_edge_angle: float = ranged(33.0, 20.0, 45.0, "deg", WIBERG)
    cup_inclination: float = ranged(47.0, 42.0, 52.0, "deg", MURRAY)
    cup_anteversion: float = ranged(17.0, 10.0, 25.0, "deg", MURRAY)
    joint_space: float = ranged(3.5, 2.0, 5.0, "mm", "Lequesne et al. 2004, Ann Rheum Dis 63:1145")
    cortex_shaft: float = ranged(5.0, 4.0, 6.0, "mm", TREECE)
    cortex_thin: float = ranged(1.6, 1.0, 2.2, "mm", TREECE + " (head, trochanters, pelvis)")
    cortex_hu: float = ranged(1350.0, 1100.0, 1600.0, "HU", OWN)
    trabecular_hu: float = ranged(280.0, 180.0, 380.0, "HU", f"{SCHREIBER}, and {OWN}")
    marrow_hu: float = ranged(-30.0, -70.0, 20.0, "HU", OWN)
    fat_thickness: float = ranged(16.0, 8.0, 28.0, "mm", OWN)
    muscle_hu: float = ranged(55.0, 45.0, 65.0, "HU", OWN)
    vessel_hu: float = ranged(110.0, 45.0, 220.0, "HU", OWN + " (without and with contrast medium)")
    body_tilt: float = ranged(0.0, -5.0, 5.0, "deg", OWN)
    hip_flexion: float = ranged(0.0, -6.0, 8.0, "deg", OWN)
    hip_rotation: float = ranged(0.0, -10.0, 10.0, "deg", OWN)


@dataclass(frozen=True, kw_only=True)
class Pathology:
    """What is ill, each from 0 (absent) to 1 (severe)."""

    osteoarthritis: float = 0.0  # narrow, eccentric joint space, osteophytes, sclerosis, cysts
    dysplasia: float = 0.0  # small centre-edge angle, steep cup, lateral head, steep neck
    osteoporosis: float = 0.0  # thin cortex, faint trabecular bone, wide canal
    implant: bool = False  # nail with lag screw, and streaks; the bone's label runs through it

    def __post_init__(self) -> None:
        for name in ILLNESSES:
            if not 0.0 <= getattr(self, name) <= 1.0:
                fix = "give a severity from 0 to 1"
                raise ConfigError(f"{name} is {getattr(self, name)}", fix=fix)

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

    fwhm_plane: float = ranged(1.2, 0.8, 1.6, "mm", OWN)
    fwhm_z: float = ranged(2.0, 1.0, 3.0, "mm", OWN + " (slice thickness)")
    noise: float = ranged(25.0, 12.0, 45.0, "HU", OWN + " (standard deviation in a voxel)")
    hu_shift: float = ranged(0.0, -15.0, 15.0, "HU", OWN + " (between scanners)")
    hu_gain: float = ranged(1.0, 0.92, 1.08, "", OWN + " (tube voltage: stretches HU above water)")


RANGES: dict[str, ParameterRange] = {
    parameter.name: parameter.metadata["range"]
    for kind in (Anatomy, Scanner)
    for parameter in fields(kind)
    if parameter.metadata
}
Drawn = TypeVar("Drawn", Anatomy, Scanner)


def draw(kind: type[Drawn], rng: Rng, fixed: Drawn | Mapping[str, Any] | None = None) -> Drawn:
    """Draw the parameters from their ranges but ``fixed`` ones; ConfigError for an unknown name."""
    if not isinstance(fixed, Mapping | None):
        return fixed
    drawn: dict[str, Any] = {}
    for parameter in fields(kind):
        if parameter.name == "side":
            drawn["side"] = rng.choice(["left", "right"]).item()
        else:
            drawn[parameter.name] = float(rng.uniform(*RANGES[parameter.name][:2]))
    known = dict(fixed or {})
    if unknown := sorted(set(known) - set(drawn)):
        fix = f"use one of {', '.join(drawn)}"
        raise ConfigError(f"{kind.__name__} has no parameter {', '.join(unknown)}", fix=fix)
    return kind(**drawn | known)


def draw_pathology(rng: Rng, rate: float) -> Pathology:
    """Healthy with probability 1 - ``rate``; else one illness, or metal, of random severity."""
    is_ill = rng.random() < rate
    which = rng.choice(len(ILLNESSES) + 1, p=[0.4, 0.25, 0.2, 0.15])
    severity: Any = float(rng.uniform(0.4, 1.0))
    illness = {ILLNESSES[which]: severity} if which < len(ILLNESSES) else {"implant": True}
    return Pathology(**illness) if is_ill else Pathology()


def meta_of(anatomy: Anatomy, pathology: Pathology, scanner: Scanner, seed: int) -> dict[str, Any]:
    """What ``Case.meta`` keeps of how a scan was made."""
    made = {"anatomy": asdict(anatomy), "pathology": asdict(pathology), "scanner": asdict(scanner)}
    return {**made, "seed": int(seed)}
