"""DICOM in: the series of a folder, each put together as one volume in HU, or refused.

pydicom gives every header as it stands, so that gaps, tilt, doubles and padding are judged here;
ITK's readers assemble a volume silently. Compressed pixels need a decoder that is installed. HU are
computed in float32; pydicom's own rescaling in float64 gives other numbers.

Only what ``dicom_header.Header`` holds travels on; its patient and series group the files.
"""

import warnings
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress

import numpy as np
import pydicom

from ssltut.errors import DataError, DataWarning
from ssltut.io.dicom_header import Header
from ssltut.io.dicom_series import AGAIN, Series
from ssltut.io.volume import MAX_VOXELS, Note, Volume, as_ras, as_stored, collecting, strict

AIR = -1024  # HU below it are what scanners write where they measured nothing
LPS_TO_RAS = np.diag([-1, -1, 1, 1.0])  # DICOM counts to the left and back, NIfTI right and front
DECODE = "decompress the series (gdcmconv --raw, dcmdjpeg), or install a decoder: "
DECODE += "pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg"


def read_series(series: Series, note: Note) -> Volume | None:
    """The volume of a series, HU in RAS+ order; every finding goes to ``note``.

    None when it cannot be put together and ``note`` did not raise. Slices are sorted by position,
    not by name or number. HU = stored x RescaleSlope + RescaleIntercept, slice by slice. Padding
    (PixelPaddingValue, and all CT numbers below -1024 HU) becomes -1024 HU.
    """
    with collecting(note, series.where):
        first = series.slices[0]
        rows, columns = int(first.rows or 0), int(first.columns or 0)
        turn = np.array(first.orientation).reshape(2, 3)
        if not np.allclose(turn @ turn.T, np.eye(2), atol=1e-3):
            what = f"the directions of rows and columns are not at right angles ({turn.tolist()})"
            raise DataError(what, fix="export it again")
        if rows * columns * len(series.slices) > MAX_VOXELS:
            size = f"{rows} x {columns} x {len(series.slices)} voxels"
            raise DataError(f"{size}; the limit is {MAX_VOXELS:.3g}", fix="crop it")
        normal = np.cross(*turn)
        try:
            slices, step = _stack(series, normal, note)
        except DataError as error:
            raise _with_acquisitions(error, series.slices) from None
        down, across = first.spacing
        affine = np.eye(4)
        affine[:3, :3] = np.column_stack([turn[0] * across, turn[1] * down, normal * step])
        affine[:3, 3] = slices[0].position
        values, padded = np.empty((columns, rows, len(slices)), np.float32), 0
        for k, one in enumerate(slices):
            hu, padding = _pixels_of(one)
            padded += int(np.count_nonzero(padding))
            values[..., k] = np.where(padding, AIR, hu).T
        return as_ras(as_stored(values), LPS_TO_RAS @ affine, padded)
    return None


def _stack(series: Series, normal: np.ndarray, note: Note) -> tuple[list[Header], float]:
    """Slices in order along ``normal``, and their distance in mm. DataError for an uneven stack."""
    slices = sorted(series.slices, key=lambda one: float(np.dot(one.position, normal)))
    slices = _without_doubles(slices, normal)
    if doubles := len(series.slices) - len(slices):
        what = f"{doubles} slices are there twice, with the same pixels; one of each is used"
        note(DataWarning(what, where=series.where))
    if len(slices) < 2:
        what = "the series is a single slice, not a volume"
        raise DataError(what, fix="take it out, or add the rest of the series")
    positions = np.array([one.position for one in slices])
    along = positions @ normal
    steps = np.diff(along)
    step = float(np.median(steps))
    wide = steps > 1.5 * step
    if wide.any():
        at, lost = int(np.argmax(wide)), int(np.sum(np.rint(steps[wide] / step) - 1))
        what = f"about {lost} slices are missing: slices are {step:.4g} mm apart, but"
        what += f" {steps[at]:.4g} mm between {slices[at].path.name} and {slices[at + 1].path.name}"
        raise DataError(what, fix="export the whole series again")
    along = along - along[0]
    off = np.abs(along - step * np.arange(len(slices))).max()
    if off > 0.1 * step:
        what = f"the slices are unevenly spaced, {steps.min():.4g} to {steps.max():.4g} mm"
        what += f" ({off:.3g} mm from an even grid)"
        raise DataError(what, fix="resample the series to even slices, for example with dcm2niix")
    aside = positions - positions[0] - np.outer(along, normal)
    shift = np.linalg.norm(aside, axis=1).max()
    if shift > 0.1 * min(slices[0].spacing):
        tilt = np.degrees(np.arctan2(np.linalg.norm(aside[-1]), along[-1]))
        what = f"the gantry was tilted by {tilt:.3g} degrees: slices are shifted against each other"
        what += f" by up to {shift:.3g} mm"
        raise DataError(what, fix="straighten the series first, for example with dcm2niix")
    return slices, float(along[-1]) / (len(slices) - 1)


