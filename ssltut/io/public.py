"""Public scans: fetched from where their authors put them, checked, never part of this package. The
table is public.json beside this file.

A checksum there is of bytes we read, or as the publisher or others quote it;
``PublicSet.checksums`` says which. Where none is known the first download records its own in
checksums.json, and later ones must agree with it.
"""

import json
import os
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ssltut.data.case import Case
from ssltut.data.labels import LABEL_MAPS
from ssltut.errors import ConfigError, DataError

EXAMPLE = "totalsegmentator_example"
CT, SEGMENTATION = "example_ct.nii.gz", "example_seg_fast_force_split.nii.gz"


@dataclass(frozen=True)
class PublicFile:
    """A file: ``path`` below the folder of its set, ``checksum`` as "sha256:..." or "md5:...",
    ``size`` in bytes; an ``archive`` is
    unpacked.
    """

    path: str
    url: str
    checksum: str | None
    size: int | None
    archive: bool = False


@dataclass(frozen=True)
class PublicSet:
    """A data set, and what may be done with it. ``terms`` is the address of conditions that have to
    be accepted, None where there are
    none.
    """

    name: str
    title: str
    holds: str
    licence: str
    terms: str | None
    citation: str
    checksums: str
    ingest: str
    files: tuple[PublicFile, ...]

    def __str__(self) -> str:
        sizes = [file.size for file in self.files]
        size = f"{sum(sizes) / 1e6:,.1f} MB" if all(sizes) else "size not known"
        asked = f", to be accepted: {self.terms}" if self.terms else ""
        return (
            f"{self.name}: {self.title}, {len(self.files)} files, {size}\n  {self.holds}\n "
            f" licence: {self.licence}{asked}\n  cite: {self.citation}\n  checksums:"
            f" {self.checksums}"
        )


def _read_table() -> dict[str, PublicSet]:
    table = json.loads(Path(__file__).with_name("public.json").read_text(encoding="utf-8"))
    return {
        name: PublicSet(
            name=name, files=tuple(PublicFile(**file) for file in about.pop("files")), **about
        )
        for name, about in table.items()
    }


SETS: Mapping[str, PublicSet] = _read_table()


def fetch(name: str, folder: Path | None = None, mirror: Path | None = None) -> Path:
    """One file of the TotalSegmentator example in ``folder`` (default: the cache), as
    ``fetch_set``. Raises ConfigError for another
    name.
    """
    files = {file.path: file for file in SETS[EXAMPLE].files}
    if name not in files:
        raise ConfigError(f"there is no public file {name!r}", fix=f"use one of {', '.join(files)}")
    return _fetch_file(
        SETS[EXAMPLE], files[name], Path(folder) if folder else _cache(EXAMPLE), _mirror(mirror)
    )


def fetch_set(
    name: str,
    folder: Path | None = None,
    mirror: Path | None = None,
    *,
    accept: bool = False,
    log: Callable[[str], None] = lambda line: None,
) -> Path:
    """All files of a data set in ``folder`` (default: the cache), checked, archives unpacked beside
    themselves; what is there is not
    fetched again.

    ``mirror`` (or the environment's SSLTUT_MIRROR) is a folder that holds the same bytes: then
    nothing is downloaded. ``accept`` says that the licence has been read. An interrupted download
    goes on where it stopped if the server allows it. Raises ConfigError for an unknown name or a
    licence that was not accepted; DataError without a network, without the file in the mirror, for
    a wrong checksum or size, a full disk, or an archive that is damaged or reaches outside its
    folder.
    """
    if name not in SETS:
        raise ConfigError(f"there is no data set {name!r}", fix=f"use one of {', '.join(SETS)}")
    about, mirror = SETS[name], _mirror(mirror)
    if about.terms and not accept:
        raise ConfigError(
            f"the licence has to be accepted first: {about.licence}",
            where=name,
            fix=f"read {about.terms}, then add --accept-licence",
        )
    folder = Path(folder) if folder else _cache(name)
    folder.mkdir(parents=True, exist_ok=True)
    need = sum(file.size or 0 for file in about.files if not (folder / file.path).exists())
    if need > (free := shutil.disk_usage(folder).free):
        raise DataError(
            f"{need / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB free",
            where=folder,
            fix="make room, or choose another --out",
        )
    for i, file in enumerate(about.files, 1):
        log(f"{i}/{len(about.files)} {file.path}")
        path = _fetch_file(about, file, folder, mirror)
        if file.archive:
            _unpack(path, folder / path.name.removesuffix(".gz").rsplit(".", 1)[0])
    return folder


def _mirror(mirror: Path | None) -> Path | None:
    found = mirror or os.environ.get("SSLTUT_MIRROR")
    return Path(found) if found else None


