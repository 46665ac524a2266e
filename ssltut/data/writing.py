"""A cohort as a folder that read_cohort reads: images/, labels/, split.json and cases.json, all or
nothing.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from ssltut.data.case import Case
from ssltut.data.cohort import Cohort
from ssltut.errors import ConfigError


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
    from ssltut.data.nifti import write_image, write_label

    write_image(case, folder / "images" / f"{case.id}.nii.gz")
    if case.label is not None:
        write_label(case.label, case.affine, folder / "labels" / f"{case.id}.nii.gz")


def write_about(folder: Path, about: Mapping[str, object], meta: Mapping[str, object]) -> None:
    """split.json (table, patients and, where there is one, the split) and cases.json (what is known
    of each scan).
    """
    for name, what in (("split.json", about), ("cases.json", meta)):
        (folder / name).write_text(json.dumps(what, indent=1), encoding="utf-8")
