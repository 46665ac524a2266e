"""What a NIfTI file holds: header, numbers and affine, with every flaw told to a ``note``.

Header and voxels are read here, not by nibabel, because nibabel repairs a bad header silently,
invents a missing affine and allocates whatever the header asks for. The mathematics of affines and
axis orders is nibabel's.
"""

import gzip
import warnings
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from ssltut.data.case import spacing_of
from ssltut.errors import ConfigError, DataError, DataWarning

MAX_VOXELS = 1_000_000_000
MAX_FLATNESS = 10
MAX_GZIP_RATIO = 1100  # deflate cannot shrink anything to less than 1/1032
Note = Callable[[DataError | DataWarning], None]


@dataclass(frozen=True)
class Volume:
    """What a file holds, in RAS+ order: values (X, Y, Z) int16 where they are whole and fit, else
    float32; affine (4, 4), None if unusable.

    ``orientation`` is the order of the axes in the file, for example ("L", "P", "S"); ``padding``
    counts voxels where nothing was measured (DICOM).
    """

    values: np.ndarray
    affine: np.ndarray | None
    orientation: tuple[str, str, str]
    padding: int = 0


def strict(finding: DataError | DataWarning) -> None:
    """Raise an error, warn of a warning: the ``note`` of everything that has to go on with the
    data.
    """
    if isinstance(finding, DataError):
        raise finding
    warnings.warn(finding, stacklevel=5)


def read_volume(
    path: Path,
    note: Note,
    *,
    assume_spacing: float | Sequence[float] | None = None,
    fill: float | None = None,
) -> Volume | None:
    """The volume in ``path``; every finding goes to ``note``. None when a ``note`` that does not
    raise was told why there are no voxels.
    """
    header = read_header(path, note)
    raw = None if header is None else _read_voxels(path, header, note)
    if raw is None:
        return None
    affine = _affine_of(path, header, note, assume_spacing)
    if (
        affine is not None
        and (flat := max(spacing_of(affine)) / min(spacing_of(affine))) > MAX_FLATNESS
    ):
        note(
            DataWarning(
                f"voxels are {flat:.3g} times longer one way than another"
                f" ({' x '.join(f'{v:.4g}' for v in spacing_of(affine))} mm)",
                where=path,
                fix=(
                    "check the spacing in the header; if it is right, expect little from 3D methods"
                ),
            )
        )
    values = as_stored(_finite(_scaled(raw, header, path, note), path, note, fill))
    return Volume(values, None, ("?", "?", "?")) if affine is None else as_ras(values, affine)


def as_ras(values: np.ndarray, affine: np.ndarray) -> Volume:
    """The volume with its axes turned to RAS+, whatever order ``values`` (X, Y, Z) come in;
    ``affine`` (4, 4) says which.
    """
    turn = nib.io_orientation(affine)
    turned = np.ascontiguousarray(nib.apply_orientation(values, turn))
    return Volume(
        turned, affine @ nib.orientations.inv_ornt_aff(turn, values.shape), nib.aff2axcodes(affine)
    )


