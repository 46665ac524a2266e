"""The cohort of synthetic hips; each scan is made once and then kept in the cache."""

import json
import zlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from ssltut.data.case import Case
from ssltut.data.cohort import Cohort, Source
from ssltut.data.labels import HIP
from ssltut.data.split import Split
from ssltut.errors import ConfigError
from ssltut.files import cache_dir, locked, whole_file
from ssltut.seeding import derive_seed
from ssltut.synthetic import hip


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


def cached_case(file: Path, make: Callable[[], Case]) -> Case:
    """The labelled case kept in ``file``, an npz; made first where there is none, or a damaged one.

    Processes that want the same case wait for the one that makes it.
    """
    if kept := _kept_case(file):
        return kept
    with locked(file, beside=True, wait=lambda line: None):
        if kept := _kept_case(file):
            return kept
        made = make()
        arrays: dict[str, Any] = {"image": made.image, "label": made.label, "affine": made.affine}
        meta = json.dumps(made.meta)
        with whole_file(file) as part:
            np.savez_compressed(part, **arrays, meta=meta)
    return replace(made, meta=json.loads(meta))  # as it comes from the file


def _kept_case(file: Path) -> Case | None:
    """The case in ``file``; None where there is none, or the file is damaged."""
    try:
        with np.load(file, allow_pickle=False) as kept:
            meta = json.loads(str(kept["meta"]))
            return Case(file.stem, file.stem, kept["image"], kept["label"], kept["affine"], meta)
    except (ValueError, KeyError, TypeError, EOFError, OSError, BadZipFile, zlib.error):
        return None
