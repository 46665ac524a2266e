"""The cohort of synthetic pelves that models for real scans are trained on."""

from dataclasses import replace
from functools import partial
from pathlib import Path

from ssltut.data.case import Case
from ssltut.data.cohort import Cohort, Source, cache_dir, recall, store
from ssltut.data.labels import HIP
from ssltut.data.split import Split
from ssltut.data.views import derive_seed
from ssltut.errors import ConfigError, DataError


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
    from ssltut.data.phantom.pelvis import VERSION

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
    from ssltut.data.hips import crop_hips
    from ssltut.data.phantom.pelvis import make_pelvis

    if not file.exists():
        case = make_pelvis(seed, spacing=spacing, pathology_rate=pathology_rate, id=file.stem)
        if cut != "whole":
            try:
                case = replace(crop_hips(case)[cut], id=file.stem, patient=file.stem)
            except DataError:  # it ends above a femur: it stays whole
                pass
        store(case, file)
    return recall(file)
