"""What every reader gives: a volume in RAS+ order, and its findings through a ``note``.

A reader raises what stops it; ``collecting`` hands it to a ``note``, which raises it again
(``strict``) or keeps it (``Findings``).
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import nibabel as nib
import numpy as np

from ssltut.errors import DataError, DataWarning, SsltutError
from ssltut.options import Range

MAX_VOXELS = 1_000_000_000
VOXEL_SIZES = Range(0.01, 50.0)  # mm, of anything a hospital scans
MAX_OFFSET = 10_000.0  # mm, of a scan's first voxel from the origin
AGAIN = "download or export the file again"
Note = Callable[[SsltutError | DataWarning], None]


@dataclass(frozen=True)
class Volume:
    """A scan or a label with axes in RAS+ order."""

    values: np.ndarray  # (X, Y, Z) int16 where all are whole and fit, else float32
    affine: np.ndarray  # (4, 4), voxel index to mm; NaN if the file has no usable one
    orientation: tuple[str, ...]  # the order of the axes in the file, as ("L", "P", "S")
    padding: int = 0  # number of voxels where nothing was measured (DICOM)


def as_ras(values: np.ndarray, affine: np.ndarray, padding: int = 0) -> Volume:
    """The volume turned to RAS+; ``affine`` (4, 4) says how the axes of ``values`` lie."""
    turn = nib.io_orientation(affine)
    turned = np.ascontiguousarray(nib.apply_orientation(values, turn))
    affine_ras = affine @ nib.orientations.inv_ornt_aff(turn, values.shape)
    return Volume(turned, affine_ras, nib.aff2axcodes(affine), padding)


def as_stored(values: np.ndarray) -> np.ndarray:
    """int16 where every number is whole and fits, else float32."""
    low, high = values.min(), values.max()  # NaN fails the comparison
    fits = low >= -(2**15) and high < 2**15
    if values.dtype.kind == "f":
        fits = fits and np.array_equal(values, np.rint(values))
    with np.errstate(over="ignore"):  # it was noted when the values were checked
        return values.astype(np.int16 if fits else np.float32, copy=False)


def strict(finding: SsltutError | DataWarning) -> None:
    """The ``note`` of everything that goes on with the data: raise an error, warn of a warning."""
    if isinstance(finding, SsltutError):
        raise finding
    warnings.warn(finding, stacklevel=5)  # the line that called read_case


@dataclass(kw_only=True)
class Findings:
    """Errors and warnings that a ``note`` has kept."""

    errors: list[SsltutError] = field(default_factory=list)
    warnings: list[DataWarning] = field(default_factory=list)

    def note(self, finding: SsltutError | DataWarning) -> None:
        if isinstance(finding, DataWarning):
            self.warnings.append(finding)
        else:
            self.errors.append(finding)


@contextmanager
def collecting(note: Note, where: object) -> Iterator[None]:
    """Hand the DataError that ends the block to ``note``; ``where`` fills in a missing place."""
    try:
        yield
    except DataError as error:
        place = where if error.where is None else error.where
        note(DataError(error.found, where=place, fix=error.fix))


def in_mm(lengths: tuple[float, ...]) -> str:
    """Voxel sizes as a message has them, ``0.7 x 0.7 x 2 mm``."""
    return f"{' x '.join(f'{mm:.4g}' for mm in lengths)} mm"
