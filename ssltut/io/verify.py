"""Check scans, labels and cohort folders before anyone trains on them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from ssltut.data.case import spacing_of
from ssltut.data.labels import BONE_FILES, LabelTable
from ssltut.data.split import PARTS
from ssltut.errors import DataError
from ssltut.files import digest_of
from ssltut.io.cohort_folder import check_doubles, read_layout
from ssltut.io.dicom import read_series
from ssltut.io.dicom_series import Series, find_series
from ssltut.io.entries import Survey, survey
from ssltut.io.formats import read_scan, read_volume
from ssltut.io.left_atrium import atrium_ids, is_atrium, load_atrium
from ssltut.io.nifti import check_grid, check_label
from ssltut.io.pairing import pair
from ssltut.io.volume import Findings, Volume, check_values, collecting
from ssltut.progress import progress_bar


@dataclass
class Report(Findings):
    """What was found in ``path``: errors forbid its use."""

    path: Path
    facts: dict[str, object] = field(default_factory=dict)  # shape, spacing, values, classes

    @property
    def ok(self) -> bool:
        return not self.errors

    def to_dict(self) -> dict[str, object]:
        """The report as JSON holds it."""
        errors = [error.to_dict() for error in self.errors]
        findings = {"errors": errors, "warnings": [warning.to_dict() for warning in self.warnings]}
        return {"path": str(self.path), "ok": self.ok, **findings, "facts": self.facts}

    def __str__(self) -> str:
        lines = [f"{'ok   ' if self.ok else 'ERROR'} {self.path}"]
        lines += [f"      {name}: {_as_text(value)}" for name, value in self.facts.items()]
        lines += [f"      error: {finding}" for finding in self.errors]
        lines += [f"      warning: {finding}" for finding in self.warnings]
        return "\n".join(lines)


def _as_text(fact: object) -> str:
    if isinstance(fact, dict):
        return ", ".join(f"{name} {n}" for name, n in fact.items())
    return " x ".join(f"{v:g}" for v in fact) if isinstance(fact, list) else str(fact)


def verify_scan(
    image: Path,
    label: Path | None = None,
    table: LabelTable | None = None,
    modality: str = "CT",
    *,
    is_crop: bool = False,
) -> Report:
    """Report on a scan and its label (values of ``table``, if given), both read completely."""
    report = Report(Path(image))
    scan = read_scan(report.path, report.note, modality)
    _add_facts(report, scan)
    if scan is not None:
        check_values(scan.values, report.path, report.note, modality, is_crop=is_crop)
    mask = None if label is None else read_volume(Path(label), report.note)
    if label is None or mask is None:
        return report
    with collecting(report.note, label):
        check_label(mask.values, label, table, report.note)
    values, counts = np.unique(mask.values, return_counts=True)
    names = dict(enumerate(table.names)) if table else {}
    pairs = zip(values[:256].tolist(), counts[:256].tolist(), strict=True)
    classes = {str(names.get(value, f"{value:g}")): n for value, n in pairs}
    report.facts["classes (voxels)"] = classes
    if scan is not None:
        with collecting(report.note, label):
            check_grid(scan, mask, label)
    return report


def _verify_series(series: Series) -> Report:
    report = Report(series.where, {"DICOM files": len(series.files)})
    volume = read_series(series, report.note)
    _add_facts(report, volume)
    if volume is not None:
        check_values(volume.values, series.where, report.note)
    return report


def _add_facts(report: Report, volume: Volume | None) -> None:
    if volume is None:
        return
    report.facts["shape"] = list(volume.values.shape)
    if np.isfinite(volume.affine).all():
        report.facts["spacing (mm)"] = [round(mm, 6) for mm in spacing_of(volume.affine)]
        report.facts["axes in the file"] = "".join(volume.orientation)
    finite = volume.values[np.isfinite(volume.values)]
    extremes = f"{finite.min():g} to {finite.max():g}" if finite.size else "none that is finite"
    report.facts["values (HU for CT)"] = extremes
    if volume.padding:
        report.facts["padding (voxels)"] = volume.padding


Job = Callable[[], Report]  # reads one scan, when its turn has come


def _verify_label(path: Path) -> Report:
    report = Report(path)
    volume = read_volume(path, report.note)
    _add_facts(report, volume)
    if volume is not None:
        with collecting(report.note, path):
            check_label(volume.values, path)
    return report


def _folder_jobs(folder: Path) -> list[Job]:
    """Every scan below ``folder``, its label with it, after a report on all that is left out."""
    report = Report(folder)
    found = survey(folder, report.note)
    series = find_series(found.dicom, report.note)
    pairs = _pairs(found, folder)
    jobs: list[Job] = [partial(verify_scan, e.path, pairs.get(e.path)) for e in found.scans]
    paired = set(pairs.values())
    jobs += [partial(_verify_label, e.path) for e in found.labels if e.path not in paired]
    jobs += [partial(_verify_series, one) for one in series]
    if not jobs:
        what = "there are no .nii or .nii.gz files and no DICOM series in this folder"
        report.note(DataError(what, where=folder, fix="give a folder with scans"))
    return [lambda: report, *jobs] if report.errors or report.warnings else jobs


def _pairs(found: Survey, folder: Path) -> dict[Path, Path]:
    """The label of each scan, where it is one file of numbers; what is unclear ingest names."""
    scans = {entry.path: [entry] for entry in found.scans}
    pairs, _, _ = pair(scans, found.labels, tuple(BONE_FILES), folder, lambda finding: None)
    return {scan: p for scan, p in pairs.items() if p.is_file() and ".seg." not in p.name}


def _cohort_jobs(folder: Path) -> list[Job]:
    """The folder itself first (names, split, patients), then every scan with its label."""
    report = Report(folder)
    jobs: list[Job] = [lambda: report]
    with collecting(report.note, folder):
        layout = read_layout(folder, report.note)
        report.facts = {"scans": len(layout.images), "labels": len(layout.labels)}
        for i, path in layout.images.items():
            about = (layout.labels.get(i), layout.table, layout.modality)
            is_crop = "side" in layout.meta.get(i, {})
            jobs.append(partial(verify_scan, path, *about, is_crop=is_crop))
        if split := layout.split:
            report.facts["split"] = {part: len(getattr(split, part)) for part in PARTS}
            need_labels = (*split.labelled, *split.validation, *split.test)
            if bare := [i for i in need_labels if i in layout.images and i not in layout.labels]:
                what = f"{len(bare)} scans that need a label have none, the first is {bare[0]}"
                fix = "add the labels, or list the scans as unlabelled"
                report.note(DataError(what, where=folder / "split.json", fix=fix))
            split.check(layout.patients, folder / "split.json")
            digests = {i: digest_of(path) for i, path in layout.images.items()}
            check_doubles(digests, split, folder, report.note)
    return jobs


def _verify_atrium(folder: Path) -> Report:
    report = Report(folder)
    with collecting(report.note, folder):
        names = atrium_ids(folder)
        report.facts["scans"] = len(names)
        for name in progress_bar(names, "verify", unit="scan", leave=False):
            with collecting(report.note, folder):
                load_atrium(folder, name)
    return report


def _jobs_for(path: Path) -> list[Job]:
    if (path / "images").is_dir():
        return _cohort_jobs(path)
    if is_atrium(path):
        return [partial(_verify_atrium, path)]
    return _folder_jobs(path) if path.is_dir() else [partial(verify_scan, path)]


def verify_paths(paths: Path | str | Iterable[Path], *, show_bar: bool = True) -> list[Report]:
    """A report for every scan in ``paths``, with a progress bar where somebody watches.

    A path is a file, a cohort folder (images/, labels/ with the same names, split.json), the folder
    of the left-atrium scans, or any other folder with NIfTI or DICOM.
    """
    listed = [paths] if isinstance(paths, str | Path) else paths
    jobs = [job for path in listed for job in _jobs_for(Path(path))]
    return [job() for job in progress_bar(jobs, "verify", unit="scan", show=show_bar)]
