"""Cohorts of synthetic scans, each made once and then kept in the cache."""

import contextlib
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ssltut.data.case import Case
from ssltut.data.cohort import Cohort, Source
from ssltut.data.crop_hips import crop_hips
from ssltut.data.labels import HIP
from ssltut.data.split import Split
from ssltut.errors import ConfigError, DataError
from ssltut.files import cache_dir, whole_file
from ssltut.seeding import derive_seed
from ssltut.synthetic import hip, pelvis

# What is left of the pelves in turn: users often have one hip, with near edges and little air.
CROPS = ("whole", "whole", "left", "whole", "whole", "right")


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
    """``n`` hip CTs of size^3 voxels over 160 mm, the same bits for the same arguments.

    Raises ConfigError when the parts do not leave a labelled scan.
    """
    if n < labelled + validation + test or labelled < 1:
        parts = f"{labelled} labelled, {validation} validation and {test} test scans"
        raise ConfigError(f"{n} scans cannot give {parts}", fix="raise n")
    options: dict[str, Any] = {"size": size, "pathology_rate": pathology_rate}
    folder = cache_dir() / "phantom" / f"v{hip.VERSION}-{size}-{seed}-{pathology_rate:g}"
    sources = {}
    for i in range(n):
        file, case_seed = folder / f"hip{i:03d}.npz", derive_seed(seed, i)
        make = partial(hip.make_case, case_seed, case_id=file.stem, **options)
        content = f"phantom v{hip.VERSION} {size} {pathology_rate} {case_seed}"
        sources[file.stem] = Source(file.stem, True, content, partial(cached_case, file, make))
    ids = tuple(sources)
    held, tested = n - validation - test, n - test
    split = Split(ids[:labelled], ids[labelled:held], ids[held:tested], ids[tested:])
    name = f"synthetic hips v{hip.VERSION} (seed {seed}, {size} voxels)"
    return Cohort(name, HIP, "CT", split, sources)


def pelvis_cohort(
    n: int = 40,
    *,
    seed: int = 0,
    spacing: float = 3.0,
    validation: int = 3,
    pathology_rate: float = 0.6,
) -> Cohort:
    """``n`` synthetic CTs of pelves with confusers, for models that shall meet real scans.

    All are labelled but the ``validation`` held out; every third is cut down to one of its hips
    (CROPS). Bit-reproducible from ``seed``. Raises ConfigError when no scan is left to train on.
    """
    if not 1 <= validation < n:
        raise ConfigError(f"{n} scans with {validation} for validation", fix="raise n")
    version = pelvis.VERSION
    folder = cache_dir() / "pelvis" / f"v{version}-{spacing:g}-{seed}-{pathology_rate:g}-cut"
    sources = {}
    for i in range(n):
        file, case_seed = folder / f"pelvis{i:03d}.npz", derive_seed(seed, i)
        crop = CROPS[i % len(CROPS)]
        make = partial(cropped_pelvis, case_seed, spacing, pathology_rate, crop, file.stem)
        content = f"pelvis v{version} {spacing} {pathology_rate} {case_seed} {crop}"
        sources[file.stem] = Source(file.stem, True, content, partial(cached_case, file, make))
    ids = tuple(sources)
    split = Split(ids[validation:], (), ids[:validation], ())
    name = f"synthetic pelves v{version} (seed {seed}, {spacing:g} mm)"
    return Cohort(name, HIP, "CT", split, sources, spacing)


def cropped_pelvis(seed: int, spacing: float, rate: float, crop: str, case_id: str) -> Case:
    """A pelvis, or one of its hips; one that ends above a femur stays whole."""
    case = pelvis.make_pelvis(seed, spacing=spacing, pathology_rate=rate, case_id=case_id)
    if crop != "whole":
        with contextlib.suppress(DataError):
            case = replace(crop_hips(case)[crop], id=case_id, patient=case_id)
    return case


def cached_case(file: Path, make: Callable[[], Case]) -> Case:
    """The labelled case kept in ``file``, an npz; made and written first where there is none."""
    if not file.exists():
        case = make()
        label, meta = np.asarray(case.label), json.dumps(case.meta)
        with whole_file(file) as part:
            np.savez_compressed(part, image=case.image, label=label, affine=case.affine, meta=meta)
    with np.load(file, allow_pickle=False) as kept:
        meta = json.loads(str(kept["meta"]))
        return Case(file.stem, file.stem, kept["image"], kept["label"], kept["affine"], meta)
