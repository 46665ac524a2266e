"""DICOM in: the series of a folder, each put together as one volume in HU, or refused.

pydicom gives every header as it stands, so that gaps, tilt, doubles and padding are judged here;
ITK's readers assemble a volume silently. Compressed pixels need a decoder that is installed. HU are
computed in float32; pydicom's own rescaling in float64 gives other numbers.

Only the tags of ``NEEDED`` travel on. Those of ``IDENTITY`` group files by patient and series.
"""

import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pydicom

from ssltut.errors import DataError, DataWarning
from ssltut.io.volume import MAX_VOXELS, Note, Volume, as_ras, as_stored, collecting, strict

IDENTITY = ("PatientID", "PatientName", "StudyInstanceUID", "SeriesInstanceUID")
GEOMETRY = ("ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing", "Rows", "Columns")
KIND = ("Modality", "ImageType", "NumberOfFrames", "SamplesPerPixel", "BurnedInAnnotation")
RESCALE = ("RescaleSlope", "RescaleIntercept", "RescaleType")
PADDING = ("PixelPaddingValue", "PixelPaddingRangeLimit", "PixelRepresentation")
NEEDED = (*GEOMETRY, *KIND, *RESCALE, *PADDING)
AIR = -1024  # HU below it are what scanners write where they measured nothing
LPS_TO_RAS = np.diag([-1, -1, 1, 1.0])  # DICOM counts to the left and back, NIfTI right and front
AGAIN = "export the series again"
CONVERT = "convert it to NIfTI, for example with dcm2niix"
REPLACE = "export the file again, or take it out of the folder"
DECODE = "decompress the series (gdcmconv --raw, dcmdjpeg), or install a decoder: "
DECODE += "pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg"


@dataclass(frozen=True)
class Slice:
    """One file: its header, the tags above, and where it lies in mm of the patient (LPS)."""

    path: Path
    header: pydicom.Dataset
    position: np.ndarray

    def __getitem__(self, tag: str) -> Any:
        return self.header.get(tag)


@dataclass(frozen=True)
class Series:
    """Slices of one series that share orientation, matrix and pixel size."""

    slices: Sequence[Slice] = field(repr=False)

    @property
    def patient(self) -> str:
        """The first identity in the header, else the folder: it groups, and is never written."""
        names = (str(self.slices[0][tag] or "").strip() for tag in IDENTITY[:3])
        return next(filter(None, names), str(self.where.parent))

    @property
    def where(self) -> Path:
        """The first of the files, which names the series in a message."""
        return self.slices[0].path


def is_dicom(path: Path) -> bool:
    """Whether ``path`` has DICOM's mark, or the name of a DICOM file."""
    if path.suffix.lower() in (".dcm", ".ima"):
        return True
    try:
        return pydicom.misc.is_dicom(path)
    except OSError:  # it may be one, and is refused by name later
        return True


def find_series(files: Sequence[Path], note: Note, modality: str = "CT") -> list[Series]:
    """The series in the order of their first file; ``note`` gets what is left out."""
    groups: dict[tuple, list[Slice]] = {}
    for path in files:
        with collecting(note, path):
            header = _header_of(path)
            if reason := _reason_to_leave_out(header, modality):
                note(DataWarning(f"left out: {reason}", where=path))
                continue
            *_, study, series = (str(header.get(tag, "")).strip() for tag in IDENTITY)
            turn = tuple(np.round(np.array(header.ImageOrientationPatient, float), 3) + 0.0)
            pixel = tuple(round(float(mm), 5) for mm in header.PixelSpacing)
            grid = (int(header.Rows), int(header.Columns), *pixel)
            position = np.array(header.ImagePositionPatient, float)
            key = (series or str(path.parent), study, turn, grid)
            groups.setdefault(key, []).append(Slice(path, header, position))
    return [Series(slices) for slices in groups.values()]


def _header_of(path: Path) -> pydicom.Dataset:
    tags = [*IDENTITY, *NEEDED]
    try:
        size = path.stat().st_size
        with pydicom.config.disable_value_validation():
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=tags, force=True)
            for tag in NEEDED:  # values are parsed when they are first asked for
                header.get(tag)
    except OSError as error:
        what = f"the file cannot be opened ({error.strerror})"
        raise DataError(what, fix="check the file and its permissions") from None
    except Exception as error:  # pydicom raises errors of many kinds
        what = f"the DICOM header cannot be read ({size} bytes: {type(error).__name__})"
        raise DataError(what, fix=REPLACE) from None
    if not len(header):
        raise DataError(f"this is not a DICOM file ({size} bytes)", fix=REPLACE)
    return header


def _reason_to_leave_out(header: pydicom.Dataset, modality: str) -> str | None:
    """What keeps a file from being a slice of a scan, or None."""
    kind, image_type = header.get("Modality"), header.get("ImageType") or ()
    if kind != modality:
        return f"its modality is {kind or 'missing'}, not {modality}"
    if "LOCALIZER" in [str(word).upper() for word in image_type]:
        return "it is a scout image (localizer)"
    if str(header.get("BurnedInAnnotation", "NO")).upper() == "YES":
        return "it has text burned into its pixels, which may name the patient"
    if int(header.get("NumberOfFrames") or 1) > 1:
        return f"it is a multi-frame file of {header.NumberOfFrames} slices; {CONVERT}"
    if int(header.get("SamplesPerPixel") or 1) != 1:
        return f"it is a colour image ({header.SamplesPerPixel} numbers a pixel)"
    values = {tag: header.get(tag) for tag in GEOMETRY}
    if lacking := [tag for tag, v in values.items() if v in (None, "") or "" in np.ravel(v)]:
        return f"it does not say where it lies in the patient (no {', '.join(lacking)})"
    return None


