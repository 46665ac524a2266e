"""Read what a DICOM header says, once, into one record: numbers that are finite and in range, text.

What a tag holds is judged by itself. A number that cannot be is a finding that names the tag and
its value; the rest of the header is read nevertheless.
"""

import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import pydicom

from ssltut.data.case import VOXEL_SIZES
from ssltut.errors import DataError, DataWarning
from ssltut.files import check_regular
from ssltut.io.volume import MAX_OFFSET, Finding, Note
from ssltut.options import Range
from ssltut.text import plain

IDENTITY = ("PatientID", "PatientName", "StudyInstanceUID", "SeriesInstanceUID")
KIND = ("Modality", "ImageType", "BurnedInAnnotation", "RescaleType", "AcquisitionNumber")
TEXTS = (*IDENTITY, *KIND)
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
CODE = re.compile(r"\w{0,16}", re.ASCII)  # DICOM PS3.5, 6.2: CS, with small letters too
AGAIN = "export the series again; until then it is left out"
REPLACE = "export the file again, or take it out of the folder"


class Numbers(NamedTuple):
    """How many numbers a tag holds, and which they can be."""

    n: int
    bounds: Range
    whole: bool = False

    def __str__(self) -> str:
        kind = "whole number" if self.whole else "number"
        plural = "s" if self.n > 1 else ""
        return f"{self.n} {kind}{plural} from {self.bounds.low:g} to {self.bounds.high:g}"


SIDE = Numbers(1, Range(1, 2**16), True)
PADDING = Numbers(1, Range(-(2**15), 2**16), True)
NUMBERS = {
    "ImageOrientationPatient": Numbers(6, Range(-1.001, 1.001)),  # cosines
    "ImagePositionPatient": Numbers(3, Range(-MAX_OFFSET, MAX_OFFSET)),  # mm
    "PixelSpacing": Numbers(2, VOXEL_SIZES),  # mm, down and across
    "Rows": SIDE,
    "Columns": SIDE,
    "NumberOfFrames": Numbers(1, Range(0, 2**16), True),
    "SamplesPerPixel": Numbers(1, Range(1, 4), True),
    "RescaleSlope": Numbers(1, Range(-1e6, 1e6)),
    "RescaleIntercept": Numbers(1, Range(-1e6, 1e6)),
    "PixelPaddingValue": PADDING,
    "PixelPaddingRangeLimit": PADDING,
    "PixelRepresentation": Numbers(1, Range(0, 1), True),
}


@dataclass(frozen=True)
class Header:
    """The header of one file. What it lacks is empty text, no numbers, or None."""

    path: Path
    patient: str  # the first identity it names: it groups, and is never written
    study: str
    series: str
    modality: str
    image_type: tuple[str, ...]  # in capitals
    burned_in: bool  # text in the pixels
    orientation: tuple[float, ...]  # directions along a row and down a column (LPS)
    position: tuple[float, ...]  # mm of the patient (LPS)
    spacing: tuple[float, ...]  # mm between rows, and between columns
    rows: int | None
    columns: int | None
    frames: int
    samples: int  # numbers a pixel
    slope: float | None
    intercept: float | None
    unit: str  # of the rescaled numbers
    padding: tuple[int, ...]  # the least and the largest stored number that stands for none
    acquisition: str  # the number of the scanner's pass
    findings: tuple[Finding, ...]
    frame: int | None = None  # of an enhanced multi-frame file, from 0


def read_headers(path: Path) -> list[Header]:
    """The header of a file, or of each frame of an enhanced one (DICOM PS3.3, C.7.6.16).

    Raises DataError when it cannot be read as DICOM at all.
    """
    first = _header_of(path, _dataset(path, [*TEXTS, *NUMBERS]))
    if first.frames < 2:
        return [first]
    try:
        whole = _dataset(path, None)
        frames = [replace(_header_of(path, flat), frames=1) for flat in _frames_of(whole)]
    except DataError:
        raise
    except Exception as error:  # as in _dataset
        what = f"the frames' headers cannot be read ({type(error).__name__})"
        raise DataError(what, fix=REPLACE) from None
    if len(frames) != first.frames:
        return [first]
    return [replace(header, frame=i) for i, header in enumerate(frames)]


def _frames_of(whole: pydicom.Dataset) -> Iterator[pydicom.Dataset]:
    """For each frame what a file of a single slice would say."""
    shared = whole.get("SharedFunctionalGroupsSequence") or []
    for frame in whole.get("PerFrameFunctionalGroupsSequence") or []:
        flat = pydicom.Dataset()
        for part in (whole, *_items_in(shared[:1]), *_items_in([frame])):
            flat.update({item.tag: item for item in part if item.keyword in (*TEXTS, *NUMBERS)})
        yield flat


def _items_in(groups: Iterable[pydicom.Dataset]) -> list[pydicom.Dataset]:
    """The first item of every sequence in functional groups: position, orientation, sizes ..."""
    elements = [element for group in groups for element in group]
    return [element.value[0] for element in elements if element.VR == "SQ" and element.value]


