"""Read and check what a NIfTI file holds: header, affine and numbers, with nothing repaired.

nibabel itself repairs a bad header silently, invents a missing affine and allocates whatever the
header asks for; after the checks it does the reading.
"""

import gzip
import math
import zlib
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from io import BufferedIOBase
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError
from nibabel.volumeutils import array_from_file

from ssltut.data.case import spacing_of
from ssltut.errors import ConfigError, DataError, DataWarning
from ssltut.files import check_regular
from ssltut.io.volume import (
    AGAIN,
    MAX_VOXELS,
    NO_GEOMETRY,
    Note,
    Volume,
    as_ras,
    as_stored,
    collecting,
    flaw_of,
    in_mm,
)

quick_gzip: Any = gzip
DAMAGED: tuple[type[Exception], ...] = (OSError, EOFError, zlib.error)  # of damaged files
with suppress(ModuleNotFoundError):  # isal reads gzip in less than half the time
    quick_gzip = import_module("isal.igzip")
    DAMAGED += (import_module("isal.isal_zlib").error,)

MAX_FLATNESS = 10
MAX_GZIP_RATIO = 1100  # deflate cannot shrink anything to less than 1/1032
KINDS = (nib.Nifti1Header, nib.Nifti2Header)
# By the length that a header begins with, in either byte order.
HEADERS = {kind.sizeof_hdr.to_bytes(4, end): kind for kind in KINDS for end in ("little", "big")}
UNITS = {1: ("metres", 1000.0), 3: ("micrometres", 0.001)}  # by the header's code; others: mm
Spacing = float | Sequence[float]  # mm, one number for the three axes or three


def read_nifti(
    path: Path, note: Note, *, assume_spacing: Spacing | None = None, fill: float | None = None
) -> Volume | None:
    """``formats.read_volume`` for NIfTI, one file or .hdr and .img."""
    affine = None
    with collecting(note, path):
        header = read_header(path)
        raw = _read_voxels(voxels_of(path), header)
        with collecting(note, path):
            affine = _affine_of(header, assume_spacing, path, note)
        return finished(_scaled(raw, header, path, note), affine, path, note, fill)
    return None


def finished(
    values: np.ndarray, affine: np.ndarray | None, path: Path, note: Note, fill: float | None
) -> Volume:
    """The volume in RAS+ order, after the checks that do not depend on the format."""
    if affine is not None:
        spacing = spacing_of(affine)
        if (flatness := max(spacing) / min(spacing)) > MAX_FLATNESS:
            what = f"voxels are {flatness:.3g} times longer one way than another"
            fix = "check the spacing in the header; if it is right, expect little from 3D methods"
            note(DataWarning(f"{what} ({in_mm(spacing)})", where=path, fix=fix))
    with collecting(note, path):
        values = _filled(values, fill)
    values = as_stored(values)
    if affine is None:
        return Volume(values, np.full((4, 4), np.nan), ("?", "?", "?"))
    return as_ras(values, affine)


def voxels_of(path: Path) -> Path:
    """The file that holds the voxels: of a pair the .img in the same case as the .hdr."""
    if path.suffix.lower() != ".hdr":
        return path
    voxels = path.with_suffix(".IMG" if path.suffix.isupper() else ".img")
    check_regular(voxels)
    return voxels


def read_header(path: Path) -> nib.Nifti1Header:
    """The header as it is in the file. Raises DataError for what is no single 3D volume."""
    check_regular(path)
    if not (size := path.stat().st_size):
        raise DataError("the file is empty (0 bytes)", fix=AGAIN)
    try:
        with _opened(path) as file:
            block = file.read(540)
    except DAMAGED as error:
        raise DataError(f"the header cannot be read ({size} bytes: {error})", fix=AGAIN) from None
    kind = HEADERS.get(block[:4])
    if kind is None or len(block) < kind.sizeof_hdr:
        what = f"this is not a NIfTI file ({size} bytes, it begins with {block[:4].hex(' ')})"
        raise DataError(what, fix="give a .nii or .nii.gz file")
    header = kind(block[: kind.sizeof_hdr], check=False)
    is_pair = path.suffix.lower() == ".hdr"
    if bytes(header["magic"])[:2] != (b"ni" if is_pair else b"n+"):
        what = "this is the header of a .hdr/.img pair or an Analyze file"
        raise DataError(what, fix="convert it to .nii.gz")
    _check_contents(header, first_byte=0 if is_pair else header.sizeof_hdr)
    return header


