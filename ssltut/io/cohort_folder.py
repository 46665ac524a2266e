"""A cohort as a folder: images/, labels/, split.json and cases.json, written all or nothing."""

import json
import os
from collections.abc import Collection, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ssltut.data import MODALITIES
from ssltut.data.case import Case
from ssltut.data.cohort import Cohort, Source
from ssltut.data.labels import HIP, LabelTable, table_named
from ssltut.data.split import PARTS, Split, make_split
from ssltut.errors import ConfigError, DataError, DataWarning, SsltutError
from ssltut.files import digests_of, read_json, whole_folder
from ssltut.io.entries import has_voxels, is_label
from ssltut.io.left_atrium import is_atrium, read_atrium
from ssltut.io.nifti import read_case, scan_id, write_image, write_label
from ssltut.io.volume import Note, strict
from ssltut.options import Name, check_content
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


SPLIT = {  # the entries of split.json
    "name": Name,
    "modality": Literal[MODALITIES],
    "table": str | dict[str, Any],
    "patients": dict[str, str | int],
    **dict.fromkeys(PARTS, list[str | int]),
    "hash": str,
}
ROW = tuple[float, float, float, float]
GRID = {"shape": tuple[int, int, int], "affine": tuple[ROW, ROW, ROW, ROW], "axes": str}
CASE = {  # what cases.json says of a scan, as far as it is read
    "side": str | None,
    "anatomy": dict[str, Any],
    "pathology": dict[str, float | bool],
    "labelled classes": list[int],
    "grid": dict[str, Any],
}


class Layout(NamedTuple):
    """What a cohort folder says of its scans before any voxel is read; all by scan id."""

    images: Mapping[str, Path]
    labels: Mapping[str, Path]
    table: LabelTable
    patients: Mapping[str, str]
    split: Split | None  # None where split.json holds no lists
    modality: str
    name: str
    meta: Mapping[str, Any]  # of the scans, as cases.json has them


def read_layout(folder: Path, note: Note) -> Layout:
    """The layout of a cohort folder; what is wrong goes to ``note``. Raises as ``by_id``."""
    labels = by_id(folder / "labels")
    images = scans_by_id(folder / "images", note, labels)
    if not images:
        what = "there are no scans images/*.nii or images/*.nii.gz here"
        note(DataError(what, where=folder, fix="give the folder that holds images/ and labels/"))
    if lost := sorted(set(labels) - set(images)):
        what = f"{len(lost)} labels have no image, the first is {labels[lost[0]].name}"
        note(DataError(what, where=folder, fix="give both the same name"))
    file, table, patients, split = folder / "split.json", HIP, {i: i for i in images}, None
    description: dict[str, Any] = {}
    meta: dict[str, Any] = {}
    try:
        description = read_content(file, SPLIT)
        table = table_named(description.get("table", HIP.name))
        named = description.get("patients", {})
        patients = {i: str(named.get(i, i)) for i in images}
        if set(PARTS) & set(description):
            split = Split.from_dict(description, file)
        cases = read_content(folder / "cases.json", {})
        for case_id in images:
            check_content(cases, {case_id: dict[str, Any]}, folder / "cases.json")
            check_content(cases.get(case_id, {}), CASE, f"{folder / 'cases.json'}: {case_id}")
        meta = cases
    except SsltutError as error:
        note(error)
    modality, name = description.get("modality", "CT"), description.get("name", folder.name)
    return Layout(images, labels, table, patients, split, modality, name, meta)


def read_content(file: Path, kinds: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON file of a cohort whose entries are of these kinds; empty where there is none."""
    content = read_json(file) if os.path.lexists(file) else {}
    check_content(content, kinds, file)
    return content


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
    patients, labels = layout.patients, layout.labels
    labelled = {i: patient for i, patient in patients.items() if i in labels}
    bare = {i: patient for i, patient in patients.items() if i not in labels}
    split = layout.split or make_split(labelled, bare)
    read = partial(read_case, table=layout.table, modality=layout.modality)
    sources, digests = {}, {}
    for i, image in layout.images.items():
        label = labels[i].absolute() if i in labels else None
        known = {"case_id": i, "patient": patients[i], "meta": layout.meta.get(i, {})}
        load = partial(read, image.absolute(), label, **known)
        digests[i], both = digests_of(image, label)
        sources[i] = Source(patients[i], i in labels, both, load)
    check_doubles(digests, split, folder, strict)
    return Cohort(layout.name, layout.table, layout.modality, split, sources)


def check_doubles(digests: Mapping[str, str], split: Split, where: Path, note: Note) -> None:
    """Note scans of one content (``digests`` by scan): an error in two parts, else a warning.

    The labelled and the unlabelled part are one: training.
    """
    part_of = dict.fromkeys((*split.labelled, *split.unlabelled), "training")
    part_of |= dict.fromkeys(split.validation, "validation") | dict.fromkeys(split.test, "test")
    first: dict[str, str] = {}
    apart: list[str] = []
    beside: list[str] = []
    for case_id in filter(digests.get, split.all):
        other = first.setdefault(digests[case_id], case_id)
        parts = part_of[other], part_of[case_id]
        if other != case_id:
            both = f"{other} ({parts[0]}) and {case_id} ({parts[1]})"
            (beside if parts[0] == parts[1] else apart).append(both)
    if apart:
        what = f"{len(apart)} scans are in two parts under two names, the first are {apart[0]}"
        note(DataError(what, where=where, fix="keep each scan in one part: take out the doubles"))
    if beside:
        what = f"{len(beside)} scans are there twice, the first are {beside[0]}"
        note(DataWarning(what, where=where, fix="take out the doubles"))


def by_id(folder: Path) -> dict[str, Path]:
    """The files with voxels in ``folder`` by scan id. Raises DataError when two have the same."""
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if not has_voxels(path):
            continue
        other = files.setdefault(scan_id(path), path)
        if other != path:
            what = f"{other.name} and {path.name} are the same scan"
            raise DataError(what, where=folder, fix="keep one of them")
    return files


def scans_by_id(folder: Path, note: Note, labels: Collection[str] = ()) -> dict[str, Path]:
    """``by_id`` of scans: a name that says label is no scan, unless it is one of ``labels``."""
    files = by_id(folder)
    wrong = [i for i, path in files.items() if is_label(path, folder) and i not in labels]
    if wrong:
        what = f"{len(wrong)} files are labels by their name, not scans: {', '.join(wrong[:3])}"
        fix = "give the labels the names of their scans, in labels/"
        note(DataWarning(what, where=folder, fix=fix))
    return {i: path for i, path in files.items() if i not in wrong}
