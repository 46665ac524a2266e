"""The scans of a folder, in any format, each with the label that belongs to it."""

import glob
import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ssltut.data.labels import BONE_FILES, HIP, LABEL_MAPS, LabelMap, LabelTable
from ssltut.errors import DataError, DataWarning
from ssltut.io.dicom import read_series
from ssltut.io.dicom_series import Series, find_series
from ssltut.io.entries import Entry, entry_of, half_of, patient_of, survey
from ssltut.io.formats import read_scan
from ssltut.io.nifti import scan_id
from ssltut.io.pairing import Scans, pair, two_labels
from ssltut.io.structures import referenced_series
from ssltut.io.volume import Note, Volume, merged

CHANNEL = re.compile(r"_(0000|data|image|img|ct)$", re.IGNORECASE)  # a pattern's {name} lacks it


@dataclass(frozen=True)
class IntakeOptions:
    """How scans are taken in; lengths in mm."""

    labels: LabelMap | None = None  # what values of label files mean; without it they are left out
    modality: str = "CT"
    spacing: float | None = None  # of the voxels to resample to
    hips: float | None = None  # side of the cubes cut around left and right hip
    assume_spacing: float | None = None  # for files without an affine
    fill: float | None = None  # HU, for voxels that are NaN or infinite
    each_a_patient: bool = False  # every file, or DICOM study, is of another patient
    channel: str | None = None  # which of a scan's channels to take: 0001, t1, ...

    @property
    def table(self) -> LabelTable:
        return self.labels.table if self.labels else HIP


@dataclass(frozen=True)
class FoundScan:
    """One scan. ``where`` and ``patient`` may name a person: for the terminal, never for a file."""

    where: Path
    patient: str
    series: Series | None = None
    label: Path | None = None
    unlabelled: bool = False  # it lies in the half of a data set without labels

    @property
    def kind(self) -> str:
        if self.series is not None:
            return f"DICOM series of {len(self.series.files)} files"
        name = self.where.name.lower()
        return "NIfTI" if name.endswith((".nii", ".nii.gz", ".hdr")) else self.where.suffix[1:]

    def read(self, options: IntakeOptions, note: Note) -> Volume | None:
        """The volume in RAS+, in HU for CT; findings go to ``note``. None without voxels."""
        if self.series is not None:
            volume = read_series(self.series, note)
        else:
            given = {"assume_spacing": options.assume_spacing, "fill": options.fill}
            volume = read_scan(self.where, note, options.modality, **given)
        if volume is None or options.modality == "CT":
            return volume
        return replace(volume, values=volume.values.astype(np.float32, copy=False))


def find_scans(folder: Path, options: IntakeOptions, note: Note) -> list[FoundScan]:
    """Every scan below ``folder`` (or the one file), in the order of their names.

    ``note`` gets what is left out, and a DataError for a scan that two labels fit. All files of a
    sub-folder belong to one patient unless ``options.each_a_patient``: patients may be merged
    wrongly, never split over training and test. DICOM has its patient in the header.
    """
    mapping = options.labels
    structures = {name.lower() for name in (mapping and mapping.masks) or BONE_FILES}
    found = survey(folder, note, options.modality, options.channel, structures)
    objects: list[Path] = []  # DICOM files that hold labels
    series = {one.where: one for one in find_series(found.dicom, note, options.modality, objects)}
    names = {entry.path: [entry] for entry in found.scans}
    names |= {where: _names_of(where, folder) for where in series}
    if mapping and mapping.files:
        owners, refused = _by_patterns(names, series, mapping.files, note)
        given = set(owners.values())
        names = {path: entries for path, entries in names.items() if path not in given}
        others = [e.path for e in found.labels if not given & {e.path, *e.path.parents}]
    else:
        owners, refused, others = pair(names, found.labels, structures, folder, note)
    owners |= _dicom_labels(objects, list(series.values()), note)
    _tell_of_labels(owners, others, mapping, note)
    scans = []
    for path, (entry, *_) in names.items():
        if path not in refused:
            halves = map(half_of, path.relative_to(folder).parts[:-1])
            patient = _patient_of(entry, series.get(path), folder, options)
            label = owners.get(path) if mapping else None
            scans.append(FoundScan(path, patient, series.get(path), label, "unlabelled" in halves))
    _warn_of_one_patient(scans, options, note)
    return scans


