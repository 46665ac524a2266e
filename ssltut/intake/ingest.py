"""A folder of scans becomes a verified cohort without identities; predictions go back to it."""

import csv
import glob
import io
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ssltut.data.case import Case
from ssltut.data.cohort import fingerprint
from ssltut.data.crop_hips import crop_hips
from ssltut.data.labels import TABLE, LabelTable
from ssltut.data.resample import onto_grid, resample
from ssltut.data.split import make_split
from ssltut.errors import ConfigError, DataError, DataWarning
from ssltut.files import read_json, remove_parts, whole_file, whole_folder
from ssltut.intake.discover import FoundScan, IntakeOptions, find_scans
from ssltut.intake.report import facts_of, volumes, write_index, write_report
from ssltut.io.cohort_folder import GRID, write_description, write_scan
from ssltut.io.entries import predictions_in
from ssltut.io.formats import read_volume
from ssltut.io.nifti import as_label, check_label, scan_id, write_like_source
from ssltut.io.structures import read_label
from ssltut.io.verify import verify_paths
from ssltut.io.volume import Findings, check_values, collecting, strict
from ssltut.options import check_content
from ssltut.progress import progress_bar

Log = Callable[[str], None]
MAX_VOLUME_CHANGE = 0.02  # share of a class that resampling may add or lose without a warning


@dataclass
class Intake(Findings):
    """What became of a folder. Errors kept scans out; like warnings they name files."""

    options: IntakeOptions
    rows: list[dict[str, object]] = field(default_factory=list)  # one for each case
    origin: dict[str, str] = field(default_factory=dict)  # the file of each case
    seen: dict[str, Path] = field(default_factory=dict)  # the first file with these voxels


def ingest(
    folder: Path,
    out: Path,
    options: IntakeOptions | None = None,
    *,
    key: Path | None = None,
    log: Log | None = print,
) -> Intake:
    """Write the scans below ``folder`` as the cohort ``out``, all or nothing.

    It holds images/, labels/, reports/, split.json and cases.json. Cases are called case001 and so
    on in the order of the files, patients p001; nothing else of a header, a path or a name is
    written, except to ``key``, a CSV of case and file outside the cohort. A flawed scan is named
    and left out. With labels of three or more patients, split.json holds a split, else patients and
    classes. ``log`` gets a line for each scan where no progress bar is drawn; None is silent.
    Raises ConfigError when ``out`` is not empty or ``key`` exists or lies in it, DataError when no
    scan is left, a scan has two labels or the disk fails.
    """
    folder, out, intake = Path(folder), Path(out), Intake(options or IntakeOptions())
    if not folder.exists():
        raise DataError("there is no such folder", where=folder, fix="check the path")
    if key is not None and (key.exists() or out.resolve() in key.resolve().parents):
        what = "the key file exists already, or would lie in the cohort"
        raise ConfigError(what, where=key, fix="choose a new file outside the cohort")
    check_content(intake.options.table.to_dict(), TABLE, "label table")
    scans = find_scans(folder, intake.options, intake.note)
    try:
        if key is not None:
            remove_parts(key.parent, glob.escape(key.name))
        # The key becomes a file when the cohort is there, or goes with it.
        private = whole_file(key, private=True) if key else nullcontext()
        with private as key_part, whole_folder(out) as part:
            _take_in(scans, part, intake, log)
            for report in verify_paths(part, show_bar=log is not None):
                for error in report.errors:
                    what = f"the cohort as written does not pass ssltut verify: {error.found}"
                    raise DataError(what, where=out, fix="report this, it should not happen")
            if key_part is not None:
                rows = io.StringIO(newline="")
                csv.writer(rows).writerows([("case", "file"), *intake.origin.items()])
                key_part.write_bytes(rows.getvalue().encode("utf-8", "surrogateescape"))
    except OSError as error:
        what = f"the cohort could not be written ({error.strerror or error}); nothing was kept"
        fix = "check the free space and the permissions of the folder"
        raise DataError(what, where=out, fix=fix) from None
    return intake


def _take_in(scans: Sequence[FoundScan], part: Path, intake: Intake, log: Log | None) -> None:
    """Write all cases, their reports and the two JSON files into ``part``."""
    options = intake.options
    numbers: dict[str, str] = {}  # of patients, by what must not be written
    patients, meta, labelled = {}, {}, {}
    bar = progress_bar(scans, "ingest", unit="scan", show=log is not None)
    for i, scan in enumerate(bar, 1):
        if bar.disable and log is not None:
            log(f"{i}/{len(scans)} {scan.where}")
        patient = numbers.setdefault(scan.patient, f"p{len(numbers) + 1:03d}")
        for case, findings in _cases_of(scan, f"case{i:03d}", patient, intake):
            write_scan(case, part)
            facts = facts_of(case, options.table, scan.kind, findings)
            write_report(case, options.table, facts, part / "reports")
            intake.rows.append(facts)
            intake.origin[case.id] = str(scan.where)
            patients[case.id], meta[case.id] = patient, dict(case.meta)
            if case.label is not None and not scan.unlabelled:
                labelled[case.id] = patient
    if not intake.rows:
        raise _nothing_left(len(scans), intake)
    split = None
    if len(set(labelled.values())) >= 3:
        split = make_split(labelled, {i: p for i, p in patients.items() if i not in labelled})
    about = {"modality": options.modality, "table": options.table.to_dict()}
    write_description(part, meta, split, name="ingested scans", **about, patients=patients)
    summary = f"{len(intake.rows)} cases from {len(scans)} scans"
    summary += f"; {len(intake.errors)} findings; their scans were left out"
    write_index(intake.rows, summary, part / "reports")