def _fetch_file(about: PublicSet, file: PublicFile, folder: Path, mirror: Path | None) -> Path:
    target = folder / file.path
    record = folder / "checksums.json"
    seen = (
        json.loads(record.read_text(encoding="utf-8"))
        if file.checksum is None and record.is_file()
        else {}
    )
    expected = file.checksum or seen.get(file.path)
    if target.is_file() and expected and _hash(target, expected) == expected:
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(
        f".{target.name}.part"
    )  # kept when the network breaks off, so that the next call goes on from there
    if mirror:
        _copy(mirror, about.name, file, part)
    elif not (file.size and part.is_file() and part.stat().st_size == file.size):
        _download(file, part)
    found, size = _hash(part, expected or "sha256:"), part.stat().st_size
    if (expected and found != expected) or (file.size and size != file.size):
        part.unlink()
        raise DataError(
            f"wrong checksum: expected {(expected or '').replace(':', ' ')}, got"
            f" {found.replace(':', ' ')} ({size} bytes{f' of {file.size}' if file.size else ''})",
            where=mirror or file.url,
            fix="try again; if it stays so, do not use the file",
        )
    if expected is None:
        record.write_text(json.dumps(seen | {file.path: found}, indent=1), encoding="utf-8")
    os.replace(part, target)
    return target


def _hash(path: Path, like: str) -> str:
    """The checksum of a file, of the kind that ``like`` begins with."""
    import pooch

    kind = like.partition(":")[0]
    return f"{kind}:{pooch.file_hash(str(path), alg=kind)}"


def _copy(mirror: Path, name: str, file: PublicFile, part: Path) -> None:
    short = Path(file.path).name
    places = (mirror / file.path, mirror / name / file.path, mirror / short, mirror / name / short)
    source = next((place for place in places if place.is_file()), None)
    if source is None:
        raise DataError(
            f"the mirror does not hold {file.path}",
            where=mirror,
            fix=f"put it there, or at {name}/{file.path} below",
        )
    shutil.copyfile(source, part)


def _download(file: PublicFile, part: Path) -> None:
    import pooch
    import requests

    try:
        start = part.stat().st_size if part.is_file() else 0
        ask = {"Range": f"bytes={start}-"} if start else {}
        if start:
            with requests.get(file.url, headers=ask, stream=True, timeout=30) as answer:
                start = start if answer.status_code == requests.codes.partial_content else 0
        with open(part, "ab" if start else "wb") as out:
            pooch.HTTPDownloader(timeout=30, headers=ask if start else None)(file.url, out, None)
    except (OSError, ValueError) as error:  # requests' own errors are OSErrors
        if part.is_file() and part.stat().st_size == 0:
            part.unlink()
        raise DataError(
            f"the download failed ({type(error).__name__}: {str(error)[:120]})",
            where=file.url,
            fix=(
                "connect to the network and try again (it goes on where it stopped), or download"
                " the file elsewhere and name its folder in SSLTUT_MIRROR"
            ),
        ) from None


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack into a new ``folder``, all or nothing; a folder that is there was finished."""
    if folder.is_dir():
        return
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as packed:
                _inside(archive, part, packed.namelist())
                packed.extractall(part)
        else:
            with tarfile.open(archive) as packed:
                _inside(archive, part, packed.getnames())
                packed.extractall(part, filter="data")
                while packed.fileobj.read(
                    1 << 20
                ):  # tarfile stops at the last member: gzip's checksum, and a cut, come after it
                    pass
        os.replace(part, folder)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError) as error:
        raise DataError(
            f"the archive cannot be unpacked ({type(error).__name__}: {str(error)[:120]})",
            where=archive,
            fix="make room, or delete the archive and fetch it again",
        ) from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _inside(archive: Path, folder: Path, names: list[str]) -> None:
    root = folder.resolve()
    if outside := [name for name in names if not (root / name).resolve().is_relative_to(root)]:
        raise DataError(
            f"{len(outside)} members would land outside the folder, the first is {outside[0]!r}",
            where=archive,
            fix="do not use this archive",
        )


def _cache(folder: str) -> Path:
    from ssltut.files import cache_dir

    return cache_dir() / "public" / folder


def find_totalsegmentator_example() -> Path | None:
    """The folder of the TotalSegmentator example in the cache, or None when it has not been
    fetched.
    """
    folder = _cache(EXAMPLE)
    return folder if all((folder / name).is_file() for name in (CT, SEGMENTATION)) else None


def read_totalsegmentator_example(folder: Path) -> Case:
    """A CT of abdomen and pelvis at 3 mm with both hips; hip bones become 1, femurs 2, the other 57
    structures background.

    The labels are the output of a model, not manual; they are poor on the left femur, which holds a
    metal nail.
    """
    from ssltut.io.nifti import read_case

    case = read_case(Path(folder) / CT, Path(folder) / SEGMENTATION, id=EXAMPLE)
    meta = {
        **case.meta,
        "labels": "output of a model, not manual",
        "pathology": "metal nail in the left femur",
    }
    return replace(case, label=LABEL_MAPS["totalsegmentator"](case.label, folder), meta=meta)