def _names_of(first: Path, folder: Path) -> list[Entry]:
    """A label may lie in the folder of a series, or be named after that folder."""
    names = [replace(entry_of(first, folder), words=())]
    if first.parent != folder:
        names.append(replace(entry_of(first.parent, folder), path=first))
    return names


def _by_patterns(
    names: Scans, series: Collection[Path], files: Sequence[str], note: Note
) -> tuple[dict[Path, Path], set[Path]]:
    """The label of each scan by the patterns of a mapping, and the scans that two labels fit."""
    owners: dict[Path, Path] = {}
    refused: set[Path] = set()
    for path in names:
        try:
            name = path.parent.name if path in series else scan_id(path)
            if label := _label_of(path.parent, name, files):
                owners[path] = label
        except DataError as error:
            refused.add(path)
            note(error)
    return owners, refused


def _label_of(folder: Path, name: str, files: Sequence[str]) -> Path | None:
    """The first pattern that fits decides. Raises DataError when it fits two files."""
    core = glob.escape(CHANNEL.sub("", name))
    for file in files:
        pattern = os.path.join(glob.escape(str(folder)), file.replace("{name}", core))
        paths = sorted({Path(os.path.normpath(match)) for match in glob.glob(pattern)})
        paths = [p for p in paths if p.parent != folder or scan_id(p) != name]
        if len(paths) > 1:
            raise two_labels(folder / name, paths)
        if paths:
            return paths[0]
    return None


def _dicom_labels(objects: list[Path], series: list[Series], note: Note) -> dict[Path, Path]:
    """The SEG or RTSTRUCT of each series, by the number it refers to."""
    by_number = {one.slices[0].series: one.where for one in series}
    owners: dict[Path, list[Path]] = {}
    for path in objects:
        owner = by_number.get(referenced_series(path) or "")
        if owner is None:
            what = "left out: a DICOM label of a series that is not here"
            note(DataWarning(what, where=path, fix="add the series it was drawn on"))
        else:
            owners.setdefault(owner, []).append(path)
    for owner, paths in owners.items():
        if len(paths) > 1:
            note(two_labels(owner, paths))
    return {owner: paths[0] for owner, paths in owners.items() if len(paths) == 1}


def _tell_of_labels(
    owners: Mapping[Path, Path], others: Sequence[Path], mapping: LabelMap | None, note: Note
) -> None:
    """Name, once, the labels that no scan has, or whose values have no meaning yet."""
    what = "left out: it looks like a label, but"
    if mapping is None:
        what += " nothing says what its values mean"
        fix = f"add --labels {', '.join(LABEL_MAPS)} or a YAML file"
        others = sorted({*others, *owners.values()})
    else:
        what += " no scan has its name"
        fix = "give image and label the same name"
    for finding in merged(DataWarning(what, where=path, fix=fix) for path in others):
        note(finding)


def _patient_of(entry: Entry, series: Series | None, folder: Path, options: IntakeOptions) -> str:
    if series is None:
        return str(entry.path) if options.each_a_patient else patient_of(entry, folder)
    if options.each_a_patient:
        return series.slices[0].study or str(entry.path.parent)
    return series.patient


def _warn_of_one_patient(scans: Sequence[FoundScan], options: IntakeOptions, note: Note) -> None:
    """Several studies whose headers all name one patient may have been made anonymous so."""
    studies = {scan.series.slices[0].study for scan in scans if scan.series}
    patients = {scan.patient for scan in scans}
    if len(studies) > 2 and len(patients) == 1 and not options.each_a_patient:
        what = f"{len(studies)} studies have one patient in their headers, so there is no split"
        fix = "if they are different people, add --each-a-patient: a study is a patient then"
        note(DataWarning(what, where=scans[0].where, fix=fix))
