"""Files: the cache folder, digests, JSON, and writing that is whole or not at all."""

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ssltut.errors import DataError

MAX_TEXT = 10_000_000  # bytes of a description; scans are not text
MAX_YAML = 100_000  # bytes: YAML is slow to read
REPAIR = "repair the file or write it again"


def cache_dir() -> Path:
    """Where synthetic scans and the notebooks' runs are kept.

    SSLTUT_CACHE names it, else it is in the user's cache folder.
    """
    import pooch

    return Path(os.environ.get("SSLTUT_CACHE") or pooch.os_cache("ssltut"))


def check_regular(path: Path) -> None:
    """Raise DataError for all but a regular file, links followed; to be asked before it is opened.

    A FIFO would be waited for without end, a device read without end.
    """
    try:
        mode = path.stat().st_mode
    except OSError as error:
        what = f"the file cannot be opened ({error.strerror})"
        if isinstance(error, FileNotFoundError):
            what = "there is no such file"
        if os.path.islink(path):  # Path.is_symlink may raise
            what = f"this is a link to nothing ({error.strerror})"
        raise DataError(what, where=path, fix="check the path and its permissions") from None
    if not stat.S_ISREG(mode):
        is_kind = {"a folder": stat.S_ISDIR, "a FIFO": stat.S_ISFIFO, "a socket": stat.S_ISSOCK}
        kind = next((name for name, check in is_kind.items() if check(mode)), "a device")
        what = f"this is {kind}, not a file"
        raise DataError(what, where=path, fix="give a file, or take it out of the folder")


def digests_of(*paths: Path | None) -> list[str]:
    """Hashes of the content of the first, the first two ... of these files.

    One that is not there counts as none. Raises as ``check_regular``.
    """
    digest, digests = hashlib.sha256(), []
    for path in paths:
        if path is None or not os.path.lexists(path):
            digest.update(b"none")
        else:
            check_regular(path)
            with open(path, "rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        digests.append(digest.hexdigest()[:16])
    return digests


def digest_of(*paths: Path | None) -> str:
    """The last of ``digests_of``: a hash of all these files."""
    return digests_of(*paths)[-1]


def read_text(file: Path, limit: int | None = None) -> str:
    """A text in UTF-8, with or without a byte-order mark.

    Raises DataError when there is none, or one of more than ``limit`` bytes (MAX_TEXT).
    """
    check_regular(file)
    limit = limit or MAX_TEXT
    if (size := file.stat().st_size) > limit:
        what = f"the file has {size} bytes; the limit of such a file is {limit}"
        raise DataError(what, where=file, fix=REPAIR)
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"the file is no text in UTF-8 ({error})", where=file, fix=REPAIR) from None


def read_json(file: Path) -> dict[str, Any]:
    """The JSON object in ``file``. Raises DataError when there is none."""
    try:
        content = json.loads(read_text(file))
    except ValueError as error:  # a number may be too long, too
        raise DataError(f"not valid JSON ({error})", where=file, fix=REPAIR) from None
    except RecursionError:
        raise DataError("the JSON is nested too deeply", where=file, fix=REPAIR) from None
    if not isinstance(content, dict):
        raise DataError("the file does not hold a JSON object", where=file, fix=REPAIR)
    return content


def read_yaml(file: Path) -> Any:
    """What a YAML file holds. Raises DataError when it cannot be read, or for an alias (*name).

    A few lines of aliases can stand for gigabytes.
    """
    import yaml

    text = read_text(file, MAX_YAML)
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text)):
            raise DataError("aliases (*name) are not read", where=file, fix="write them out")
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        what = f"not valid YAML ({type(error).__name__}: {error})"
        raise DataError(what, where=file, fix=REPAIR) from None


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
