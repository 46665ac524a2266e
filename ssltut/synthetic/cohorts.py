"""The cohort of synthetic pelves that models for real scans are trained on."""

import json
import os
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from ssltut.data.case import Case
from ssltut.data.cohort import Cohort, Source
from ssltut.data.labels import HIP
from ssltut.data.split import Split
from ssltut.errors import ConfigError, DataError
from ssltut.files import cache_dir
from ssltut.seeding import derive_seed


def pelvis_cohort(
    n: int = 40,
    *,
    seed: int = 0,
    spacing: float = 3.0,
    validation: int = 3,
    pathology_rate: float = 0.6,
) -> Cohort:
    """``n`` synthetic CTs of pelves with confusers, for models that shall meet real scans: all
    labelled but the ``validation`` held out.

    Every third is cut down to one of its hips, as users' scans often are: the edge of a scan is
    then near, and less of it is air. Made once and kept in the cache, bit-reproducible from
    ``seed``. Raises ConfigError when no scan is left to train on.
    """
    from ssltut.synthetic.pelvis import VERSION

    if not 1 <= validation < n:
        raise ConfigError(f"{n} scans with {validation} for validation", fix="raise n")
    folder = cache_dir() / "pelvis" / f"v{VERSION}-{spacing:g}-{seed}-{pathology_rate:g}-cut"
    ids = [f"pelvis{i:03d}" for i in range(n)]
    sources = {
        case_id: Source(
            case_id,
            True,
            f"pelvis v{VERSION} {spacing} {pathology_rate} {derive_seed(seed, i)} {cut_of(i)}",
            partial(
                _made_pelvis,
                folder / f"{case_id}.npz",
                derive_seed(seed, i),
                spacing,
                pathology_rate,
                cut_of(i),
            ),
        )
        for i, case_id in enumerate(ids)
    }
    split = Split(tuple(ids[validation:]), (), tuple(ids[:validation]), ())
    return Cohort(
        f"synthetic pelves v{VERSION} (seed {seed}, {spacing:g} mm)",
        HIP,
        "CT",
        split,
        sources,
        spacing,
    )


def cut_of(i: int) -> str:
    """What is left of the ``i``-th pelvis: "left" or "right" for a hip, "whole"."""
    return ("whole", "whole", "left", "whole", "whole", "right")[i % 6]


def _made_pelvis(file: Path, seed: int, spacing: float, pathology_rate: float, cut: str) -> Case:
    from ssltut.data.crop_hips import crop_hips
    from ssltut.synthetic.pelvis import make_pelvis

    if not file.exists():
        case = make_pelvis(seed, spacing=spacing, pathology_rate=pathology_rate, id=file.stem)
        if cut != "whole":
            try:
                case = replace(crop_hips(case)[cut], id=file.stem, patient=file.stem)
            except DataError:  # it ends above a femur: it stays whole
                pass
        store(case, file)
    return recall(file)


def synthetic_cohort(
    n: int = 28,
    *,
    seed: int = 0,
    size: int = 64,
    labelled: int = 4,
    validation: int = 2,
    test: int = 10,
    pathology_rate: float = 0.5,
) -> Cohort:
    """``n`` synthetic hip CTs of size^3 voxels over 160 mm, each made once and kept in the cache.
    Bit-reproducible from ``seed``.

    Raises ConfigError when the parts do not leave a labelled scan.
    """
    from ssltut.synthetic.hip import VERSION

    if n < labelled + validation + test or labelled < 1:
        raise ConfigError(
            f"{n} scans cannot give {labelled} labelled, {validation} validation and {test} test"
            " scans",
            fix="raise n",
        )
    folder = cache_dir() / "phantom" / f"v{VERSION}-{size}-{seed}-{pathology_rate:g}"
    ids = [f"hip{i:03d}" for i in range(n)]
    sources = {
        case_id: Source(
            case_id,
            True,
            f"phantom v{VERSION} {size} {pathology_rate} {derive_seed(seed, i)}",
            partial(_made, folder / f"{case_id}.npz", derive_seed(seed, i), size, pathology_rate),
        )
        for i, case_id in enumerate(ids)
    }
    held = n - validation - test
    split = Split(
        tuple(ids[:labelled]),
        tuple(ids[labelled:held]),
        tuple(ids[held : held + validation]),
        tuple(ids[held + validation :]),
    )
    return Cohort(
        f"synthetic hips v{VERSION} (seed {seed}, {size} voxels)", HIP, "CT", split, sources
    )


def _made(file: Path, seed: int, size: int, pathology_rate: float) -> Case:
    from ssltut.synthetic.hip import make_case

    if not file.exists():
        store(make_case(seed, size=size, pathology_rate=pathology_rate, id=file.stem), file)
    return recall(file)


def store(case: Case, file: Path) -> None:
    """Keep a labelled case in the cache; whoever reads it meanwhile sees nothing or all of it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(f".{os.getpid()}.npz")
    np.savez_compressed(
        part, image=case.image, label=case.label, affine=case.affine, meta=json.dumps(case.meta)
    )
    os.replace(part, file)


def recall(file: Path) -> Case:
    """What ``store`` kept."""
    with np.load(file, allow_pickle=False) as found:
        return Case(
            file.stem,
            file.stem,
            found["image"],
            found["label"],
            found["affine"],
            json.loads(str(found["meta"])),
        )