def read_header(path: Path, note: Note) -> nib.Nifti1Header | None:
    """The header as it is in the file, with nothing repaired."""

    def refuse(found: str, fix: str = "download or export the file again") -> None:
        note(DataError(found, where=path, fix=fix))

    if not path.is_file():
        return refuse(
            "this is a folder, not a NIfTI file" if path.is_dir() else "there is no such file",
            "check the path",
        )
    if path.stat().st_size == 0:
        return refuse("the file is empty (0 bytes)")
    try:
        with _opened(path) as file:
            block = file.read(540)
    except (OSError, EOFError, zlib.error) as error:
        return refuse(f"the header cannot be read ({path.stat().st_size} bytes: {error})")
    kinds = {
        size.to_bytes(4, order): (kind, size)
        for order in ("little", "big")
        for kind, size in ((nib.Nifti1Header, 348), (nib.Nifti2Header, 540))
    }
    kind, size = kinds.get(block[:4], (None, 0))
    if kind is None or len(block) < size:
        return refuse(
            f"this is not a NIfTI file ({path.stat().st_size} bytes, it begins with"
            f" {block[:4].hex(' ')})",
            "give a .nii or .nii.gz file",
        )
    header = kind(block[:size], check=False)
    if bytes(header["magic"])[:2] != b"n+":
        return refuse(
            "this is the header of a .hdr/.img pair or an Analyze file", "convert it to .nii.gz"
        )
    ndim, sizes = int(header["dim"][0]), [int(n) for n in header["dim"][1:]]
    if not 1 <= ndim <= 7 or min(sizes[:ndim]) < 1:
        return refuse(f"the header's dimensions make no sense ({ndim} axes of {sizes} voxels)")
    if ndim < 3 or min(sizes[:3]) < 2:
        return refuse(
            f"the file holds a {ndim}D image of {sizes[:ndim]} voxels",
            "give a 3D volume: a single slice is none",
        )
    if (n := int(np.prod(sizes[3:ndim], dtype=object))) > 1:
        return refuse(
            f"the file holds {n} volumes of {sizes[:3]} voxels", "save the one to use as a 3D file"
        )
    try:
        plain, sound = (
            header.get_data_dtype().kind in "iuf",
            size <= float(header["vox_offset"]) < 2**40,
        )
    except (KeyError, nib.spatialimages.HeaderDataError):
        plain, sound = False, True
    if not plain or not sound:
        return refuse(
            f"the header has data type {int(header['datatype'])} and voxels from byte"
            f" {float(header['vox_offset']):g}",
            "save it as grey values: int16 or float32",
        )
    return header