def read_series(series: Series, note: Note) -> Volume | None:
    """The volume of a series, HU in RAS+ order; every finding goes to ``note``.

    None when it cannot be put together and ``note`` did not raise. Slices are sorted by position,
    not by name or number. HU = stored x RescaleSlope + RescaleIntercept, slice by slice. Padding
    (PixelPaddingValue, and all CT numbers below -1024 HU) becomes -1024 HU.
    """
    with collecting(note, series.where):
        first = series.slices[0]
        rows, columns = int(first["Rows"]), int(first["Columns"])
        turn = np.array(first["ImageOrientationPatient"], float).reshape(2, 3)
        if not np.allclose(turn @ turn.T, np.eye(2), atol=1e-3):
            what = f"the directions of rows and columns are not at right angles ({turn.tolist()})"
            raise DataError(what, fix="export it again")
        if rows * columns * len(series.slices) > MAX_VOXELS:
            size = f"{rows} x {columns} x {len(series.slices)} voxels"
            raise DataError(f"{size}; the limit is {MAX_VOXELS:.3g}", fix="crop it")
        normal = np.cross(*turn)
        slices, step = _stack(series, normal, note)
        down, across = map(float, first["PixelSpacing"])
        if not min(across, down) > 0:
            raise DataError(f"pixels of {down} x {across} mm", fix=AGAIN)
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


def _stack(series: Series, normal: np.ndarray, note: Note) -> tuple[list[Slice], float]:
    """Slices in order along ``normal``, and their distance in mm. DataError for an uneven stack."""
    slices = sorted(series.slices, key=lambda one: float(one.position @ normal))
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
    if shift > 0.1 * min(map(float, slices[0]["PixelSpacing"])):
        tilt = np.degrees(np.arctan2(np.linalg.norm(aside[-1]), along[-1]))
        what = f"the gantry was tilted by {tilt:.3g} degrees: slices are shifted against each other"
        what += f" by up to {shift:.3g} mm"
        raise DataError(what, fix="straighten the series first, for example with dcm2niix")
    return slices, float(along[-1]) / (len(slices) - 1)


def _without_doubles(slices: list[Slice], normal: np.ndarray) -> list[Slice]:
    """One slice for each position. Raises DataError when two at one hold other pixels."""
    kept = slices[:1]
    for one in slices[1:]:
        if abs(float((one.position - kept[-1].position) @ normal)) > 1e-3:
            kept.append(one)
        elif not _same_pixels(one, kept[-1]):
            what = "slices lie where another one lies but hold other pixels (several phases or"
            what += " reconstructions under one series)"
            raise DataError(what, fix="export each phase into a folder of its own")
    return kept


def _same_pixels(one: Slice, other: Slice) -> bool:
    if one.path.read_bytes() == other.path.read_bytes():
        return True
    with suppress(DataError):
        return np.array_equal(_pixels_of(one)[0], _pixels_of(other)[0])
    return False


def _pixels_of(one: Slice) -> tuple[np.ndarray, np.ndarray]:
    """HU float32 and where the padding is, both (rows, columns). Raises DataError."""
    with collecting(strict, one.path):
        stored = _stored_pixels(one)
        rows, columns = one["Rows"], one["Columns"]
        if stored.shape != (rows, columns):
            what = f"the pixels are {stored.shape}, the header says {rows} x {columns}"
            raise DataError(what, fix=AGAIN)
        slope, intercept = _rescaling_of(one)
        hu = stored.astype(np.float32) * np.float32(slope) + np.float32(intercept)
        padding = _padding(one, stored)
        return hu, padding | (hu < AIR) if one["Modality"] == "CT" else padding


def _stored_pixels(one: Slice) -> np.ndarray:
    syntax = None
    try:
        with pydicom.config.disable_value_validation(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = pydicom.dcmread(one.path, force=True)
            syntax = data.file_meta.get("TransferSyntaxUID") or pydicom.uid.ImplicitVRLittleEndian
            data.file_meta.TransferSyntaxUID = syntax
            return data.pixel_array
    except Exception as error:  # decoders raise errors of many kinds
        if syntax is not None and syntax.is_compressed and "length" not in str(error):
            what = f"the pixels are compressed as {syntax.name}, and they cannot be decoded here"
            raise DataError(what, fix=DECODE) from None
        size = one.path.stat().st_size
        what = f"the pixels cannot be read ({size} bytes: {type(error).__name__})"
        raise DataError(f"{what}; the file is cut off or damaged", fix=AGAIN) from None


def _rescaling_of(one: Slice) -> tuple[float, float]:
    slope, intercept, unit = (one[tag] for tag in RESCALE)
    is_hu = slope is not None and intercept is not None and unit in (None, "", "HU")
    if one["Modality"] == "CT" and not is_hu:
        what = f"RescaleSlope {slope}, RescaleIntercept {intercept}, RescaleType {unit}"
        raise DataError(f"the numbers are not HU ({what})", fix="export the original CT images")
    slope, intercept = float(1 if slope is None else slope), float(intercept or 0)
    if not np.isfinite([slope, intercept]).all() or slope == 0:
        raise DataError(f"RescaleSlope is {slope}, RescaleIntercept {intercept}", fix=AGAIN)
    return slope, intercept


def _padding(one: Slice, stored: np.ndarray) -> np.ndarray:
    """Where the stored numbers are the padding that the header names, (rows, columns) bool."""
    value, limit, signed = (one[tag] for tag in PADDING)
    if value in (None, ""):
        return np.zeros(stored.shape, bool)
    ends = [int(value), int(value if limit in (None, "") else limit)]
    if signed == 1:  # some scanners write it unsigned beside signed pixels
        ends = [end - 2**16 if end >= 2**15 else end for end in ends]
    return (stored >= min(ends)) & (stored <= max(ends))
