"""What every reader gives: a volume in RAS+ order, and its findings through a ``note``.

A reader raises what stops it; ``collecting`` hands it to a ``note``, which raises it again
(``strict``) or keeps it (``Findings``).
"""

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np

from ssltut.data.case import VOXEL_SIZES, spacing_of
from ssltut.errors import DataError, DataWarning, SsltutError

MAX_VOXELS = 1_000_000_000
MAX_SHEAR = 1.0  # degrees that two axes may be off a right angle
MAX_EXTENT, MAX_OFFSET = 5_000.0, 10_000.0  # mm, of a side of a scan; of its corner from the origin
CT_VALUES = (-5000, 32767)  # HU; metal may saturate what a scanner can write
AIR_BELOW = -500  # HU
EXPORT_HU = "look at the scan; export the original CT with its rescaling"
NO_GEOMETRY = "export the scan again with its geometry, a tilted one straightened (dcm2niix does)"
AGAIN = "download or export the file again"
Finding = SsltutError | DataWarning
Note = Callable[[Finding], None]


@dataclass(frozen=True)
class Volume:
    """A scan or a label with axes in RAS+ order."""

    values: np.ndarray  # (X, Y, Z) int16 where all are whole and fit, else float32
    affine: np.ndarray  # (4, 4), voxel index to mm; NaN if the file has no usable one
    orientation: tuple[str, ...]  # the order of the axes in the file, as ("L", "P", "S")
    padding: int = 0  # number of voxels where nothing was measured (DICOM)


def flaw_of(affine: np.ndarray, shape: Sequence[int]) -> str | None:
    """What makes ``affine`` (4, 4) impossible for a scan of this ``shape``, or None."""
    if bad := np.count_nonzero(~np.isfinite(affine)):
        return f"has {bad} numbers that are not finite or not defined"
    spacing, axes = spacing_of(affine), affine[:3, :3]
    if min(spacing) <= 0:
        return f"is singular: voxels of {in_mm(spacing)}"
    if not all(map(VOXEL_SIZES.holds, spacing)):
        limits = f"{VOXEL_SIZES.low:g} to {VOXEL_SIZES.high:g} mm"
        return f"says voxels of {in_mm(spacing)}, which can have {limits}"
    cosines = (axes / spacing).T @ (axes / spacing) - np.eye(3)
    if (shear := np.degrees(np.arcsin(min(np.abs(cosines).max(), 1.0)))) > MAX_SHEAR:
        return f"is sheared: two of its axes stand at {90 - shear:.4g} degrees, not at 90"
    if (extent := max(np.multiply(spacing, shape))) > MAX_EXTENT:
        return f"says a scan of {extent / 1000:.4g} m; the limit is {MAX_EXTENT / 1000:g} m"
    if (offset := np.abs(affine[:3, 3]).max()) > MAX_OFFSET:
        return f"puts the scan {offset / 1000:.4g} m away; the limit is {MAX_OFFSET / 1000:g} m"
    return None


def check_values(
    values: np.ndarray, where: Path, note: Note, modality: str = "CT", *, is_crop: bool = False
) -> None:
    """Note a DataWarning of a scan with one value only, or a CT whose numbers are hardly HU.

    A crop of a CT may hold no air.
    """
    low, high = float(values.min()), float(values.max())
    if low == high:
        what, fix = f"all {values.size} voxels are {low:g}", "look at the scan: it shows nothing"
    elif modality != "CT" or not np.isfinite([low, high]).all():
        return
    elif low < CT_VALUES[0] or high > CT_VALUES[1]:
        what = f"values from {low:g} to {high:g} are hardly HU, which lie between"
        what, fix = f"{what} {CT_VALUES[0]} and {CT_VALUES[1]}", EXPORT_HU
    elif low > AIR_BELOW and not is_crop:
        what = f"no voxel is below {AIR_BELOW} HU (the values are {low:g} to {high:g}): these are"
        what, fix = f"{what} hardly HU, or there is no air in the scan", EXPORT_HU
    else:
        return
    note(DataWarning(what, where=where, fix=fix))


def as_ras(values: np.ndarray, affine: np.ndarray, padding: int = 0) -> Volume:
    """The volume turned to RAS+; ``affine`` (4, 4) says how the axes of ``values`` lie.

    Raises DataError for an affine that cannot be (``flaw_of``).
    """
    if flaw := flaw_of(affine, values.shape):
        raise DataError(f"the geometry {flaw}", fix=NO_GEOMETRY)
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


def strict(finding: Finding) -> None:
    """The ``note`` of everything that goes on with the data: raise an error, warn of a warning."""
    if isinstance(finding, SsltutError):
        raise finding
    warnings.warn(finding, stacklevel=5)  # the line that called read_case


@dataclass(kw_only=True)
class Findings:
    """Errors and warnings that a ``note`` has kept."""

    errors: list[SsltutError] = field(default_factory=list)
    warnings: list[DataWarning] = field(default_factory=list)

    def note(self, finding: Finding) -> None:
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


def merged(findings: Iterable[Finding]) -> Iterator[Finding]:
    """One finding for all that say the same: it names the first place, and how many there are."""
    same: dict[tuple, list[Finding]] = {}
    for finding in findings:
        same.setdefault((type(finding), finding.found, finding.fix), []).append(finding)
    for first, *rest in same.values():
        more = f" (in {len(rest) + 1} files, this is the first)" if rest else ""
        yield type(first)(f"{first.found}{more}", where=first.where, fix=first.fix)


def in_mm(lengths: tuple[float, ...]) -> str:
    """Voxel sizes as a message has them, ``0.7 x 0.7 x 2 mm``."""
    return f"{' x '.join(f'{mm:.4g}' for mm in lengths)} mm"