def _with_acquisitions(error: DataError, slices: Sequence[Header]) -> DataError:
    """The error, and the scanner's passes if it may come from there being several."""
    passes = Counter(one.acquisition or "without a number" for one in slices)
    if len(passes) < 2 or min(passes.values()) < 2:
        return error
    each = ", ".join(f"{name}: {n} slices" for name, n in list(passes.items())[:8])
    what = f"the series holds {len(passes)} acquisitions ({each}) that make no one volume:"
    fix = "export each acquisition as a series of its own, into a folder of its own"
    return DataError(f"{what} {error.found}", where=error.where, fix=fix)


def _without_doubles(slices: list[Header], normal: np.ndarray) -> list[Header]:
    """One slice for each position. Raises DataError when two at one hold other pixels."""
    kept = slices[:1]
    for one in slices[1:]:
        if abs(np.dot(np.subtract(one.position, kept[-1].position), normal)) > 1e-3:
            kept.append(one)
        elif not _same_pixels(one, kept[-1]):
            what = "slices lie where another one lies but hold other pixels (several phases or"
            what += " reconstructions under one series)"
            raise DataError(what, fix="export each phase into a folder of its own")
    return kept


def _same_pixels(one: Header, other: Header) -> bool:
    if one.frame is None and one.path.read_bytes() == other.path.read_bytes():
        return True
    with suppress(DataError):
        return np.array_equal(_pixels_of(one)[0], _pixels_of(other)[0])
    return False


def _pixels_of(one: Header) -> tuple[np.ndarray, np.ndarray]:
    """HU float32 and where the padding is, both (rows, columns). Raises DataError."""
    with collecting(strict, one.path):
        stored = _stored_pixels(one)
        if stored.shape != (one.rows, one.columns):
            what = f"the pixels are {stored.shape}, the header says {one.rows} x {one.columns}"
            raise DataError(what, fix=AGAIN)
        slope, intercept = _rescaling_of(one)
        hu = stored.astype(np.float32) * np.float32(slope) + np.float32(intercept)
        padding = hu < AIR if one.modality == "CT" else np.zeros(hu.shape, bool)
        if one.padding:
            low, high = one.padding
            padding |= (stored >= low) & (stored <= high)
        return hu, padding


def _stored_pixels(one: Header) -> np.ndarray:
    syntax = None
    try:
        with pydicom.config.disable_value_validation(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = pydicom.dcmread(one.path, force=True)
            syntax = data.file_meta.get("TransferSyntaxUID") or pydicom.uid.ImplicitVRLittleEndian
            data.file_meta.TransferSyntaxUID = syntax
            if one.frame is not None:
                return pydicom.pixels.pixel_array(one.path, index=one.frame)
            return data.pixel_array
    except Exception as error:  # decoders raise errors of many kinds
        is_known = syntax is not None and syntax.is_transfer_syntax
        if syntax and is_known and syntax.is_compressed and "length" not in str(error):
            what = f"the pixels are compressed as {syntax.name}, and they cannot be decoded here"
            raise DataError(what, fix=DECODE) from None
        size = one.path.stat().st_size
        what = f"the pixels cannot be read ({size} bytes: {type(error).__name__})"
        raise DataError(f"{what}; the file is cut off or damaged", fix=AGAIN) from None


def _rescaling_of(one: Header) -> tuple[float, float]:
    slope, intercept, unit = one.slope, one.intercept, one.unit
    is_hu = slope is not None and intercept is not None and unit in ("", "HU")
    if one.modality == "CT" and not is_hu:
        what = f"RescaleSlope {slope}, RescaleIntercept {intercept}, RescaleType {unit or None}"
        raise DataError(f"the numbers are not HU ({what})", fix="export the original CT images")
    if slope == 0:
        raise DataError("RescaleSlope is 0: all pixels would be the same", fix=AGAIN)
    return 1.0 if slope is None else slope, intercept or 0.0