def _nothing_left(n_scans: int, intake: Intake) -> DataError:
    if intake.errors:
        first, n = intake.errors[0], len(intake.errors)
        more = f" (the first of {n} findings)" if n > 1 else ""
        return DataError(f"{first.found}{more}", where=first.where, fix=first.fix)
    why, fix = "", "give a folder with .nii, .nii.gz or DICOM files, and its --modality"
    if intake.warnings:
        left_out = intake.warnings[0]
        why, fix = f" ({left_out.where}: {left_out.found})", left_out.fix or fix
    return DataError(f"no scan is left of {n_scans}{why}", fix=fix)


def _cases_of(
    scan: FoundScan, case_id: str, patient: str, intake: Intake
) -> list[tuple[Case, list[DataWarning]]]:
    """The case of a scan, or its two hips, each with its warnings; none after an error."""
    options, found, cases = intake.options, Findings(), []
    with collecting(found.note, scan.where):
        case = _read(scan, case_id, patient, options, found)
        if case is not None:
            same = intake.seen.setdefault(fingerprint(case.without_label()), scan.where)
            if same != scan.where:
                what = f"left out: it holds the same voxels as {same}"
                intake.note(DataWarning(what, where=scan.where))
                return []
            try:
                cases = list(crop_hips(case, options.hips).values()) if options.hips else [case]
            except DataError as error:
                raise DataError(error.found, where=scan.where, fix=error.fix) from None
    intake.errors += found.errors
    intake.warnings += found.warnings
    if options.spacing is None:
        return [(case, found.warnings) for case in cases]
    resampled = [_resampled(case, options.spacing, options.table) for case in cases]
    for _, changes in resampled:
        intake.warnings += changes
    return [(case, found.warnings + changes) for case, changes in resampled]


def _read(
    scan: FoundScan, case_id: str, patient: str, options: IntakeOptions, found: Findings
) -> Case | None:
    volume = scan.read(options, found.note)
    if volume is None or found.errors:
        return None
    check_values(volume.values, scan.where, found.note, options.modality)
    label = None
    if scan.label is not None and options.labels is not None:
        label = read_label(scan.label, volume, options.labels, found.note)
    grid = {
        "shape": list(volume.values.shape),
        "affine": volume.affine.tolist(),
        "axes": "".join(volume.orientation),
        "scan": case_id,
    }
    meta = {"modality": options.modality, "grid": grid, "padding": volume.padding}
    return Case(case_id, patient, volume.values, label, volume.affine, meta)


def _resampled(case: Case, spacing: float, table: LabelTable) -> tuple[Case, list[DataWarning]]:
    """The case on voxels of ``spacing`` mm, with a warning for each class whose volume changed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)  # the stricter limit here says it
        new = resample(case, (spacing,) * 3, table.n_classes)
    before, after, findings = volumes(case, table), volumes(new, table), []
    for name, ml in before.items():
        change = after.get(name, 0) / ml - 1
        if abs(change) > MAX_VOLUME_CHANGE:
            what = f"{name} changed its volume by {change:+.1%} (from {ml:.1f} ml)"
            what += f" when resampled to {spacing:g} mm"
            fix = "use smaller voxels, or look at the label"
            findings.append(DataWarning(what, where=case.id, fix=fix))
    return new, findings


def export(cohort: Path, predictions: Sequence[Path], out: Path) -> list[Path]:
    """Write label volumes made for ingested cases onto the grids of the original files.

    ``predictions`` are files, or folders of them. A prediction is named after its case, with or
    without _prediction; it may lie on any grid in the same space. Both hips of one scan become one
    file, caseNNN_prediction.nii.gz. Voxels take the nearest predicted value, 0 outside a crop.
    Raises ConfigError when a file exists, DataError for a case that is not in the cohort or was not
    ingested.
    """
    file = Path(cohort) / "cases.json"
    meta = read_json(file)
    labels: dict[str, np.ndarray] = {}
    grids: dict[str, dict] = {}
    for path in predictions_in(predictions):
        case_id = scan_id(path).removesuffix("_prediction")
        check_content(meta, {case_id: dict[str, Any]}, file)
        if "grid" not in meta.get(case_id, {}):
            what = f"{case_id} is not a case that was ingested into {cohort}"
            raise DataError(what, where=path, fix="give predictions with the names of their cases")
        check_content(meta[case_id], {"grid": dict[str, Any]}, file)
        grid = meta[case_id]["grid"]
        check_content(grid, GRID, f"{file}: {case_id}", need=GRID)
        volume = read_volume(path, strict)
        assert volume is not None, "strict raises what stops the reading"
        check_label(volume.values, path)
        shape, affine = tuple(grid["shape"]), np.array(grid["affine"])
        label = onto_grid(as_label(volume.values), volume.affine, shape, affine)
        whole = labels.get(grid["scan"], label)
        labels[grid["scan"]] = np.where(label > 0, label, whole)
        grids[grid["scan"]] = grid
    targets = {scan: Path(out) / f"{scan}_prediction.nii.gz" for scan in labels}
    for target in targets.values():
        if target.exists():
            fix = "choose another --out; nothing was overwritten"
            raise ConfigError("the file exists already", where=target, fix=fix)
    for scan, target in targets.items():
        affine, axes = np.array(grids[scan]["affine"]), tuple(grids[scan]["axes"])
        on_its_grid = Case("", "", labels[scan], None, affine, orientation=axes)
        write_like_source(labels[scan], on_its_grid, target)
    return list(targets.values())
