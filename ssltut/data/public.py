"""Public scans: fetched from where their authors put them, checked by sha256, never part of this package."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ssltut.data.case import Case
from ssltut.data.labels import LABEL_MAPS
from ssltut.errors import ConfigError, DataError


@dataclass(frozen=True)
class PublicFile:
    """A file at a fixed commit, and what may be done with it."""

    name: str
    folder: str
    url: str
    sha256: str
    licence: str
    citation: str


_TS = "https://raw.githubusercontent.com/wasserth/TotalSegmentator/0e65a448d557382b1e925276212b3bec7f5aff83/tests/reference_files/"
_TS_CITE = "Wasserthal et al. 2023, TotalSegmentator, Radiology: Artificial Intelligence 5(5), doi:10.1148/ryai.230024"
EXAMPLE = "totalsegmentator_example"
CT, SEGMENTATION = "example_ct.nii.gz", "example_seg_fast_force_split.nii.gz"
REGISTRY: Mapping[str, PublicFile] = {name: PublicFile(name, EXAMPLE, _TS + name, sha256, "Apache-2.0", _TS_CITE) for name, sha256 in {
    CT: "dbd3ae6d614d1d7ef3a46925c30c70038ed52da6b37fdd6afdc7b9b71387e3e1",
    SEGMENTATION: "e8097758e56e73099075b6caaebce23ef11bc6fad66a4ec3753b9406846558c7",
}.items()}


def fetch(name: str, folder: Path | None = None, mirror: Path | None = None) -> Path:
    """The public file ``name`` in ``folder`` (default: the cache), downloaded if it is not there, with the right sha256.

    ``mirror`` (or the environment's SSLTUT_MIRROR) is a folder that holds the same bytes: then nothing is downloaded.
    Raises ConfigError for an unknown name; DataError without a network, without the file in the mirror, or for a wrong checksum.
    """
    import pooch

    if name not in REGISTRY:
        raise ConfigError(f"there is no public file {name!r}", fix=f"use one of {', '.join(REGISTRY)}")
    item, mirror = REGISTRY[name], mirror or os.environ.get("SSLTUT_MIRROR")
    target = (Path(folder) if folder else _cache(item.folder)) / name
    if target.is_file() and pooch.file_hash(str(target)) == item.sha256:
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{os.getpid()}-{name}")
    try:
        if mirror:
            _copy(Path(mirror), item, part)
        else:
            _download(item, part)
        if (found := pooch.file_hash(str(part))) != item.sha256:
            raise DataError(f"wrong checksum: expected sha256 {item.sha256}, got {found} ({part.stat().st_size} bytes)", where=mirror or item.url,
                            fix="try again; if it stays so, do not use the file")
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
    return target


def _copy(mirror: Path, item: PublicFile, part: Path) -> None:
    source = next((p for p in (mirror / item.name, mirror / item.folder / item.name) if p.is_file()), None)
    if source is None:
        raise DataError(f"the mirror does not hold {item.name}", where=mirror, fix=f"put it there, or at {item.folder}/{item.name} below")
    shutil.copyfile(source, part)


def _download(item: PublicFile, part: Path) -> None:
    import pooch

    try:
        pooch.HTTPDownloader(timeout=30)(item.url, str(part), None)
    except (OSError, ValueError) as error:  # requests' own errors are OSErrors
        raise DataError(f"the download failed ({type(error).__name__}: {str(error)[:120]})", where=item.url,
                        fix="connect to the network, or download the file elsewhere and name its folder in SSLTUT_MIRROR") from None


def _cache(folder: str) -> Path:
    from ssltut.data.cohort import cache_dir

    return cache_dir() / "public" / folder


def find_totalsegmentator_example() -> Path | None:
    """The folder of the TotalSegmentator example in the cache, or None when it has not been fetched."""
    folder = _cache(EXAMPLE)
    return folder if all((folder / name).is_file() for name in (CT, SEGMENTATION)) else None


def read_totalsegmentator_example(folder: Path) -> Case:
    """A CT of abdomen and pelvis at 3 mm with both hips; hip bones become 1, femurs 2, the other 57 structures background.

    The labels are the output of a model, not manual; they are poor on the left femur, which holds a metal nail.
    """
    from ssltut.data.nifti import read_case

    case = read_case(Path(folder) / CT, Path(folder) / SEGMENTATION, id=EXAMPLE)
    meta = {**case.meta, "labels": "output of a model, not manual", "pathology": "metal nail in the left femur"}
    return replace(case, label=LABEL_MAPS["totalsegmentator"](case.label, folder), meta=meta)
