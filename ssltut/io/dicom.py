"""DICOM in: the series of a folder, each put together as one volume in HU, or refused with its
reason.

pydicom alone reads them. It gives every header as it stands, so that gaps, tilt, doubles and
padding can be judged here one by one; ITK's readers assemble a volume silently and would bring 150
MB. Pixels that are plain, RLE or deflated need nothing else; for JPEG, JPEG-LS and JPEG 2000
pydicom asks whichever decoder is installed (Pillow, which matplotlib brings, reads JPEG 2000), and
what none can decode is refused by its name.

Only the tags of ``GEOMETRY`` and ``PIXELS`` travel on. Those of ``IDENTITY`` group files by patient
and series and are then forgotten.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ssltut.errors import DataError, DataWarning
from ssltut.io.nifti_header import MAX_VOXELS, Note, Volume, as_ras, as_stored

IDENTITY = ("PatientID", "PatientName", "StudyInstanceUID", "SeriesInstanceUID")
GEOMETRY = ("ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing", "Rows", "Columns")
PIXELS = (
    "Modality",
    "ImageType",
    "NumberOfFrames",
    "SamplesPerPixel",
    "BurnedInAnnotation",
    "RescaleSlope",
    "RescaleIntercept",
    "RescaleType",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "PixelRepresentation",
    "LossyImageCompression",
)
AIR = -1024  # HU below it are what scanners write where they measured nothing
DECODE = (
    "decompress the series (gdcmconv --raw, dcmdjpeg), or install a decoder: "
    "pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg"
)


@dataclass(frozen=True)
class Slice:
    """One file: its header (a pydicom Dataset of the tags above, without pixels) and where it lies,
    in mm of the patient (LPS).
    """

    path: Path
    header: object
    position: np.ndarray

    def __getitem__(self, tag: str) -> object:
        return self.header.get(tag)


@dataclass(frozen=True)
class Series:
    """Slices of one series that share modality, orientation, matrix and pixel size. ``patient`` is
    private: it groups, and is never
    written.
    """

    folder: Path
    patient: str
    modality: str
    slices: Sequence[Slice] = field(repr=False)

    @property
    def where(self) -> Path:
        """The first of the files, which names the series in a message."""
        return self.slices[0].path


def is_dicom(path: Path) -> bool:
    """Whether ``path`` has DICOM's mark, or the name of a DICOM file; a file that cannot be opened
    may be one, and is refused by name
    later.
    """
    if path.suffix.lower() in (".dcm", ".ima"):
        return True
    try:
        with open(path, "rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return True


def find_series(files: Sequence[Path], note: Note, modality: str = "CT") -> list[Series]:
    """The series among ``files``, in the order of their first file. What is no slice of a
    ``modality`` scan is told to ``note`` and left
    out.
    """
    groups: dict[tuple, list[Slice]] = {}
    for path in files:
        header = _header_of(path, note)
        if header is None or not _is_slice(header, path, modality, note):
            continue
        names = [str(header.get(tag, "")).strip() for tag in IDENTITY]
        turn = tuple(np.round(np.array(header.ImageOrientationPatient, float), 3) + 0.0)
        grid = (
            int(header.Rows),
            int(header.Columns),
            *(round(float(v), 5) for v in header.PixelSpacing),
        )
        found = groups.setdefault((names[3] or str(path.parent), names[2], turn, grid), [])
        found.append(Slice(path, header, np.array(header.ImagePositionPatient, float)))
    series = []
    for slices in groups.values():
        who = next(
            (text for tag in IDENTITY[:3] if (text := str(slices[0][tag] or "").strip())),
            str(slices[0].path.parent),
        )
        series.append(Series(slices[0].path.parent, who, modality, tuple(slices)))
    return series


def _header_of(path: Path, note: Note) -> object | None:
    import pydicom

    try:
        with pydicom.config.disable_value_validation():
            header = pydicom.dcmread(
                path,
                stop_before_pixels=True,
                specific_tags=[*IDENTITY, *GEOMETRY, *PIXELS],
                force=True,
            )
            [
                header.get(tag) for tag in (*GEOMETRY, *PIXELS)
            ]  # values are parsed when they are first asked for
    except OSError as error:
        return note(
            DataError(
                f"the file cannot be opened ({error.strerror})",
                where=path,
                fix="check the file and its permissions",
            )
        )
    except Exception as error:  # pydicom raises whatever the bytes make it stumble over
        return note(
            DataError(
                f"the DICOM header cannot be read ({path.stat().st_size} bytes:"
                f" {type(error).__name__})",
                where=path,
                fix="export the file again, or take it out of the folder",
            )
        )
    if not len(header):
        return note(
            DataError(
                f"this is not a DICOM file ({path.stat().st_size} bytes)",
                where=path,
                fix="export it again, or take it out of the folder",
            )
        )
    return header


def _is_slice(header: object, path: Path, modality: str, note: Note) -> bool:
    """What a scan's slice must have; everything else is named, and left out."""
    kind, types = header.get("Modality"), [str(t).upper() for t in header.get("ImageType") or ()]
    lacking = [
        tag for tag in GEOMETRY if header.get(tag) in (None, "") or "" in np.ravel(header.get(tag))
    ]
    why = None
    if kind != modality:
        why = f"its modality is {kind or 'missing'}, not {modality}"
    elif "LOCALIZER" in types:
        why = "it is a scout image (localizer)"
    elif str(header.get("BurnedInAnnotation", "NO")).upper() == "YES":
        why = "it has text burned into its pixels, which may name the patient"
    elif int(header.get("NumberOfFrames") or 1) > 1:
        why = (
            f"it is a multi-frame file of {header.NumberOfFrames} slices; convert it to NIfTI, for"
            " example with dcm2niix"
        )
    elif int(header.get("SamplesPerPixel") or 1) != 1:
        why = f"it is a colour image ({header.SamplesPerPixel} numbers a pixel)"
    elif lacking:
        why = f"it does not say where it lies in the patient (no {', '.join(lacking)})"
    if why:
        note(DataWarning(f"left out: {why}", where=path))
    return why is None