def _opened(path: Path):
    with open(path, "rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if zipped else open(path, "rb")


def _read_voxels(path: Path, header: nib.Nifti1Header, note: Note) -> np.ndarray | None:
    """The stored numbers (X, Y, Z) in file order; nothing is allocated before the file is known to
    be long enough.
    """
    shape, dtype, size = (
        tuple(int(n) for n in header["dim"][1:4]),
        header.get_data_dtype(),
        path.stat().st_size,
    )
    voxels, offset = shape[0] * shape[1] * shape[2], int(header["vox_offset"])
    need, asked = voxels * dtype.itemsize, f"{' x '.join(map(str, shape))} voxels of {dtype.name}"
    with _opened(path) as file:
        zipped = isinstance(file, gzip.GzipFile)
        if voxels > MAX_VOXELS:
            return note(
                DataError(
                    f"the header asks for {asked}, {voxels:.3g} in all; the limit is"
                    f" {MAX_VOXELS:.3g}",
                    where=path,
                    fix="check the header, or crop or resample the scan",
                )
            )
        if need + offset > size * (MAX_GZIP_RATIO if zipped else 1):
            return note(
                DataError(
                    f"the header asks for {asked}: expected {need + offset} bytes, got"
                    f" {size}{' of gzip' if zipped else ''}",
                    where=path,
                    fix="the file is cut off or its header is wrong: download or export it again",
                )
            )
        data, got, why = bytearray(need), 0, ""
        try:
            file.seek(offset)
            while got < need and (part := file.read1(min(need - got, 1 << 20))):
                data[got : got + len(part)] = part
                got += len(part)
            file.read1(1)  # a gzip stream compares its checksum at its end
        except (OSError, EOFError, zlib.error) as error:
            why = f" ({error})"
    if got < need or why:
        return note(
            DataError(
                f"the voxels ({asked}) are cut off or damaged: expected {need} bytes, got"
                f" {got}{why}",
                where=path,
                fix="download or export the file again",
            )
        )
    return np.frombuffer(data, dtype).reshape(shape, order="F")


def _scaled(raw: np.ndarray, header: nib.Nifti1Header, path: Path, note: Note) -> np.ndarray:
    """slope x stored + intercept, in integers where these are whole numbers, never in float64."""
    slope, inter = float(header["scl_slope"]), float(header["scl_inter"])
    if not np.isfinite([slope, inter]).all():
        note(
            DataWarning(
                f"the header's scaling is slope {slope:g}, intercept {inter:g}: the stored numbers"
                " are taken as they are",
                where=path,
                fix="check that they are HU (air near -1000)",
            )
        )
        return raw
    if slope == 0 or (slope, inter) == (1, 0):
        return raw
    if (
        raw.dtype.kind in "iu"
        and raw.dtype.itemsize <= 2
        and slope.is_integer()
        and inter.is_integer()
        and max(abs(slope), abs(inter)) < 2**15
    ):
        return raw.astype(np.int32) * int(slope) + int(inter)
    with np.errstate(over="ignore"):  # what overflows is infinite, and is found as such
        return raw.astype(np.float32) * np.float32(slope) + np.float32(inter)


def _finite(values: np.ndarray, path: Path, note: Note, fill: float | None) -> np.ndarray:
    if values.dtype.kind in "iu" or (finite := np.abs(values) <= np.finfo(np.float32).max).all():
        return values
    if fill is not None:
        return np.where(finite, values, values.dtype.type(fill))
    first = tuple(int(i) for i in np.argwhere(~finite)[0])
    note(
        DataError(
            f"{np.count_nonzero(~finite)} voxels are NaN or infinite, the first at {first}",
            where=path,
            fix="mend the file, or give fill= a value, for example -1024",
        )
    )
    return values


def as_stored(values: np.ndarray) -> np.ndarray:
    """int16 where every number is whole and fits, else float32."""
    low, high = values.min(), values.max()  # NaN fails the comparison
    fits = low >= -(2**15) and high < 2**15
    if values.dtype.kind == "f":
        fits = fits and np.array_equal(values, np.rint(values))
    with np.errstate(over="ignore"):  # found before, and told
        return values.astype(np.int16 if fits else np.float32, copy=False)


def _affine_of(
    path: Path, header: nib.Nifti1Header, note: Note, assume_spacing: float | Sequence[float] | None
) -> np.ndarray | None:
    """The sform, else the qform, both as stored. A broken one beside a sound sform does not matter;
    two that disagree do.
    """
    sform, scode = header.get_sform(), int(header["sform_code"])
    qform, qcode = _qform_of(header), int(header["qform_code"])
    if scode <= 0 and qcode <= 0:
        if assume_spacing is not None:
            mm = np.ravel(np.asarray(assume_spacing, float))
            if mm.size not in (1, 3) or not (np.isfinite(mm) & (mm > 0)).all():
                raise ConfigError(
                    f"assume_spacing={assume_spacing}",
                    where=path,
                    fix="give one number or three, in mm, above 0",
                )
            return np.diag([*np.broadcast_to(mm, 3), 1.0])
        return note(
            DataError(
                "the file says neither how large its voxels are nor how they lie (qform and sform"
                " codes are 0)",
                where=path,
                fix="export it again, or give assume_spacing= in mm if you know it",
            )
        )
    affine, name = (sform, "sform") if scode > 0 else (qform, "qform")
    if flaw := flaw_of(affine):
        return note(
            DataError(
                f"the {name} {flaw}", where=path, fix="export the scan again, with its geometry"
            )
        )
    if (
        scode > 0
        and qcode > 0
        and not flaw_of(qform)
        and (apart := np.abs(qform - sform).max()) > 1e-3
    ):
        mm = [" x ".join(f"{v:.4g}" for v in spacing_of(a)) for a in (qform, sform)]
        return note(
            DataError(
                f"qform says voxels of {mm[0]} mm, sform says {mm[1]} mm; their numbers differ by"
                f" up to {apart:.4g} mm",
                where=path,
                fix="find out which is right and save the file with that one in both",
            )
        )
    return affine


def _qform_of(header: nib.Nifti1Header) -> np.ndarray:
    """The qform (4, 4); NaN where its quaternion or its voxel sizes make no sense."""
    header = header.copy()
    header["pixdim"][0] = header["pixdim"][0] or 1  # the standard reads 0 as 1
    try:
        return header.get_qform()
    except (ValueError, nib.spatialimages.HeaderDataError):
        return np.full((4, 4), np.nan)


def flaw_of(affine: np.ndarray) -> str | None:
    """What makes ``affine`` (4, 4) unusable, or None."""
    if bad := np.count_nonzero(~np.isfinite(affine)):
        return f"has {bad} numbers that are not finite or not defined"
    spacing = spacing_of(affine)
    if min(spacing) <= 0 or abs(np.linalg.det(affine[:3, :3])) < 1e-3 * np.prod(spacing):
        return (
            f"is singular: voxels of {' x '.join(f'{v:.4g}' for v in spacing)} mm, determinant"
            f" {np.linalg.det(affine[:3, :3]):.3g}"
        )
    return None
