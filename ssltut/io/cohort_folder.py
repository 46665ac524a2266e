"""A cohort as a folder that read_cohort reads: images/, labels/, split.json and cases.json, all or
nothing.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from ssltut.data.case import Case
from ssltut.data.cohort import Cohort, Source
from ssltut.data.labels import HIP, table_named
from ssltut.data.split import PARTS, Split, make_split
from ssltut.errors import ConfigError, DataError
from ssltut.files import digest_of, read_json


def write_cohort(cohort: Cohort, folder: Path) -> None:
    """Write a cohort as images/, labels/, split.json and cases.json. All or nothing: raises
    ConfigError when the folder is not empty.
    """
    about = {
        "name": cohort.name,
        "modality": cohort.modality,
        "table": cohort.table.to_dict(),
        "patients": {i: source.patient for i, source in cohort.sources.items()},
        **asdict(cohort.split),
        "hash": cohort.split.hash,
    }
    with whole_folder(folder) as part:
        meta = {}
        for case_id in cohort.sources:
            case = cohort.case(case_id)
            meta[case_id] = dict(case.meta)
            write_scan(case, part)
        write_about(part, about, meta)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A folder to write into that becomes ``folder`` when all is done, and goes when anything
    fails. Raises ConfigError where it is not empty.
    """
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(
            "the output folder is not empty",
            where=folder,
            fix="choose a new one; nothing was overwritten",
        )
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
    """One case below ``folder``, as images/ID.nii.gz and, where it has a label,
    labels/ID.nii.gz.
    """
    from ssltut.io.nifti import write_image, write_label

    write_image(case, folder / "images" / f"{case.id}.nii.gz")
    if case.label is not None:
        write_label(case.label, case.affine, folder / "labels" / f"{case.id}.nii.gz")


def write_about(folder: Path, about: Mapping[str, object], meta: Mapping[str, object]) -> None:
    """split.json (table, patients and, where there is one, the split) and cases.json (what is known
    of each scan).
    """
    for name, what in (("split.json", about), ("cases.json", meta)):
        (folder / name).write_text(json.dumps(what, indent=1), encoding="utf-8")


def read_cohort(folder: Path, test_list: Path | None = None) -> Cohort:
    """The cohort in ``folder``: images/ and labels/ with files of the same names and, better, a
    split.json; or the left-atrium scans.

    ``test_list`` is the folder of the left atrium's own test scans. Without the four lists in
    split.json the scans with labels are split here (20 % test, 10 % validation, fixed draw); those
    without are unlabelled. Raises DataError when there is no cohort, or when split.json names scans
    that are not there; ConfigError for a test list beside other scans.
    """
    from ssltut.io.left_atrium import is_atrium, read_atrium

    folder = Path(folder)
    if is_atrium(folder):
        return read_atrium(folder, test_list)
    if test_list is not None:
        raise ConfigError(
            "a test list belongs to the left-atrium scans",
            where=folder,
            fix="name the test scans in split.json",
        )
    images, labels = by_id(folder / "images"), by_id(folder / "labels")
    if not images:
        raise DataError(
            "there are no scans images/*.nii or images/*.nii.gz here",
            where=folder,
            fix="give the folder that holds images/ and labels/",
        )
    if lost := sorted(set(labels) - set(images)):
        raise DataError(
            f"{len(lost)} labels have no image, the first is {labels[lost[0]].name}",
            where=folder,
            fix="give both the same name",
        )
    about = read_json(folder / "split.json") if (folder / "split.json").exists() else {}
    table, meta = (
        table_named(about.get("table", HIP.name)),
        read_json(folder / "cases.json") if (folder / "cases.json").exists() else {},
    )
    named = about.get("patients", {})
    if not isinstance(named, dict):
        raise DataError(
            "patients is no table",
            where=folder / "split.json",
            fix='write it as {"scan": "patient", ...}',
        )
    patients = {case_id: str(named.get(case_id, case_id)) for case_id in images}
    split = (
        Split.from_dict(about, folder / "split.json")
        if set(PARTS) & set(about)
        else make_split(
            {i: patients[i] for i in images if i in labels},
            {i: patients[i] for i in images if i not in labels},
        )
    )
    modality = str(about.get("modality", "CT"))
    load = {
        i: partial(
            _read,
            path.absolute(),
            labels[i].absolute() if i in labels else None,
            meta.get(i, {}),
            table=table,
            modality=modality,
            id=i,
            patient=patients[i],
        )
        for i, path in images.items()
    }
    sources = {
        i: Source(patients[i], i in labels, digest_of(path, labels.get(i)), load[i])
        for i, path in images.items()
    }
    return Cohort(str(about.get("name", folder.name)), table, modality, split, sources)


def _read(image: Path, label: Path | None, meta: Mapping[str, object], **known: object) -> Case:
    from ssltut.io.nifti import read_case

    return replace(read_case(image, label, **known), meta=meta)


def by_id(folder: Path) -> dict[str, Path]:
    """The NIfTI files of ``folder`` by scan id, their name without ending. Raises DataError when
    two have the same.
    """
    found: dict[str, Path] = {}
    for path in sorted([*folder.glob("*.nii"), *folder.glob("*.nii.gz")]):
        case_id = path.name.removesuffix(".gz").removesuffix(".nii")
        if case_id in found:
            raise DataError(
                f"{found[case_id].name} and {path.name} are the same scan",
                where=folder,
                fix="keep one of them",
            )
        found[case_id] = path
    return found