def read_series(series: Series, note: Note) -> Volume | None:
    """The volume of a series, HU in RAS+ order; every finding goes to ``note``. None when it cannot
    be put together.

    Slices are sorted by position, not by name or number. HU = stored x RescaleSlope +
    RescaleIntercept, slice by slice. Padding (PixelPaddingValue, and all CT numbers below -1024 HU)
    becomes -1024 HU.
    """
    first = series.slices[0]
    rows, columns = int(first["Rows"]), int(first["Columns"])
    turn = np.array(first["ImageOrientationPatient"], float).reshape(2, 3)
    if not np.allclose(turn @ turn.T, np.eye(2), atol=1e-3):
        return note(
            DataError(
                f"the directions of rows and columns are not at right angles ({turn.tolist()})",
                where=series.where,
                fix="export it again",
            )
        )
    if rows * columns * len(series.slices) > MAX_VOXELS:
        return note(
            DataError(
                f"{rows} x {columns} x {len(series.slices)} voxels; the limit is {MAX_VOXELS:.3g}",
                where=series.where,
                fix="crop it",
            )
        )
    stacked = _stack(series, np.cross(*turn), note)
    if stacked is None:
        return None
    slices, step = stacked
    across, down = float(first["PixelSpacing"][1]), float(first["PixelSpacing"][0])
    if not min(across, down) > 0:
        return note(
            DataError(
                f"pixels of {down} x {across} mm", where=series.where, fix="export the series again"
            )
        )
    affine = np.eye(4)
    affine[:3] = np.column_stack(
        [turn[0] * across, turn[1] * down, np.cross(*turn) * step, slices[0].position]
    )
    values, padded = np.empty((columns, rows, len(slices)), np.float32), 0
    for k, one in enumerate(slices):
        pixels = _pixels_of(one, note)
        if pixels is None:
            return None
        hu, padding = pixels
        padded += np.count_nonzero(padding)
        values[..., k] = np.where(padding, AIR, hu).T
    to_ras = np.diag(
        [-1, -1, 1, 1.0]
    )  # DICOM counts to the left and back, NIfTI to the right and front
    return replace(as_ras(as_stored(values), to_ras @ affine), padding=int(padded))


def _stack(series: Series, normal: np.ndarray, note: Note) -> tuple[list[Slice], float] | None:
    """Slices in order along ``normal`` and their distance in mm. Doubles, gaps, uneven distances
    and a tilted gantry are found here.
    """
    slices = sorted(series.slices, key=lambda one: float(one.position @ normal))
    slices, doubles = _without_doubles(slices, normal)
    if doubles is None:
        return note(
            DataError(
                "slices lie where another one lies but hold other pixels (several phases or"
                " reconstructions under one series)",
                where=series.where,
                fix="export each phase into a folder of its own",
            )
        )
    if doubles:
        note(
            DataWarning(
                f"{doubles} slices are there twice, with the same pixels; one of each is used",
                where=series.where,
            )
        )
    if len(slices) < 2:
        return note(
            DataError(
                "the series is a single slice, not a volume",
                where=series.where,
                fix="take it out, or add the rest of the series",
            )
        )
    places = np.array([one.position for one in slices])
    along = places @ normal
    steps = np.diff(along)
    step = float(np.median(steps))
    if (wide := steps > 1.5 * step).any():
        at = int(np.argmax(wide))
        lost = int(np.sum(np.rint(steps[wide] / step) - 1))
        return note(
            DataError(
                f"about {lost} slices are missing: slices are {step:.4g} mm apart, but"
                f" {steps[at]:.4g} mm between {slices[at].path.name} and"
                f" {slices[at + 1].path.name}",
                where=series.where,
                fix="export the whole series again",
            )
        )
    even = along[0] + step * np.arange(len(slices))
    if (off := np.abs(along - even).max()) > 0.1 * step:
        return note(
            DataError(
                f"the slices are unevenly spaced, {steps.min():.4g} to {steps.max():.4g} mm"
                f" ({off:.3g} mm from an even grid)",
                where=series.where,
                fix="resample the series to even slices, for example with dcm2niix",
            )
        )
    aside = places - places[0] - np.outer(along - along[0], normal)
    if (shift := np.linalg.norm(aside, axis=1).max()) > 0.1 * min(
        map(float, slices[0]["PixelSpacing"])
    ):
        tilt = np.degrees(np.arctan2(np.linalg.norm(aside[-1]), along[-1] - along[0]))
        return note(
            DataError(
                f"the gantry was tilted by {tilt:.3g} degrees: slices are shifted against each"
                f" other by up to {shift:.3g} mm",
                where=series.where,
                fix="straighten the series first, for example with dcm2niix",
            )
        )
    return slices, float(along[-1] - along[0]) / (len(slices) - 1)


