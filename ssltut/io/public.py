"""Public scans: fetched from where their authors put them, checked, never part of this package.

The table is public.json beside this file; ``PublicSet.checksums`` says whose checksums these are.
Where none is known the first download records its own in checksums.json for later ones.
"""

import json
import os
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pooch
import requests

from ssltut.data.case import Case
from ssltut.data.labels import LABEL_MAPS
from ssltut.errors import ConfigError, DataError
from ssltut.files import cache_dir, locked, read_json, write_atomically
from ssltut.io.nifti import read_case
from ssltut.options import check_content

EXAMPLE = "totalsegmentator_example"
CT, SEGMENTATION = "example_ct.nii.gz", "example_seg_fast_force_split.nii.gz"
RETRIES = 1  # a big file with a wrong checksum should not be downloaded many times
TIMEOUT_S = 30
MAX_MEMBERS, MAX_RATIO = 200_000, 50  # of an archive; scans are packed already, and shrink little
MIN_LIMIT = 100_000_000  # bytes that even a small archive may unpack to


@dataclass(frozen=True)
class PublicFile:
    """A file of a data set; None stands for what nobody knows."""

    path: str  # below the folder of its set
    url: str
    checksum: str | None  # "sha256:..." or "md5:..."
    size: int | None  # bytes
    archive: bool = False  # unpacked beside itself


@dataclass(frozen=True)
class PublicSet:
    """A data set, and what may be done with it."""

    name: str
    title: str
    holds: str
    licence: str
    terms: str | None  # where the conditions stand that have to be accepted
    citation: str
    checksums: str
    ingest: str
    files: tuple[PublicFile, ...]

    def __str__(self) -> str:
        sizes = [file.size or 0 for file in self.files]
        size = f"{sum(sizes) / 1e6:,.1f} MB" if all(sizes) else "size not known"
        terms = f", to be accepted: {self.terms}" if self.terms else ""
        return f"""{self.name}: {self.title}, {len(self.files)} files, {size}
  {self.holds}
  licence: {self.licence}{terms}
  cite: {self.citation}
  checksums: {self.checksums}"""


def _read_table() -> dict[str, PublicSet]:
    sets = {}
    for name, entry in read_json(Path(__file__).with_name("public.json")).items():
        files = tuple(PublicFile(**file) for file in entry.pop("files"))
        sets[name] = PublicSet(name=name, files=files, **entry)
    return sets


SETS: Mapping[str, PublicSet] = _read_table()


def fetch_set(
    name: str,
    folder: Path | None = None,
    mirror: Path | None = None,
    *,
    accept: bool = False,
    log: Callable[[str], None] = lambda line: None,
) -> Path:
    """All files of a data set in ``folder`` (default: the cache), checked and unpacked.

    ``mirror`` (or the environment's SSLTUT_MIRROR) is a folder that holds the same bytes.
    ``accept`` says that the licence has been read. An interrupted download goes on. Raises
    ConfigError for an unknown name or a licence not accepted; DataError without the file, for a
    wrong checksum, a full disk, or an archive that is damaged or reaches outside its folder.
    """
    if name not in SETS:
        raise ConfigError(f"there is no data set {name!r}", fix=f"use one of {', '.join(SETS)}")
    dataset = SETS[name]
    if dataset.terms and not accept:
        what = f"the licence has to be accepted first: {dataset.licence}"
        raise ConfigError(what, where=name, fix=f"read {dataset.terms}, then add --accept-licence")
    folder = Path(folder or _cache(name))
    source = mirror or os.environ.get("SSLTUT_MIRROR")
    # A folder that cannot be written may hold all of it already.
    shared = folder.exists() and not os.access(folder, os.W_OK)
    with nullcontext() if shared else locked(folder):
        need = sum(file.size or 0 for file in dataset.files if not (folder / file.path).exists())
        free = shutil.disk_usage(folder).free
        if need > free:
            what = f"{need / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB free"
            raise DataError(what, where=folder, fix="make room, or choose another --out")
        for i, file in enumerate(dataset.files, 1):
            log(f"{i}/{len(dataset.files)} {file.path}")
            path = _fetch_file(name, file, folder, Path(source) if source else None)
            if file.archive:
                _unpack(path, folder / path.name.removesuffix(".gz").rsplit(".", 1)[0])
    return folder


def _cache(name: str) -> Path:
    return cache_dir() / "public" / name


