"""The DICOM series of a folder: which files belong to one volume, and what is left out."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import numpy as np
import pydicom

from ssltut.errors import DataError, DataWarning
from ssltut.files import check_regular
from ssltut.io.dicom_header import Header, read_headers
from ssltut.io.volume import Finding, Note, collecting, merged

AGAIN = "export the series again"
CONVERT = "convert it to NIfTI, for example with dcm2niix"
Groups = dict[tuple[str, str], list[list[Header]]]  # by series and study: slices of each grid
BARE = (b"\x08\0\0\0", b"\x08\0\x05\0", b"\x08\0\x08\0", b"\x08\0\x16\0")  # first tags, no mark


@dataclass(frozen=True)
class Series:
    """Slices of one series that share orientation, matrix and pixel size."""

    slices: Sequence[Header] = field(repr=False)

    @property
    def patient(self) -> str:
        """The first identity in the header, else the folder: it groups, and is never written."""
        return self.slices[0].patient or str(self.where.parent)

    @property
    def files(self) -> set[Path]:
        return {one.path for one in self.slices}

    @property
    def where(self) -> Path:
        """The first of the files, which names the series in a message."""
        return self.slices[0].path


def is_dicom(path: Path) -> bool:
    """Whether ``path`` has DICOM's mark, the name of a DICOM file, or a header without the mark."""
    if path.suffix.lower() in (".dcm", ".ima"):
        return True
    try:
        check_regular(path)
        if pydicom.misc.is_dicom(path):
            return True
        with open(path, "rb") as file:
            begin = file.read(4)
    except (DataError, OSError):  # it may be one, and is refused by name later
        return True
    if begin not in BARE:
        return False
    with suppress(DataError):
        return bool(read_headers(path)[0].modality)
    return False


def find_series(
    files: Sequence[Path], note: Note, modality: str = "CT", labels: list[Path] | None = None
) -> list[Series]:
    """The series in the order of their first file; ``note`` gets what is left out.

    A series with a file whose header cannot be is left out whole: without that file it would be
    another volume. ``labels`` gets the segmentations and contours (SEG, RTSTRUCT).
    """
    found: list[Finding] = []
    refused: set[tuple[str, str]] = set()
    groups: Groups = {}
    for path in files:
        with collecting(found.append, path):
            headers = read_headers(path)
            if labels is not None and headers[0].modality in ("SEG", "RTSTRUCT"):
                labels.append(path)
                continue
            for header in headers:
                if reason := _reason_to_leave_out(header, modality):
                    found.append(DataWarning(f"left out: {reason}", where=path))
                    break
                series = (header.series or str(path.parent), header.study)
                for told in header.findings:
                    found.append(type(told)(told.found, where=path, fix=told.fix))
                if any(isinstance(told, DataError) for told in header.findings):
                    refused.add(series)
                    break
                _add(header, groups.setdefault(series, []))
    for series in refused:
        groups.pop(series, None)
    found += _series_of_single_slices(groups)
    for own in groups.values():
        found += _mixed(own)
    for finding in merged(found):
        note(finding)
    return [Series(slices) for own in groups.values() for slices in own]


def _add(header: Header, groups: list[list[Header]]) -> None:
    """Put a slice to those with its grid; their numbers may be rounded differently."""
    for group in groups:
        first = group[0]
        same = (first.rows, first.columns) == (header.rows, header.columns)
        turned = np.abs(np.subtract(first.orientation, header.orientation)).max()
        if same and turned < 1e-3 and np.allclose(first.spacing, header.spacing, atol=1e-4):
            group.append(header)
            return
    groups.append([header])


def _series_of_single_slices(groups: Groups) -> Iterator[DataError]:
    """Take out slices that each claim a series of their own; a finding for those of a study."""
    alone: dict[tuple, list[tuple[str, str]]] = {}
    for series, own in groups.items():
        if len(own) == len(own[0]) == 1:
            alone.setdefault((series[1], own[0][0].rows, own[0][0].columns), []).append(series)
    for same in alone.values():
        if len(same) > 2:
            first = groups[same[0]][0][0].path
            for series in same:
                del groups[series]
            what = f"{len(same)} slices of one study each claim to be a series of their own"
            fix = "give them one SeriesInstanceUID, or convert them to NIfTI with dcm2niix -m y"
            yield DataError(what, where=first, fix=fix)


def _mixed(groups: list[list[Header]]) -> Iterator[Finding]:
    """Take out groups of a series that are turned a little and lie between each other.

    Each would be a volume of its own with too few slices. Groups of unlike pixels may lie at one
    place, as two reconstructions do.
    """
    for group, other in combinations(list(groups), 2):
        normals = [np.cross(g[0].orientation[:3], g[0].orientation[3:]) for g in (group, other)]
        angle = float(np.degrees(np.arccos(min(1.0, abs(float(np.dot(*normals)))))))
        along = [[float(np.dot(h.position, normals[0])) for h in g] for g in (group, other)]
        apart = min(map(max, along)) < max(map(min, along))
        if angle > 5 or apart:
            continue
        where, n = group[0].path, f"{len(group)} and {len(other)} slices"
        if group[0].spacing != other[0].spacing or group[0].rows != other[0].rows:
            what = f"one series holds {n} of unlike pixels at one place"
            what += ": they are taken as two scans"
            yield DataWarning(what, where=where, fix="check that both are wanted")
            continue
        groups[:] = [g for g in groups if g is not group and g is not other]
        what = f"one series holds {n}, turned by {angle:.2g} degrees, that lie between each other"
        yield DataError(what, where=where, fix=AGAIN)


def _reason_to_leave_out(header: Header, modality: str) -> str | None:
    """What keeps a file from being a slice of a scan, or None."""
    if header.modality != modality:
        return f"its modality is {header.modality or 'missing'}, not {modality}"
    if "LOCALIZER" in header.image_type:
        return "it is a scout image (localizer)"
    if header.burned_in:
        return "it has text burned into its pixels, which may name the patient"
    if header.frames > 1:
        return f"it is a multi-frame file of {header.frames} slices without positions; {CONVERT}"
    if header.samples != 1:
        return f"it is a colour image ({header.samples} numbers a pixel)"
    if any(isinstance(finding, DataError) for finding in header.findings):
        return None  # refused by name, not left out
    geometry = {
        "ImageOrientationPatient": header.orientation,
        "ImagePositionPatient": header.position,
        "PixelSpacing": header.spacing,
        "Rows": header.rows,
        "Columns": header.columns,
    }
    if lacking := [tag for tag, value in geometry.items() if not value]:
        what = f"it does not say where it lies in the patient (no {', '.join(lacking)})"
        return f"{what}; export the original images"
    return None