def _without_doubles(slices: list[Slice], normal: np.ndarray) -> tuple[list[Slice], int | None]:
    """One slice for each position, and how many there were twice; None for the number when two of
    them differ.
    """
    kept, doubles = slices[:1], 0
    for one in slices[1:]:
        if abs(float((one.position - kept[-1].position) @ normal)) > 1e-3:
            kept.append(one)
            continue
        doubles += 1
        if one.path.read_bytes() != kept[-1].path.read_bytes():
            new, old = (_pixels_of(s, lambda finding: None) for s in (one, kept[-1]))
            if new is None or old is None or not np.array_equal(new[0], old[0]):
                return kept, None
    return kept, doubles


def _pixels_of(one: Slice, note: Note) -> tuple[np.ndarray, np.ndarray] | None:
    """HU float32 and where the padding is, both (rows, columns)."""
    import warnings

    import pydicom

    try:
        with pydicom.config.disable_value_validation(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = pydicom.dcmread(one.path, force=True)
            syntax = data.file_meta.get("TransferSyntaxUID") or pydicom.uid.ImplicitVRLittleEndian
            data.file_meta.TransferSyntaxUID = syntax
            stored = data.pixel_array
    except Exception as error:  # decoders raise whatever they like
        if "syntax" in locals() and syntax.is_compressed and "length" not in str(error):
            return note(
                DataError(
                    f"the pixels are compressed as {syntax.name}, and they cannot be decoded here",
                    where=one.path,
                    fix=DECODE,
                )
            )
        return note(
            DataError(
                f"the pixels cannot be read ({one.path.stat().st_size} bytes:"
                f" {type(error).__name__}); the file is cut off or damaged",
                where=one.path,
                fix="export the series again",
            )
        )
    if stored.shape != (int(one["Rows"]), int(one["Columns"])):
        return note(
            DataError(
                f"the pixels are {stored.shape}, the header says {one['Rows']} x {one['Columns']}",
                where=one.path,
                fix="export it again",
            )
        )
    slope, intercept = one["RescaleSlope"], one["RescaleIntercept"]
    ct = one["Modality"] == "CT"
    if ct and (slope is None or intercept is None or one["RescaleType"] not in (None, "", "HU")):
        return note(
            DataError(
                f"the numbers are no HU (RescaleSlope {slope}, RescaleIntercept {intercept},"
                f" RescaleType {one['RescaleType']})",
                where=one.path,
                fix="export the original CT images",
            )
        )
    slope, intercept = float(1 if slope is None else slope), float(intercept or 0)
    if not np.isfinite([slope, intercept]).all() or slope == 0:
        return note(
            DataError(
                f"RescaleSlope is {slope}, RescaleIntercept {intercept}",
                where=one.path,
                fix="export the series again",
            )
        )
    hu = stored.astype(np.float32) * np.float32(slope) + np.float32(intercept)
    return hu, _padding(one, stored) | (hu < AIR if ct else False)


def _padding(one: Slice, stored: np.ndarray) -> np.ndarray:
    """Where the stored numbers are the padding that the header names (some scanners write it
    unsigned beside signed pixels).
    """
    value = one["PixelPaddingValue"]
    if value in (None, ""):
        return np.zeros(stored.shape, bool)
    limit = one["PixelPaddingRangeLimit"]
    signed = one["PixelRepresentation"] == 1
    ends = [
        int(v) - 2**16 * (signed and int(v) >= 2**15)
        for v in (value, value if limit in (None, "") else limit)
    ]
    return (stored >= min(ends)) & (stored <= max(ends))