def _dataset(path: Path, tags: list[str] | None) -> pydicom.Dataset:
    """The header of a file, without its pixels; only ``tags`` where some are named."""
    check_regular(path)
    try:
        size = path.stat().st_size
        with pydicom.config.disable_value_validation(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what pydicom warns of is judged here
            options = {"stop_before_pixels": True, "force": True}
            data = pydicom.dcmread(path, specific_tags=tags, **options)
    except OSError as error:
        what = f"the file cannot be opened ({error.strerror})"
        raise DataError(what, fix="check the file and its permissions") from None
    except Exception as error:  # pydicom raises errors of many kinds
        what = f"the DICOM header cannot be read ({size} bytes: {type(error).__name__})"
        raise DataError(what, fix=REPLACE) from None
    if not len(data):
        raise DataError(f"this is not a DICOM file ({size} bytes)", fix=REPLACE)
    return data


def _header_of(path: Path, data: pydicom.Dataset) -> Header:
    findings: list[Finding] = []
    try:
        with pydicom.config.disable_value_validation(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            text = {tag: text_of(data, tag) for tag in TEXTS}
            numbers = {tag: numbers_of(data, tag, findings.append) for tag in NUMBERS}
    except Exception as error:  # as above
        what = f"the DICOM header cannot be read ({type(error).__name__})"
        raise DataError(what, fix=REPLACE) from None
    first: dict[str, Any] = {tag: values[0] if values else None for tag, values in numbers.items()}
    return Header(
        path=path,
        patient=next(filter(None, (text[tag] for tag in IDENTITY[:3])), ""),
        study=text["StudyInstanceUID"],
        series=text["SeriesInstanceUID"],
        # A damaged header can have anything here, a name too, and messages show it.
        modality=text["Modality"] if CODE.fullmatch(text["Modality"]) else "unreadable",
        image_type=tuple(text["ImageType"].upper().split("\\")),
        burned_in=text["BurnedInAnnotation"].upper() == "YES",
        orientation=numbers["ImageOrientationPatient"],
        position=numbers["ImagePositionPatient"],
        spacing=numbers["PixelSpacing"],
        rows=first["Rows"],
        columns=first["Columns"],
        frames=first["NumberOfFrames"] or 1,
        samples=first["SamplesPerPixel"] or 1,
        slope=first["RescaleSlope"],
        intercept=first["RescaleIntercept"],
        unit=text["RescaleType"],
        padding=_padding(first),
        acquisition=text["AcquisitionNumber"],
        findings=tuple(findings),
    )


def _padding(first: dict[str, Any]) -> tuple[int, ...]:
    value, limit = first["PixelPaddingValue"], first["PixelPaddingRangeLimit"]
    if value is None:
        return ()
    ends = [value, value if limit is None else limit]
    if first["PixelRepresentation"] == 1:  # some scanners write it unsigned beside signed pixels
        ends = [end - 2**16 if end >= 2**15 else end for end in ends]
    return min(ends), max(ends)


def text_of(data: pydicom.Dataset, tag: str) -> str:
    """What a tag holds, as text; several values stand between backslashes."""
    try:
        value = data.get(tag)
    except Exception:  # pydicom cannot read it as what it should be: as it stands in the file
        stored = data.get_item(tag)
        value = bytes(getattr(stored, "value", None) or b"").decode("ascii", "replace")
    several = isinstance(value, list | tuple | pydicom.multival.MultiValue)
    parts = value if several else [value]
    return "\\".join("" if part is None else str(part).strip(" \0") for part in parts)


def numbers_of(data: pydicom.Dataset, tag: str, note: Note) -> tuple[float, ...]:
    """The numbers of a tag of ``NUMBERS``; none where it lacks or is blank.

    ``note`` gets a DataError, without the file, when they cannot be, and a DataWarning when they
    are written with a decimal comma, which the standard forbids.
    """
    text, wanted = text_of(data, tag), NUMBERS[tag]
    if not text.replace("\\", ""):
        return ()
    shown = plain(text[:60])
    parts = [part.strip().replace(",", ".") for part in text.split("\\")]
    numbers = tuple(float(part) for part in parts if NUMBER.fullmatch(part))
    can_be = all(wanted.bounds.holds(n) and not (wanted.whole and n % 1) for n in numbers)
    if not len(parts) == len(numbers) == wanted.n or not can_be:
        note(DataError(f"{tag} is '{shown}', expected {wanted}", fix=AGAIN))
        return ()
    if "," in text:
        what = f"{tag} is '{shown}', with decimal commas: it is read as"
        what += f" {' and '.join(f'{n:g}' for n in numbers)}"
        note(DataWarning(what, fix="compare the size of the scan with the original"))
    return tuple(map(int, numbers)) if wanted.whole else numbers
