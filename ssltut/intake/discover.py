"""The scans of a folder, NIfTI and DICOM alike, each with the label that belongs to it."""

import glob
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ssltut.data.labels import LABEL_MAPS, LabelMap
from ssltut.errors import DataError, DataWarning
from ssltut.io.dicom import Series, find_series, is_dicom, read_series
from ssltut.io.nifti import as_label, check_grid, check_label, scan_id
from ssltut.io.nifti_header import Note, Volume, read_volume

LABELS = ("label", "mask", "segmentation")  # folders whose names begin so hold labels, never scans
SHARED = ("images", "scans", "nifti")  # folders of this name hold scans of many patients


@dataclass(frozen=True)
class Scan:
    """One scan before it is read. ``where`` (a file) and ``patient`` may name a person: they are
    for the terminal, never for a file.
    """

    where: Path
    patient: str
    series: Series | None = None
    label: Path | None = None

    @property
    def kind(self) -> str:
        return (
            "NIfTI" if self.series is None else f"DICOM series of {len(self.series.slices)} files"
        )

    def read(
        self,
        note: Note,
        *,
        modality: str = "CT",
        assume_spacing: float | Sequence[float] | None = None,
        fill: float | None = None,
    ) -> Volume | None:
        """The volume, RAS+, in HU for CT; findings go to ``note``, and None comes back when there
        are no voxels.
        """
        if self.series is not None:
            volume = read_series(self.series, note)
        else:
            volume = read_volume(self.where, note, assume_spacing=assume_spacing, fill=fill)
        return (
            volume
            if volume is None or modality == "CT"
            else replace(volume, values=volume.values.astype(np.float32, copy=False))
        )

    def read_label(self, volume: Volume, mapping: LabelMap, note: Note) -> np.ndarray | None:
        """The label on the grid of ``volume`` as classes of ``mapping.table``, (X, Y, Z) uint8."""
        if self.label.is_dir():
            return self._read_masks(volume, mapping, note)
        bad: list[DataError] = []

        def told(finding: DataError | DataWarning) -> None:
            note(finding)
            bad.extend([finding] if isinstance(finding, DataError) else [])

        mask = read_volume(self.label, told)
        for check in (
            lambda: check_grid(volume, mask, self.label, told),
            lambda: check_label(mask.values, self.label, told),
        ):
            if not bad:  # one finding is enough, and the next would only echo it
                check()
        try:
            return None if bad else mapping(as_label(mask.values), self.label)
        except DataError as error:
            return note(error)

    def _read_masks(self, volume: Volume, mapping: LabelMap, note: Note) -> np.ndarray | None:
        label, bad = np.zeros(volume.values.shape, np.uint8), []
        files = {
            scan_id(path): path
            for path in sorted(self.label.glob("*.nii*"))
            if scan_id(path) in mapping.masks
        }
        if absent := sorted(set(mapping.masks) - set(files)):
            return note(
                DataError(
                    f"{len(absent)} of {len(mapping.masks)} masks are missing, the first is"
                    f" {absent[0]}",
                    where=self.label,
                    fix="add them, or take them out of the mapping",
                )
            )
        for name, path in files.items():
            mask = read_volume(path, bad.append)
            if mask is not None:
                check_grid(volume, mask, path, bad.append)
            if not bad:
                label[mask.values > 0] = mapping.masks[name]
        for finding in bad:
            note(finding)
        return None if bad else label


def find_scans(
    folder: Path,
    note: Note,
    *,
    modality: str = "CT",
    mapping: LabelMap | None = None,
    each_a_patient: bool = False,
) -> list[Scan]:
    """Every scan below ``folder`` (or the one file), in the order of their names; what is no scan
    is told to ``note``.

    Raises DataError when a scan has two labels. A NIfTI file in a folder of its own, or beside
    others in one sub-folder, belongs to the patient of that first sub-folder unless
    ``each_a_patient``: patients may be merged wrongly, never split over training and test. DICOM
    series have their patient in the header.
    """
    folder = Path(folder)
    files = [folder] if folder.is_file() else sorted(folder.rglob("*"))
    files = [
        p for p in files if not any(part.startswith(".") for part in p.relative_to(folder).parts)
    ]
    nifti, dicom = [], []
    for path in files:
        if path.name.lower().endswith((".nii", ".nii.gz")) and not path.is_dir():
            nifti.append(path)
        elif not path.is_dir() and path.name.upper() != "DICOMDIR" and is_dicom(path):
            dicom.append(path)
    labels = {
        path: _label_of(path.parent, scan_id(path), mapping)
        for path in nifti
        if not _holds_labels(path, folder)
    }
    scans = [
        Scan(path, str(path) if each_a_patient else _patient_of(path, folder), None, label)
        for path, label in labels.items()
        if path not in set(labels.values())
    ]
    scans += [
        Scan(
            series.where,
            series.patient,
            series,
            _label_of(series.folder, series.folder.name, mapping),
        )
        for series in find_series(dicom, note, modality)
    ]
    owned = {scan.label for scan in scans if scan.label}
    alone = (
        owned
        if mapping is None
        else {p for p in nifti if _holds_labels(p, folder) and not owned & {p, *p.parents}}
    )
    for path in sorted(alone):
        why = "no scan has its name" if mapping else "nothing says what its values mean"
        note(
            DataWarning(
                f"left out: it looks like a label, but {why}",
                where=path,
                fix=(
                    "give image and label the same name"
                    if mapping
                    else f"add --labels {', '.join(LABEL_MAPS)} or a YAML file"
                ),
            )
        )
    return [replace(scan, label=None) for scan in scans] if mapping is None else scans


def _label_of(folder: Path, name: str, mapping: LabelMap | None) -> Path | None:
    """The first pattern that fits decides. Raises DataError when it fits two files."""
    core = glob.escape(re.sub(r"_(0000|data|image|img|ct)$", "", name, flags=re.IGNORECASE))
    for pattern in (mapping or LABEL_MAPS["hip"]).files:
        found = {
            Path(os.path.normpath(f))
            for f in glob.glob(
                os.path.join(glob.escape(str(folder)), pattern.replace("{name}", core))
            )
        }
        found = sorted(p for p in found if p.parent != folder or scan_id(p) != name)
        if len(found) > 1:
            raise DataError(
                f"{len(found)} files could be its label: {', '.join(p.name for p in found[:3])}",
                where=folder / name,
                fix="say which with --label-files, or files: in the mapping",
            )
        if found:
            return found[0]
    return None


def _holds_labels(path: Path, folder: Path) -> bool:
    return path != folder and any(
        part.lower().startswith(LABELS) for part in path.relative_to(folder).parts[:-1]
    )


def _patient_of(path: Path, folder: Path) -> str:
    parts = (
        []
        if path == folder
        else [
            part
            for part in path.relative_to(folder).parts[:-1]
            if not part.lower().startswith(SHARED)
        ]
    )
    return parts[0] if parts else str(path)
