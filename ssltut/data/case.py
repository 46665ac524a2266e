"""Case: one scan with its geometry."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ssltut.errors import DataError
from ssltut.options import Range

VOXEL_SIZES = Range(0.01, 50.0)  # mm, of anything a hospital scans
LABELLED = "labelled classes"  # in ``Case.meta`` of a scan that lacks some: those it has


def spacing_of(affine: np.ndarray) -> tuple[float, float, float]:
    """Voxel size in mm along the array axes: the column norms of ``affine`` (4, 4)."""
    x, y, z = np.linalg.norm(np.asarray(affine, float)[:3, :3], axis=0).tolist()
    return x, y, z


@dataclass(frozen=True)
class Case:
    """One scan in RAS+ order: index grows to the patient's right, anterior, superior.

    Raises DataError for an image that is not 3D and for a label of another shape.
    """

    id: str
    patient: str
    image: np.ndarray  # (X, Y, Z) int16 HU for CT, float32 otherwise
    label: np.ndarray | None  # (X, Y, Z) uint8, values of a label table
    affine: np.ndarray  # (4, 4) float64, voxel index to mm in RAS+
    meta: Mapping[str, Any] = field(default_factory=dict)  # difficulty, anatomy ...
    source: Path | None = None  # the file it came from
    orientation: tuple[str, ...] = ("R", "A", "S")  # axis codes there, to write back

    def __post_init__(self) -> None:
        if self.image.ndim != 3:
            problem = f"the image has {self.image.ndim} dimensions, expected 3"
            raise DataError(problem, where=self.id, fix="give one 3D volume per case")
        if self.label is not None and self.label.shape != self.image.shape:
            problem = f"the label has shape {self.label.shape} but the image has {self.image.shape}"
            raise DataError(problem, where=self.id, fix="resample the label onto the image's grid")

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size in mm."""
        return spacing_of(self.affine)

    def without_label(self) -> "Case":
        """The same scan as an unlabelled one."""
        return replace(self, label=None)
