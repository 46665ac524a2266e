"""A cohort as a folder: images/, labels/, split.json and cases.json, written all or nothing."""

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from ssltut.data.case import Case
from ssltut.data.cohort import Cohort, Source
from ssltut.data.labels import HIP, table_named
from ssltut.data.split import PARTS, Split, make_split
from ssltut.errors import ConfigError, DataError
from ssltut.files import digest_of, read_json
from ssltut.io.left_atrium import is_atrium, read_atrium
from ssltut.io.nifti import read_case, scan_id, write_image, write_label
from ssltut.progress import progress_bar


def write_cohort(cohort: Cohort, folder: Path) -> None:
    """Write what ``read_cohort`` reads. Raises ConfigError when the folder is not empty."""
    description = {
        "name": cohort.name,
        "modality": cohort.modality,
        "table": cohort.table.to_dict(),
        "patients": {i: source.patient for i, source in cohort.sources.items()},
        **asdict(cohort.split),
        "hash": cohort.split.hash,
    }
    with whole_folder(folder) as part:
        meta = {}
        for case_id in progress_bar(cohort.sources, "writing scans", unit="scan"):
            case = cohort.case(case_id)
            meta[case_id] = dict(case.meta)
            write_scan(case, part)
        write_description(part, description, meta)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A folder to write into that becomes ``folder`` when all is done, and goes when it fails.

    Raises ConfigError where ``folder`` is not empty.
    """
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()):
        fix = "choose a new one; nothing was overwritten"
        raise ConfigError("the output folder is not empty", where=folder, fix=fix)
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = folder.parent / f".{folder.name}.{os.getpid()}.part"
    try:
        part.mkdir()
        yield part
        if folder.exists():
            folder.rmdir()
        os.replace(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def write_scan(case: Case, folder: Path) -> None:
    """Write images/ID.nii.gz and, where the case has a label, labels/ID.nii.gz."""
    write_image(case, folder / "images" / f"{case.id}.nii.gz")
    if case.label is not None:
        write_label(case.label, case.affine, folder / "labels" / f"{case.id}.nii.gz")


def write_description(
    folder: Path, description: Mapping[str, object], meta: Mapping[str, object]
) -> None:
    """Write split.json (table, patients, split if any) and cases.json (``meta`` of each scan)."""
    for name, content in (("split.json", description), ("cases.json", meta)):
        (folder / name).write_text(json.dumps(content, indent=1), encoding="utf-8")


def read_cohort(folder: Path, test_list: Path | None = None) -> Cohort:
    """The cohort in ``folder``: images/ and labels/ with files of the same names.

    Better with a split.json: without its four lists the scans with labels are split here (20 %
    test, 10 % validation, fixed draw), and those without are unlabelled. The left-atrium scans are
    read too; ``test_list`` is the folder of their own test scans. Raises DataError when there is no
    cohort, or when split.json names scans that are not there; ConfigError for a test list beside
    other scans.
    """
    folder = Path(folder)
    if is_atrium(folder):
        return read_atrium(folder, test_list)
    if test_list is not None:
        what, fix = (
            "a test list belongs to the left-atrium scans",
            "name the test scans in split.json",
        )
        raise ConfigError(what, where=folder, fix=fix)
    images, labels = by_id(folder / "images"), by_id(folder / "labels")
    if not images:
        what = "there are no scans images/*.nii or images/*.nii.gz here"
        raise DataError(what, where=folder, fix="give the folder that holds images/ and labels/")
    if lost := sorted(set(labels) - set(images)):
        what = f"{len(lost)} labels have no image, the first is {labels[lost[0]].name}"
        raise DataError(what, where=folder, fix="give both the same name")
    description, meta = _json_if_there(folder / "split.json"), _json_if_there(folder / "cases.json")
    table = table_named(description.get("table", HIP.name))
    patients = _patients_of(description, images, folder / "split.json")
    if set(PARTS) & set(description):
        split = Split.from_dict(description, folder / "split.json")
    else:
        split = make_split(
            {i: patients[i] for i in images if i in labels},
            {i: patients[i] for i in images if i not in labels},
        )
    modality = str(description.get("modality", "CT"))
    sources = {}
    for i, image in images.items():
        label = labels[i].absolute() if i in labels else None
        known = {"table": table, "modality": modality, "case_id": i, "patient": patients[i]}
        load = partial(_load, image.absolute(), label, meta.get(i, {}), **known)
        sources[i] = Source(patients[i], i in labels, digest_of(image, labels.get(i)), load)
    return Cohort(str(description.get("name", folder.name)), table, modality, split, sources)


def _json_if_there(file: Path) -> dict[str, Any]:
    return read_json(file) if file.exists() else {}


def _patients_of(description: Mapping[str, Any], ids: Iterable[str], file: Path) -> dict[str, str]:
    """The patient of each scan; a scan that ``description`` does not name is its own."""
    named = description.get("patients", {})
    if not isinstance(named, dict):
        fix = 'write it as {"scan": "patient", ...}'
        raise DataError("patients is no table", where=file, fix=fix)
    return {i: str(named.get(i, i)) for i in ids}


def _load(image: Path, label: Path | None, meta: Mapping[str, object], **known: Any) -> Case:
    return replace(read_case(image, label, **known), meta=meta)


def by_id(folder: Path) -> dict[str, Path]:
    """The NIfTI files of ``folder`` by scan id. Raises DataError when two have the same."""
    files: dict[str, Path] = {}
    for path in sorted([*folder.glob("*.nii"), *folder.glob("*.nii.gz")]):
        other = files.setdefault(scan_id(path), path)
        if other != path:
            what = f"{other.name} and {path.name} are the same scan"
            raise DataError(what, where=folder, fix="keep one of them")
    return files
