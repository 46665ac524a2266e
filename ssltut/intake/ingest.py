"""A folder of someone's scans becomes a verified cohort without identities; predictions go back
onto the grids of the original files.
"""

import csv
import html
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from ssltut.data.case import Case, spacing_of
from ssltut.data.cohort import fingerprint
from ssltut.data.crop_hips import crop_hips
from ssltut.data.labels import HIP, LabelMap, LabelTable
from ssltut.data.resample import onto_grid, resample
from ssltut.data.split import make_split
from ssltut.errors import ConfigError, DataError, DataWarning
from ssltut.intake.discover import Scan, find_scans
from ssltut.io.cohort_folder import whole_folder, write_about, write_scan
from ssltut.io.nifti import as_label, check_label, scan_id, write_like_source
from ssltut.io.nifti_header import read_volume, strict
from ssltut.io.verify import verify_paths

DRIFT = 0.02  # share of a class's volume that resampling may change without a word


@dataclass(frozen=True)
class Options:
    """How scans are taken in. ``spacing``: the voxel size in mm to resample to; ``hips``: the side
    in mm of the cubes cut around left
    and right hip.
    """

    labels: LabelMap | None = None
    modality: str = "CT"
    spacing: float | None = None
    hips: float | None = None
    assume_spacing: float | None = None
    fill: float | None = None
    each_a_patient: bool = False


@dataclass
class Intake:
    """What became of a folder: rows (one for each case), the findings that kept scans out, and the
    warnings. Findings name files; no
    cohort holds them.
    """

    rows: list[dict[str, object]] = field(default_factory=list)
    refused: list[DataError] = field(default_factory=list)
    warnings: list[DataWarning] = field(default_factory=list)
    origin: dict[str, str] = field(default_factory=dict)

    def note(self, finding: DataError | DataWarning) -> None:
        (self.refused if isinstance(finding, DataError) else self.warnings).append(finding)


def ingest(
    folder: Path,
    out: Path,
    options: Options = Options(),
    *,
    key: Path | None = None,
    log: Callable[[str], None] = print,
) -> Intake:
    """Write the scans below ``folder`` as the cohort ``out``: images/, labels/, reports/,
    split.json and cases.json, all or nothing.

    Cases are called case001 and so on in the order of the files, patients p001; nothing else of a
    header, a path or a name is written, except to ``key``, a CSV of case and file for the one who
    asked for it, outside the cohort. A flawed scan is named and left out, the others go in. With
    labels of three or more patients, split.json holds a split; else it holds patients and classes,
    and the split waits for labels.
    Raises ConfigError when ``out`` is not empty or ``key`` exists or lies in it, DataError when no
    scan is left, a scan has two labels or the disk fails.
    """
    folder, out, intake = Path(folder), Path(out), Intake()
    if not folder.exists():
        raise DataError("there is no such folder", where=folder, fix="check the path")
    if key is not None and (key.exists() or out.resolve() in key.resolve().parents):
        raise ConfigError(
            "the key file exists already, or would lie in the cohort",
            where=key,
            fix="choose a new file outside the cohort",
        )
    scans = find_scans(
        folder,
        intake.note,
        modality=options.modality,
        mapping=options.labels,
        each_a_patient=options.each_a_patient,
    )
    table = options.labels.table if options.labels else HIP
    try:
        with whole_folder(out) as part:
            _take_in(scans, part, options, table, intake, log)
            if broken := next(
                (error for report in verify_paths(part) for error in report.errors), None
            ):
                raise DataError(
                    f"the cohort as written does not pass ssltut verify: {broken.found}",
                    where=out,
                    fix="report this, it should not happen",
                )
            if key is not None:
                with open(key, "x", newline="", encoding="utf-8") as file:
                    csv.writer(file).writerows([("case", "file"), *intake.origin.items()])
    except OSError as error:
        raise DataError(
            f"the cohort could not be written ({error.strerror or error}); nothing of it was kept",
            where=out,
            fix="check the free space and the permissions of the folder",
        ) from None
    return intake


def _take_in(
    scans: Sequence[Scan],
    part: Path,
    options: Options,
    table: LabelTable,
    intake: Intake,
    log: Callable[[str], None],
) -> None:
    numbers, seen, patients, labelled, meta = {}, {}, {}, [], {}
    for i, scan in enumerate(scans, 1):
        log(f"{i}/{len(scans)} {scan.where}")
        patient = numbers.setdefault(scan.patient, f"p{len(numbers) + 1:03d}")
        for case, told in _cases_of(scan, f"case{i:03d}", patient, options, table, seen, intake):
            write_scan(case, part)
            patients[case.id], meta[case.id], intake.origin[case.id] = (
                patient,
                dict(case.meta),
                str(scan.where),
            )
            labelled += [case.id] * (case.label is not None)
            intake.rows.append(_report(case, table, scan.kind, told, part / "reports"))
    if not intake.rows:
        raise _none(scans, intake)
    about: dict[str, object] = {
        "name": "ingested scans",
        "modality": options.modality,
        "table": table.to_dict(),
        "patients": patients,
    }
    if len({patients[i] for i in labelled}) >= 3:
        split = make_split(
            {i: patients[i] for i in labelled},
            {i: p for i, p in patients.items() if i not in labelled},
        )
        about |= {**asdict(split), "hash": split.hash}
    write_about(part, about, meta)
    _index(intake, len(scans), part / "reports")