def _fetch_file(name: str, file: PublicFile, folder: Path, mirror: Path | None) -> Path:
    """The file in ``folder``, by pooch, which keeps nothing whose checksum is wrong."""
    pooch.get_logger().setLevel("WARNING")
    record, target = folder / "checksums.json", folder / file.path
    recorded = read_json(record) if record.is_file() else {}
    check_content(recorded, dict.fromkeys(recorded, str), record)
    checksum = file.checksum or recorded.get(file.path)
    part = target.with_name(f".{target.name}.part")
    get = partial(_copy, mirror, name, file) if mirror else partial(_download, part)
    where, retries = mirror or file.url, 0 if mirror else RETRIES
    pup = pooch.create(folder, "", registry={file.path: checksum}, retry_if_failed=retries)
    pup.urls = {file.path: file.url}
    try:
        pup.fetch(file.path, downloader=get)
    except OSError as error:  # requests' own errors are OSErrors
        what = f"the download failed ({type(error).__name__}: {str(error)[:120]})"
        fix = "connect to the network and try again (it goes on where it stopped), or download"
        fix += " the file elsewhere and name its folder in SSLTUT_MIRROR"
        raise DataError(what, where=where, fix=fix) from None
    except ValueError as error:
        fix = "try again; if it stays so, do not use the file"
        raise DataError(f"wrong checksum: {error}", where=where, fix=fix) from None
    if checksum is None:
        recorded[file.path] = f"sha256:{pooch.file_hash(str(target))}"
        write_atomically(record, json.dumps(recorded, indent=1))
    return target


def _copy(mirror: Path, name: str, file: PublicFile, url: str, target: str, pup: object) -> None:
    """Downloader of pooch: take the file from a mirror, from any of the places it may lie at."""
    short = Path(file.path).name
    for place in (file.path, f"{name}/{file.path}", short, f"{name}/{short}"):
        if (mirror / place).is_file():
            shutil.copyfile(mirror / place, target)
            return
    fix = f"put it there, or at {name}/{file.path} below"
    raise DataError(f"the mirror does not hold {file.path}", where=mirror, fix=fix)


def _download(part: Path, url: str, target: str, pup: object) -> None:
    """Downloader of pooch: go on with ``part`` where an earlier try stopped, if the server does."""
    start = part.stat().st_size if part.is_file() else 0
    headers = {"Range": f"bytes={start}-"} if start else {}
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as response:
        if response.status_code == requests.codes.requested_range_not_satisfiable:
            part.unlink()  # it belongs to another version of the file
        response.raise_for_status()
        goes_on = response.status_code == requests.codes.partial_content
        with open(part, "ab" if goes_on else "wb") as out:
            out.writelines(response.iter_content(1 << 16))
    os.replace(part, target)


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack into a new ``folder``, all or nothing; one that is there was finished.

    pooch leaves half of a damaged archive and, before Python 3.12, follows links.
    """
    if folder.is_dir():
        return
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir()  # or a member called "." would become a file in its place
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as packed:
                members = ((member.filename, member.file_size) for member in packed.infolist())
                _check_members(archive, part, members)
                packed.extractall(part)
        else:
            with tarfile.open(archive) as packed:
                _check_members(archive, part, ((member.name, member.size) for member in packed))
                packed.extractall(part, filter="data")
                # tarfile stops at the last member: gzip's checksum, and a cut, come after it
                while packed.fileobj.read(1 << 20):
                    pass
        os.replace(part, folder)
    except (DataError, MemoryError):
        raise
    except Exception as error:  # of many kinds: cut, changed, encrypted, of unknown methods
        what = f"the archive cannot be unpacked ({type(error).__name__}: {str(error)[:120]})"
        fix = "make room, or delete the archive and fetch it again"
        raise DataError(what, where=archive, fix=fix) from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _check_members(archive: Path, folder: Path, members: Iterable[tuple[str, int]]) -> None:
    """DataError for members (name, bytes) that are too large, too many, doubled or outside."""
    fix, names, total = "do not use this archive", set(), 0
    limit = max(MAX_RATIO * archive.stat().st_size, MIN_LIMIT)
    for name, size in members:
        if name in names or not name:
            what = f"two members are called {name!r}, or one has no name"
            raise DataError(what, where=archive, fix=fix)
        names.add(name)
        total += size
        if total > limit or len(names) > MAX_MEMBERS:
            what = f"{len(names)} members of {total:,} bytes are too many for an archive of"
            what += f" {archive.stat().st_size:,} bytes"
            raise DataError(what, where=archive, fix=fix)
    free = shutil.disk_usage(archive.parent).free
    if total > free:
        what = f"its members need {total:,} bytes, and {free:,} are free"
        raise DataError(what, where=archive, fix="make room")
    root = folder.resolve()
    outside = sorted(name for name in names if not (root / name).resolve().is_relative_to(root))
    if outside:
        what = f"{len(outside)} members would land outside the folder, the first is {outside[0]!r}"
        raise DataError(what, where=archive, fix=fix)


def find_totalsegmentator_example() -> Path | None:
    """The folder of the TotalSegmentator example in the cache; None when it was not fetched."""
    folder = _cache(EXAMPLE)
    return folder if all((folder / name).is_file() for name in (CT, SEGMENTATION)) else None


def read_totalsegmentator_example(folder: Path) -> Case:
    """A CT of abdomen and pelvis at 3 mm with labels of both hips: 1 hip bones, 2 femurs.

    A model made the labels; they are poor on the left femur, which holds a metal nail.
    """
    case = read_case(Path(folder) / CT, Path(folder) / SEGMENTATION, case_id=EXAMPLE)
    assert case.label is not None, "it was read with a label"
    label = LABEL_MAPS["totalsegmentator"](case.label, folder)
    known = {"labels": "output of a model, not manual", "pathology": "metal nail in the left femur"}
    return replace(case, label=label, meta={**case.meta, **known})