def _check_contents(header: nib.Nifti1Header, first_byte: int) -> None:
    n_axes = int(header["dim"][0])
    sizes = [int(n) for n in header["dim"][1:]]
    if not 1 <= n_axes <= 7 or min(sizes[:n_axes]) < 1:
        what = f"the header's dimensions make no sense ({n_axes} axes of {sizes} voxels)"
        raise DataError(what, fix=AGAIN)
    if n_axes < 3 or min(sizes[:3]) < 2:
        what = f"the file holds a {n_axes}D image of {sizes[:n_axes]} voxels"
        raise DataError(what, fix="give a 3D volume: a single slice is none")
    if (n_volumes := math.prod(sizes[3:n_axes])) > 1:
        what = f"the file holds {n_volumes} volumes of {sizes[:3]} voxels"
        raise DataError(what, fix="save the one to use as a 3D file")
    offset = float(header["vox_offset"])
    try:
        is_grey = header.get_data_dtype().kind in "iuf"
    except (KeyError, HeaderDataError):
        is_grey = False
    if not is_grey or not first_byte <= offset < 2**40:
        what = f"the header has data type {int(header['datatype'])} and voxels from byte {offset:g}"
        raise DataError(what, fix="save it as grey values: int16 or float32")


def _opened(path: Path, unzip: Any = gzip) -> BufferedIOBase:
    with open(path, "rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    return unzip.open(path, "rb") if zipped else open(path, "rb")


def _read_voxels(path: Path, header: nib.Nifti1Header) -> np.ndarray:
    """The stored numbers (X, Y, Z), read only where the file is long enough for them."""
    shape = tuple(header["dim"][1:4].tolist())
    dtype = header.get_data_dtype()
    n_voxels, offset = math.prod(shape), int(header["vox_offset"])
    need, size = n_voxels * dtype.itemsize, path.stat().st_size
    voxels = f"{' x '.join(map(str, shape))} voxels of {dtype.name}"
    what = f"the header asks for {voxels}"
    if n_voxels > MAX_VOXELS:
        what += f", {n_voxels:.3g} in all; the limit is {MAX_VOXELS:.3g}"
        raise DataError(what, fix="check the header, or crop or resample the scan")
    with _opened(path, quick_gzip) as file:
        zipped = isinstance(file, gzip.GzipFile)
        if need + offset > size * (MAX_GZIP_RATIO if zipped else 1):
            what += f": expected {need + offset} bytes, got {size}{' of gzip' if zipped else ''}"
            fix = "the file is cut off or its header is wrong: download or export it again"
            raise DataError(what, fix=fix)
        try:
            raw = array_from_file(shape, dtype, file, offset, mmap=False)
            file.read(1)  # a gzip stream compares its checksum at its end
            return raw
        except DAMAGED as error:
            if str(error).startswith("Not a gzipped file"):
                what = f"after the end of the gzip data other bytes follow: {str(error)[20:-1]}"
                fix = "download it again, or cut them off: gunzip < FILE > FILE.nii"
                raise DataError(what, fix=fix) from None
            what = f"the voxels ({voxels}, {need} bytes) are cut off or damaged: {error}"
            raise DataError(what, fix=AGAIN) from None


def _scaled(raw: np.ndarray, header: nib.Nifti1Header, path: Path, note: Note) -> np.ndarray:
    """slope x stored + intercept, in integers where these are whole numbers, never in float64."""
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if not np.isfinite([slope, intercept]).all():
        what = f"the header's scaling is slope {slope:g}, intercept {intercept:g}: "
        what += "the stored numbers are taken as they are"
        note(DataWarning(what, where=path, fix="check that they are HU (air near -1000)"))
        return raw
    if slope == 0 or (slope, intercept) == (1, 0):
        return raw
    is_small = raw.dtype.kind in "iu" and raw.dtype.itemsize <= 2
    is_whole = slope.is_integer() and intercept.is_integer()
    fits = max(abs(slope), abs(intercept)) < 2**15
    dtype = np.int32 if is_small and is_whole and fits else np.float32
    with np.errstate(over="ignore"):  # what overflows is infinite, and is found as such
        return raw.astype(dtype) * dtype(slope) + dtype(intercept)


def _filled(values: np.ndarray, fill: float | None) -> np.ndarray:
    """Every voxel finite: the others become ``fill``. Raises DataError where that is None."""
    if values.dtype.kind in "iu":
        return values
    finite = np.abs(values) <= np.finfo(np.float32).max
    if finite.all():
        return values
    if fill is None:
        first = tuple(np.argwhere(~finite)[0].tolist())
        what = f"{np.count_nonzero(~finite)} voxels are NaN or infinite, the first at {first}"
        raise DataError(what, fix="repair the file, or give fill= a value, for example -1024")
    return np.where(finite, values, values.dtype.type(fill))


def _affine_of(
    header: nib.Nifti1Header, assume_spacing: Spacing | None, path: Path, note: Note
) -> np.ndarray:
    """The sform, else the qform, in mm. DataError for none, a bad one, or two that disagree."""
    has_sform, has_qform = int(header["sform_code"]) > 0, int(header["qform_code"]) > 0
    sform, qform = header.get_sform(), _qform_of(header)
    unit, factor = UNITS.get(int(header["xyzt_units"]) & 7, ("millimetres", 1.0))
    sform[:3] *= factor
    qform[:3] *= factor
    if not has_sform and not has_qform:
        if assume_spacing is not None:
            return _diagonal(assume_spacing)
        what = "the file says neither how large its voxels are nor how they lie"
        fix = "export it again, or give assume_spacing= in mm if you know it"
        raise DataError(f"{what} (qform and sform codes are 0)", fix=fix)
    affine, name = (sform, "sform") if has_sform else (qform, "qform")
    counts = f"the header counts in {unit}"
    if flaw := flaw_of(affine, header["dim"][1:4]):
        more = "" if factor == 1 else f" ({counts})"
        raise DataError(f"the {name} {flaw}{more}", fix=NO_GEOMETRY)
    if factor != 1:
        what = f"{counts}: its voxels are {in_mm(spacing_of(affine))}"
        note(DataWarning(what, where=path, fix="check that; not every program heeds the unit"))
    is_sound = np.isfinite(qform).all() and min(spacing_of(qform)) > 0
    are_both = has_sform and has_qform and is_sound
    if are_both and (apart := np.abs(qform - sform).max()) > 1e-3:
        what = f"qform says voxels of {in_mm(spacing_of(qform))}, sform says"
        what += f" {in_mm(spacing_of(sform))}; their numbers differ by up to {apart:.4g} mm"
        raise DataError(what, fix="find out which is right and save the file with that one in both")
    return affine


def _qform_of(header: nib.Nifti1Header) -> np.ndarray:
    """The qform (4, 4); NaN where its quaternion or its voxel sizes make no sense."""
    header = header.copy()
    header["pixdim"][0] = header["pixdim"][0] or 1  # the standard reads 0 as 1
    try:
        return header.get_qform()
    except (ValueError, HeaderDataError):
        return np.full((4, 4), np.nan)


def _diagonal(spacing: Spacing) -> np.ndarray:
    mm = np.ravel(np.asarray(spacing, float))
    if mm.size not in (1, 3) or not (np.isfinite(mm) & (mm > 0)).all():
        fix = "give one number or three, in mm, above 0"
        raise ConfigError(f"assume_spacing={spacing}", fix=fix)
    return np.diag([*np.broadcast_to(mm, 3), 1.0])