def _none(scans: Sequence[Scan], intake: Intake) -> DataError:
    if intake.refused:
        first = intake.refused[0]
        return DataError(
            f"{first.found}{f' (the first of {n} findings)' if (n := len(intake.refused)) > 1 else ''}",
            where=first.where,
            fix=first.fix,
        )
    why = f" ({intake.warnings[0]})" if intake.warnings else ""
    return DataError(
        f"no scan is left of {len(scans)}{why}",
        fix="give a folder with .nii, .nii.gz or DICOM files, and its --modality",
    )


def _cases_of(
    scan: Scan,
    name: str,
    patient: str,
    options: Options,
    table: LabelTable,
    seen: dict[str, Path],
    intake: Intake,
) -> list[tuple]:
    """The case of a scan, or its two hips, each with what the report shall tell; none when a
    finding forbids it.
    """
    errors: list[DataError] = []
    told: list[DataWarning] = []

    def note(finding: DataError | DataWarning) -> None:
        (errors if isinstance(finding, DataError) else told).append(finding)

    volume = scan.read(
        note, modality=options.modality, assume_spacing=options.assume_spacing, fill=options.fill
    )
    label = (
        scan.read_label(volume, options.labels, note)
        if volume is not None and scan.label is not None and not errors
        else None
    )
    cases = []
    if volume is not None and not errors:
        grid = {
            "shape": list(volume.values.shape),
            "affine": volume.affine.tolist(),
            "axes": "".join(volume.orientation),
            "scan": name,
        }
        case = Case(
            name,
            patient,
            volume.values,
            label,
            volume.affine,
            {"modality": options.modality, "grid": grid, "padding": volume.padding},
        )
        if (double := seen.setdefault(fingerprint(case.without_label()), scan.where)) != scan.where:
            intake.note(
                DataWarning(f"left out: it holds the same voxels as {double}", where=scan.where)
            )
            return []
        try:
            cases = list(crop_hips(case, options.hips).values()) if options.hips else [case]
        except DataError as error:
            note(DataError(error.found, where=scan.where, fix=error.fix))
    intake.refused += errors
    intake.warnings += told
    return (
        []
        if errors
        else [_resampled(case, options.spacing, table, list(told), intake) for case in cases]
    )


def _resampled(
    case: Case, spacing: float | None, table: LabelTable, told: list[DataWarning], intake: Intake
) -> tuple[Case, list[DataWarning]]:
    """The case on voxels of ``spacing`` mm; a class whose volume moved by more than DRIFT is
    told.
    """
    if spacing is None:
        return case, told
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)  # the stricter limit here says it
        new = resample(case, (spacing,) * 3, table.n_classes)
    before, after = volumes(case, table), volumes(new, table)
    for name, ml in before.items():
        if abs(after[name] - ml) > DRIFT * ml:
            told.append(
                DataWarning(
                    f"{name} changed its volume by {after[name] / ml - 1:+.1%} (from {ml:.1f} ml)"
                    f" when resampled to {spacing:g} mm",
                    where=case.id,
                    fix="use smaller voxels, or look at the label",
                )
            )
            intake.warnings.append(told[-1])
    return new, told


def volumes(case: Case, table: LabelTable) -> dict[str, float]:
    """The volume in ml of every class that is there, background left out."""
    if case.label is None:
        return {}
    counts = np.bincount(case.label.ravel(), minlength=table.n_classes)
    return {
        table.names[c]: float(counts[c] * np.prod(case.spacing) / 1000)
        for c in range(1, table.n_classes)
        if counts[c]
    }


PAGE = (
    "<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><style>body{{font:17px"
    " sans-serif;max-width:70em;margin:2em auto}}td,th{{padding:.2em 1em .2em"
    " 0;text-align:left}}img{{max-width:100%}}</style><h1>{title}</h1>\n{body}</html>\n"
)


