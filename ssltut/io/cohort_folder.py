"""A cohort as a folder: images/, labels/, split.json and cases.json, written all or nothing."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from ssltut.data.case import Case
from ssltut.data.cohort import Cohort, Source
from ssltut.data.labels import HIP, LabelTable, table_named
from ssltut.data.split import PARTS, Split, make_split
from ssltut.errors import ConfigError, DataError, SsltutError
from ssltut.files import digest_of, read_json
from ssltut.io.left_atrium import is_atrium, read_atrium
from ssltut.io.nifti import read_case, scan_id, write_image, write_label
from ssltut.io.volume import Note, strict
from ssltut.progress import progress_bar


def write_cohort(cohort: Cohort, folder: Path) -> None:
    """Write what ``read_cohort`` reads. Raises ConfigError when the folder is not empty."""
    about = {"name": cohort.name, "modality": cohort.modality, "table": cohort.table.to_dict()}
    patients = {i: source.patient for i, source in cohort.sources.items()}
    with whole_folder(folder) as part:
        meta = {}
        for case_id in progress_bar(cohort.sources, "writing scans", unit="scan"):
            case = cohort.case(case_id)
            meta[case_id] = dict(case.meta)
            write_scan(case, part)
        write_description(part, meta, cohort.split, **about, patients=patients)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A folder to fill that becomes ``folder``, which must be empty, when all is done, or goes."""
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
    folder: Path, meta: Mapping[str, object], split: Split | None, **about: object
) -> None:
    """Write split.json (``about`` the cohort, and its split) and cases.json (``meta``)."""
    lists = {**asdict(split), "hash": split.hash} if split else {}
    for file, content in (("split.json", about | lists), ("cases.json", meta)):
        (folder / file).write_text(json.dumps(content, indent=1), encoding="utf-8")


class Layout(NamedTuple):
    """What a cohort folder says of its scans before any voxel is read; all by scan id."""

    images: Mapping[str, Path]
    labels: Mapping[str, Path]
    table: LabelTable
    patients: Mapping[str, str]
    split: Split | None  # None where split.json holds no lists
    description: Mapping[str, Any]  # the whole of split.json


def read_layout(folder: Path, note: Note) -> Layout:
    """The layout of a cohort folder; what is wrong goes to ``note``. Raises as ``by_id``."""
    images, labels = by_id(folder / "images"), by_id(folder / "labels")
    if not images:
        what = "there are no scans images/*.nii or images/*.nii.gz here"
        note(DataError(what, where=folder, fix="give the folder that holds images/ and labels/"))
    if lost := sorted(set(labels) - set(images)):
        what = f"{len(lost)} labels have no image, the first is {labels[lost[0]].name}"
        note(DataError(what, where=folder, fix="give both the same name"))
    file, table, patients, split = folder / "split.json", HIP, {i: i for i in images}, None
    description: dict[str, Any] = {}
    try:
        description = read_json(file) if file.exists() else {}
        table = table_named(description.get("table", HIP.name))
        named = description.get("patients", {})
        if not isinstance(named, dict):
            fix = 'write it as {"scan": "patient", ...}'
            raise DataError("patients is not a table", where=file, fix=fix)
        patients = {i: str(named.get(i, i)) for i in images}
        if set(PARTS) & set(description):
            split = Split.from_dict(description, file)
    except SsltutError as error:
        note(error)
    except (ValueError, TypeError, AttributeError) as error:  # no lists and tables
        fix = "repair the file or make the split again"
        note(DataError(f"this is not a split ({error})", where=file, fix=fix))
    return Layout(images, labels, table, patients, split, description)


def read_cohort(folder: Path, test_list: Path | None = None) -> Cohort:
    """The cohort in ``folder``: images/ and labels/ with files of the same names.

    Better with a split.json: without its four lists the scans with labels are split here (20 %
    test, 10 % validation, fixed draw), and those without are unlabelled. The left-atrium scans are
    read too; ``test_list`` is the folder of their own test scans. Raises DataError without a cohort
    or for a wrong split.json, ConfigError for a test list beside other scans.
    """
    folder = Path(folder)
    if is_atrium(folder):
        return read_atrium(folder, test_list)
    if test_list is not None:
        what = "a test list belongs to the left-atrium scans"
        raise ConfigError(what, where=folder, fix="name the test scans in split.json")
    layout = read_layout(folder, strict)
    patients, labels, description = layout.patients, layout.labels, layout.description
    labelled = {i: patient for i, patient in patients.items() if i in labels}
    bare = {i: patient for i, patient in patients.items() if i not in labels}
    split = layout.split or make_split(labelled, bare)
    meta = read_json(folder / "cases.json") if (folder / "cases.json").exists() else {}
    modality = str(description.get("modality", "CT"))
    read = partial(read_case, table=layout.table, modality=modality)
    sources = {}
    for i, image in layout.images.items():
        label = labels[i].absolute() if i in labels else None
        known = {"case_id": i, "patient": patients[i], "meta": meta.get(i, {})}
        load = partial(read, image.absolute(), label, **known)
        sources[i] = Source(patients[i], i in labels, digest_of(image, label), load)
    name = str(description.get("name", folder.name))
    return Cohort(name, layout.table, modality, split, sources)


def by_id(folder: Path) -> dict[str, Path]:
    """The NIfTI files of ``folder`` by scan id. Raises DataError when two have the same."""
    files: dict[str, Path] = {}
    for path in sorted([*folder.glob("*.nii"), *folder.glob("*.nii.gz")]):
        other = files.setdefault(scan_id(path), path)
        if other != path:
            what = f"{other.name} and {path.name} are the same scan"
            raise DataError(what, where=folder, fix="keep one of them")
    return files
