"""Files: the cache folder, digests, JSON, and writing that is whole or not at all."""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ssltut.errors import DataError


def cache_dir() -> Path:
    """Where synthetic scans and the notebooks' runs are kept.

    SSLTUT_CACHE names it, else it is in the user's cache folder.
    """
    import pooch

    return Path(os.environ.get("SSLTUT_CACHE") or pooch.os_cache("ssltut"))


def digest_of(*paths: Path | None) -> str:
    """A hash of the content of these files; one that is not there counts as none."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(b"none" if path is None or not path.exists() else path.read_bytes())
    return digest.hexdigest()[:16]


def read_json(file: Path) -> dict[str, Any]:
    """The JSON object in ``file``. Raises DataError when there is none."""
    mend = "repair the file or write it again"
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        fix = "give the folder of a cohort that ssltut wrote"
        raise DataError("there is no such file", where=file, fix=fix) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"not valid JSON ({error})", where=file, fix=mend) from None
    if not isinstance(content, dict):
        raise DataError("the file does not hold a JSON object", where=file, fix=mend)
    return content


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A file to write that becomes ``path`` when all is done, and goes when it fails.

    A reader, or a crash, sees the old file or the new one, nothing between.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: Path, text: str) -> None:
    """Write a text file (``whole_file``)."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
