"""Verify scans, labels and cohort folders before anyone trains on them: every finding with its size
and the next step.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ssltut.data.case import spacing_of
from ssltut.data.labels import HIP, LabelTable, table_named
from ssltut.errors import DataError, DataWarning, SsltutError
from ssltut.io.left_atrium import atrium_ids, is_atrium, load_atrium
from ssltut.io.nifti import check_grid, check_label
from ssltut.io.nifti_header import Volume, read_volume


@dataclass
class Report:
    """What was found in ``path``: errors that forbid its use, warnings, and facts (spacing in mm,
    HU, voxels of each class).
    """

    path: Path
    errors: list[SsltutError] = field(default_factory=list)
    warnings: list[DataWarning] = field(default_factory=list)
    facts: dict[str, object] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return not self.errors

    def note(self, finding: SsltutError | DataWarning) -> None:
        (self.warnings if isinstance(finding, DataWarning) else self.errors).append(finding)

    def to_dict(self) -> dict[str, object]:
        """The report as JSON holds it."""

        def told(findings: Iterable[SsltutError | DataWarning]) -> list[dict[str, object]]:
            return [{"found": f.found, "where": str(f.where), "next": f.fix} for f in findings]

        return {
            "path": str(self.path),
            "ok": self.ok,
            "errors": told(self.errors),
            "warnings": told(self.warnings),
            "facts": self.facts,
        }

    def __str__(self) -> str:
        lines = [f"{'ok   ' if self.ok else 'ERROR'} {self.path}"]
        lines += [f"      {name}: {_told(value)}" for name, value in self.facts.items()]
        lines += [
            f"      {kind}: {finding}"
            for kind, found in (("error", self.errors), ("warning", self.warnings))
            for finding in found
        ]
        return "\n".join(lines)


def _told(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {n}" for name, n in value.items())
    return " x ".join(f"{v:g}" for v in value) if isinstance(value, list) else str(value)


def verify_image(path: Path) -> Report:
    """Read one scan completely and report on it."""
    report = Report(Path(path))
    _scan(report)
    return report


def verify_pair(image: Path, label: Path, table: LabelTable | None = None) -> Report:
    """Report on a scan and its label: each by itself, then their grids and the label's values (of
    ``table``, where one is given).
    """
    report, label = Report(Path(image)), Path(label)
    scan, mask = _scan(report), read_volume(label, report.note)
    if mask is None:
        return report
    check_label(mask.values, label, report.note, table)
    values, counts = np.unique(mask.values, return_counts=True)
    names = dict(enumerate(table.names)) if table else {}
    report.facts["classes (voxels)"] = {
        str(names.get(v.item(), f"{v:g}")): int(n)
        for v, n in zip(values[:256], counts[:256], strict=True)
    }
    if scan is not None:
        check_grid(scan, mask, label, report.note)
    return report


def _scan(report: Report) -> Volume | None:
    return _facts(report, read_volume(report.path, report.note))


def _facts(report: Report, volume: Volume | None) -> Volume | None:
    if volume is not None:
        report.facts["shape"] = list(volume.values.shape)
        if volume.affine is not None:
            report.facts |= {
                "spacing (mm)": [round(v, 6) for v in spacing_of(volume.affine)],
                "axes in the file": "".join(volume.orientation),
            }
        finite = volume.values[np.isfinite(volume.values)]
        report.facts["values (HU for CT)"] = (
            f"{finite.min():g} to {finite.max():g}" if finite.size else "none that is finite"
        )
        report.facts |= {"padding (voxels)": volume.padding} if volume.padding else {}
    return volume


def _verify_folder(folder: Path) -> list[Report]:
    """Every NIfTI file and every DICOM series below ``folder``; a first report holds what is
    neither.
    """
    from ssltut.io.dicom import find_series, is_dicom, read_series

    files = sorted(p for p in folder.rglob("*") if not p.is_dir())
    nifti = [p for p in files if p.name.endswith((".nii", ".nii.gz"))]
    left = Report(folder)
    reports = [verify_image(path) for path in nifti]
    for series in find_series(
        [p for p in files if p not in set(nifti) and p.name != "DICOMDIR" and is_dicom(p)],
        left.note,
    ):
        reports.append(Report(series.where, facts={"DICOM files": len(series.slices)}))
        _facts(reports[-1], read_series(series, reports[-1].note))
    if not reports:
        left.note(
            DataError(
                "there are no .nii or .nii.gz files and no DICOM series in this folder",
                where=folder,
                fix="give a folder with scans",
            )
        )
    return [*([left] if left.errors or left.warnings else []), *reports]


def _verify_cohort(folder: Path) -> list[Report]:
    """The folder itself first (names, split, patients), then every scan with its label."""
    from ssltut.data.split import PARTS, Split
    from ssltut.io.cohort_folder import by_id

    try:
        images, labels = by_id(folder / "images"), by_id(folder / "labels")
    except DataError as error:
        return [Report(folder, [error])]
    report, about, table = (
        Report(folder, facts={"scans": len(images), "labels": len(labels)}),
        {},
        HIP,
    )
    if not images:
        report.note(
            DataError(
                "there are no scans in images/", where=folder, fix="put .nii or .nii.gz files there"
            )
        )
    for lost in sorted(set(labels) - set(images)):
        report.note(
            DataError(
                "the label has no image",
                where=labels[lost],
                fix="give image and label the same file name",
            )
        )
    if (file := folder / "split.json").exists():
        try:
            about = json.loads(file.read_text(encoding="utf-8"))
            table = table_named(about.get("table", table.name))
            if set(PARTS) & set(about):  # else the split is drawn when the cohort is read
                split = Split.from_dict(about, file)
                report.facts["split"] = {part: len(getattr(split, part)) for part in PARTS}
                if bare := [
                    i
                    for part in PARTS
                    if part != "unlabelled"
                    for i in getattr(split, part)
                    if i in images and i not in labels
                ]:
                    report.note(
                        DataError(
                            f"{len(bare)} scans that need a label have none, the first is"
                            f" {bare[0]}",
                            where=file,
                            fix="add the labels, or list the scans as unlabelled",
                        )
                    )
                split.check({i: str(about.get("patients", {}).get(i, i)) for i in images}, file)
        except SsltutError as error:
            report.note(error)
        except (
            ValueError,
            TypeError,
            AttributeError,
        ) as error:  # not JSON, or not the lists and tables a split is made of
            report.note(
                DataError(
                    f"this is not a split ({error})",
                    where=file,
                    fix="mend the file or make the split again",
                )
            )
    return [
        report,
        *(
            verify_pair(path, labels[i], table) if i in labels else verify_image(path)
            for i, path in images.items()
        ),
    ]


def _verify_atrium(folder: Path) -> Report:
    report = Report(folder)
    try:
        ids = atrium_ids(folder)
    except DataError as error:
        return Report(folder, [error])
    report.facts["scans"] = len(ids)
    for name in ids:
        try:
            load_atrium(folder, name)
        except DataError as error:
            report.note(error)
    return report


def verify_paths(paths: Path | Iterable[Path]) -> list[Report]:
    """A report for every scan in ``paths``: files, cohort folders (images/, labels/ with the same
    names, split.json),
    the left-atrium folder, other folders with NIfTI or DICOM.
    """
    reports = []
    for path in map(Path, [paths] if isinstance(paths, str | Path) else paths):
        if (path / "images").is_dir():
            reports += _verify_cohort(path)
        elif is_atrium(path):
            reports.append(_verify_atrium(path))
        elif path.is_dir():
            reports += _verify_folder(path)
        else:
            reports.append(verify_image(path))
    return reports