def _report(
    case: Case, table: LabelTable, kind: str, told: Sequence[DataWarning], folder: Path
) -> dict[str, object]:
    """Write ID.html and ID.png, and give back the facts in them."""
    from ssltut import show

    field_of_view = [round(n * mm) for n, mm in zip(case.image.shape, case.spacing, strict=True)]
    grid = case.meta["grid"]
    row = {
        "case": case.id,
        "patient": case.patient,
        "from": kind,
        "voxels": " x ".join(map(str, case.image.shape)),
        "spacing (mm)": " x ".join(f"{v:.3g}" for v in case.spacing),
        "field of view (mm)": " x ".join(map(str, field_of_view)),
        "in the file": (
            f"{' x '.join(map(str, grid['shape']))} voxels of "
            f"{' x '.join(f'{v:.3g}' for v in spacing_of(grid['affine']))} mm, axes {grid['axes']}"
        ),
        (
            "HU" if case.meta["modality"] == "CT" else "values"
        ): f"{case.image.min():g} to {case.image.max():g}",
        "padding (voxels)": case.meta["padding"],
        "labels": (
            ", ".join(f"{name} {ml:.1f} ml" for name, ml in volumes(case, table).items()) or "none"
        ),
        "hip": (
            f"{case.meta['side']}, found by its {case.meta['found by']}"
            if "side" in case.meta
            else "not cropped"
        ),
        "warnings": "; ".join(" ".join(finding.found.split()) for finding in told) or "none",
    }
    outlined = "with its labels outlined" if case.label is not None else "without labels"
    alt = (
        f"{case.id} in axial, coronal and sagittal cut, {outlined}; a field of view of"
        f" {row['field of view (mm)']} mm."
    )
    window = "bone" if case.meta["modality"] == "CT" else None
    folder.mkdir(exist_ok=True)
    layers = (
        {}
        if case.label is None
        else {"contours": {"label": case.label}, "at": _telling(case.label, table.n_classes)}
    )
    show.planes(
        case.image,
        spacing=case.spacing,
        table=table,
        window=window,
        title=case.id,
        alt=alt,
        **layers,
    ).save(folder / f"{case.id}.png")
    lines = "".join(f"<tr><th>{html.escape(k)}<td>{html.escape(str(v))}\n" for k, v in row.items())
    body = (
        f'<img src="{case.id}.png" alt="{html.escape(alt)}"><table>{lines}</table><p><a'
        ' href="index.html">all cases</a>'
    )
    (folder / f"{case.id}.html").write_text(PAGE.format(title=case.id, body=body), encoding="utf-8")
    return row


def _telling(label: np.ndarray, n_classes: int) -> list[int]:
    """The voxel through whose three planes most of every class is seen: the middle of a pelvis
    shows no hip.
    """
    counts = [
        [np.count_nonzero(label == c, axis=others) for c in range(1, n_classes)]
        for others in ((1, 2), (0, 2), (0, 1))
    ]
    return [int(np.log1p(axis).sum(axis=0).argmax()) for axis in counts]


def _index(intake: Intake, scans: int, folder: Path) -> None:
    columns = ("case", "patient", "voxels", "spacing (mm)", "labels", "warnings")
    rows = "".join(
        f'<tr><td><a href="{row["case"]}.html">{row["case"]}</a>'
        + "".join(f"<td>{html.escape(str(row[c]))}" for c in columns[1:])
        for row in intake.rows
    )
    body = (
        f"<p>{len(intake.rows)} cases from {scans} scans; {len(intake.refused)} findings kept scans"
        " out (the command named their"
        f" files).</p><table><tr>{''.join(f'<th>{c}' for c in columns)}{rows}</table>"
    )
    (folder / "index.html").write_text(
        PAGE.format(title="Ingested scans", body=body), encoding="utf-8"
    )


def export(cohort: Path, predictions: Sequence[Path], out: Path) -> list[Path]:
    """Write label volumes made for cases of an ingested cohort onto the grids of the files the
    cases came from, as
    caseNNN_prediction.nii.gz.

    A prediction is named after its case, with or without _prediction; it may lie on any grid in the
    same space. Both hips of one scan become one file. Voxels take the nearest predicted value,
    those outside a crop become 0. Raises ConfigError when a file exists, DataError for a case that
    is not in the cohort or was not ingested.
    """
    from ssltut.files import read_json

    meta, merged = read_json(Path(cohort) / "cases.json"), {}
    for path in map(Path, predictions):
        name = scan_id(path).removesuffix("_prediction")
        if "grid" not in meta.get(name, {}):
            raise DataError(
                f"{name} is no case that was ingested into {cohort}",
                where=path,
                fix="give predictions with the names of their cases",
            )
        grid = meta[name]["grid"]
        volume = read_volume(path, strict)
        check_label(
            volume.values,
            path,
            lambda finding: strict(finding) if isinstance(finding, DataError) else None,
        )
        back = onto_grid(
            as_label(volume.values), volume.affine, tuple(grid["shape"]), np.array(grid["affine"])
        )
        _, whole = merged.get(grid["scan"], (grid, back))
        merged[grid["scan"]] = grid, np.where(back > 0, back, whole)
    targets = {Path(out) / f"{scan}_prediction.nii.gz": found for scan, found in merged.items()}
    if there := next((target for target in targets if target.exists()), None):
        raise ConfigError(
            "the file exists already",
            where=there,
            fix="choose another --out; nothing was overwritten",
        )
    for target, (grid, label) in targets.items():
        write_like_source(
            label,
            Case("", "", label, None, np.array(grid["affine"]), orientation=tuple(grid["axes"])),
            target,
        )
    return list(targets)
