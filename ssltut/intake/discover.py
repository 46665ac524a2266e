"""The scans of a folder, NIfTI and DICOM alike, each with the label that belongs to it."""

import glob
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ssltut.data.labels import HIP, LABEL_MAPS, LabelMap, LabelTable
from ssltut.errors import DataError, DataWarning, SsltutError
from ssltut.io._nifti_header import read_volume
from ssltut.io.dicom import Series, find_series, is_dicom, read_series
from ssltut.io.nifti import as_label, check_grid, check_label, scan_id
from ssltut.io.volume import Note, Volume

LABELS = ("label", "mask", "segmentation")  # folders whose names begin so hold labels, never scans
SHARED = ("images", "scans", "nifti")  # folders of this name hold scans of many patients
CHANNEL = re.compile(r"_(0000|data|image|img|ct)$", re.IGNORECASE)  # a label is named without it


@dataclass(frozen=True)
class IntakeOptions:
    """How scans are taken in; lengths in mm."""

    labels: LabelMap | None = None  # what values of label files mean; without it they are left out
    modality: str = "CT"
    spacing: float | None = None  # of the voxels to resample to
    hips: float | None = None  # side of the cubes cut around left and right hip
    assume_spacing: float | None = None  # for files without an affine
    fill: float | None = None  # HU, for voxels that are NaN or infinite
    each_a_patient: bool = False  # every NIfTI file is a patient's only one, in any folder

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

    @property
    def kind(self) -> str:
        return f"DICOM series of {len(self.series.slices)} files" if self.series else "NIfTI"

    def read(self, options: IntakeOptions, note: Note) -> Volume | None:
        """The volume in RAS+, in HU for CT; findings go to ``note``. None without voxels."""
        if self.series is not None:
            volume = read_series(self.series, note)
        else:
            spacing, fill = options.assume_spacing, options.fill
            volume = read_volume(self.where, note, assume_spacing=spacing, fill=fill)
        if volume is None or options.modality == "CT":
            return volume
        return replace(volume, values=volume.values.astype(np.float32, copy=False))

    def read_label(self, volume: Volume, mapping: LabelMap, note: Note) -> np.ndarray | None:
        """Classes of ``mapping.table`` (X, Y, Z) uint8 on the grid of ``volume``, if labelled."""
        if self.label is None:
            return None
        if self.label.is_dir():
            return _read_masks(self.label, volume, mapping, note)
        values = _read_mask(self.label, volume, note)
        check_label(values, self.label, note=note)
        return mapping(as_label(values), self.label)


def _read_mask(path: Path, volume: Volume, note: Note) -> np.ndarray:
    """The numbers of a label file that lies on the grid of ``volume``."""

    def raise_errors(finding: SsltutError | DataWarning) -> None:
        if isinstance(finding, SsltutError):
            raise finding
        note(finding)

    mask = read_volume(path, raise_errors)
    assert mask is not None, "raise_errors raises what stops the reading"
    check_grid(volume, mask, path)
    return mask.values


def _read_masks(folder: Path, volume: Volume, mapping: LabelMap, note: Note) -> np.ndarray:
    """One label of a folder with a mask for each structure."""
    paths = {scan_id(path): path for path in sorted(folder.glob("*.nii*"))}
    if absent := sorted(set(mapping.masks) - set(paths)):
        what = f"{len(absent)} of {len(mapping.masks)} masks are missing"
        fix = "add them, or take them out of the mapping"
        raise DataError(f"{what}, the first is {absent[0]}", where=folder, fix=fix)
    label = np.zeros(volume.values.shape, np.uint8)
    for name in sorted(mapping.masks):
        label[_read_mask(paths[name], volume, note) > 0] = mapping.masks[name]
    return label


def find_scans(folder: Path, options: IntakeOptions, note: Note) -> list[FoundScan]:
    """Every scan below ``folder`` (or the one file), in the order of their names.

    ``note`` gets what is no scan. Raises DataError when a scan has two labels. All NIfTI files of a
    sub-folder belong to one patient unless ``options.each_a_patient``: patients may be merged
    wrongly, never split over training and test. DICOM series have their patient in the header.
    """
    mapping = options.labels
    nifti, dicom = _files_below(folder)
    images = [path for path in nifti if not _holds_labels(path, folder)]
    labels = {path: _label_of(path.parent, scan_id(path), mapping) for path in images}
    taken, scans = set(labels.values()), []
    for path, label in labels.items():
        if path not in taken:
            patient = str(path) if options.each_a_patient else _patient_of(path, folder)
            scans.append(FoundScan(path, patient, None, label))
    for series in find_series(dicom, note, options.modality):
        label = _label_of(series.where.parent, series.where.parent.name, mapping)
        scans.append(FoundScan(series.where, series.patient, series, label))
    owned = {scan.label for scan in scans if scan.label}
    what = "left out: it looks like a label, but"
    if mapping is None:
        what += " nothing says what its values mean"
        fix = f"add --labels {', '.join(LABEL_MAPS)} or a YAML file"
        for path in sorted(owned):
            note(DataWarning(what, where=path, fix=fix))
        return [replace(scan, label=None) for scan in scans]
    for path in nifti:
        if _holds_labels(path, folder) and not owned & {path, *path.parents}:
            fix = "give image and label the same name"
            note(DataWarning(f"{what} no scan has its name", where=path, fix=fix))
    return scans


def _files_below(folder: Path) -> tuple[list[Path], list[Path]]:
    """NIfTI and DICOM files, hidden ones left out."""
    nifti, dicom = [], []
    for path in [folder] if folder.is_file() else sorted(folder.rglob("*")):
        is_hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if is_hidden or path.is_dir():
            continue
        if path.name.lower().endswith((".nii", ".nii.gz")):
            nifti.append(path)
        elif path.name.upper() != "DICOMDIR" and is_dicom(path):
            dicom.append(path)
    return nifti, dicom


def _label_of(folder: Path, name: str, mapping: LabelMap | None) -> Path | None:
    """The first pattern that fits decides. Raises DataError when it fits two files."""
    core = glob.escape(CHANNEL.sub("", name))
    for file in (mapping or LABEL_MAPS["hip"]).files:
        pattern = os.path.join(glob.escape(str(folder)), file.replace("{name}", core))
        paths = sorted({Path(os.path.normpath(match)) for match in glob.glob(pattern)})
        paths = [p for p in paths if p.parent != folder or scan_id(p) != name]
        if len(paths) > 1:
            what = f"{len(paths)} files could be its label: {', '.join(p.name for p in paths[:3])}"
            fix = "say which with --label-files, or files: in the mapping"
            raise DataError(what, where=folder / name, fix=fix)
        if paths:
            return paths[0]
    return None


def _holds_labels(path: Path, folder: Path) -> bool:
    """Whether a folder between ``folder`` and the file is one of labels."""
    between = path.relative_to(folder).parts[:-1]
    return any(part.lower().startswith(LABELS) for part in between)


def _patient_of(path: Path, folder: Path) -> str:
    between = path.relative_to(folder).parts[:-1]
    return next((part for part in between if not part.lower().startswith(SHARED)), str(path))
