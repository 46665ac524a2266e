"""Files: the cache folder, digests, JSON, locks, and writing that is whole or not at all."""

import glob
import hashlib
import json
import os
import platform
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ssltut.errors import ConfigError, DataError

PACKAGE = Path(__file__).resolve().parent
PROJECT = PACKAGE / "project" if (PACKAGE / "project").is_dir() else PACKAGE.parent
"""Holds results/ and notebooks/: the clone, or the copy of them in an installed package."""
DESCRIBE = ("git", "describe", "--tags", "--long", "--always", "--dirty")
POLL_S = 0.2  # between two looks at a lock that another process has

MAX_TEXT = 10_000_000  # bytes of a description; scans are not text
MAX_DEPTH = 20
MAX_YAML = 100_000  # bytes: YAML is slow to read
REPAIR = "repair the file or write it again"


def commit() -> str:
    """As setup.py wrote it into an installed package, or git describes this clone; else ""."""
    if (PACKAGE / "COMMIT").is_file():
        return (PACKAGE / "COMMIT").read_text(encoding="utf-8").strip()
    options: dict[str, Any] = {"cwd": PACKAGE, "capture_output": True, "text": True, "timeout": 10}
    with suppress(OSError, subprocess.TimeoutExpired):
        if (PACKAGE.parent / ".git").exists():
            return subprocess.run(DESCRIBE, **options).stdout.strip()
    return ""


def cache_dir() -> Path:
    """Of synthetic scans and notebooks' runs: SSLTUT_CACHE, else in the user's cache folder."""
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


def user_file(text: str, parameter: str) -> Path:
    """The file that a parameter of a notebook names, ~ expanded. DataError where there is none."""
    path = Path(text).expanduser()
    try:
        check_regular(path)
    except DataError as error:
        fix = f"correct the parameter {parameter} at the top of the notebook"
        raise DataError(error.found, where=path, fix=fix) from None
    return path


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
                hashlib.file_digest(file, lambda: digest)
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
    """What a YAML file holds.

    Raises DataError when it cannot be read, and for aliases (*name) and deep nesting: a few lines
    of the former can stand for gigabytes.
    """
    import yaml

    text = read_text(file, MAX_YAML)
    try:
        depth = 0
        for event in yaml.parse(text):
            if isinstance(event, yaml.AliasEvent):
                raise DataError("aliases (*name) are not read", where=file, fix="write them out")
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:  # the deeper, the longer every step takes
                raise DataError("the YAML is nested too deeply", where=file, fix=REPAIR)
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        what = f"not valid YAML ({type(error).__name__}: {error})"
        raise DataError(what, where=file, fix=REPAIR) from None


def holds_files(folder: Path) -> bool:
    """Whether there is something in a folder, but for hidden files, such as a stop may leave."""
    return folder.exists() and any(not file.name.startswith(".") for file in folder.iterdir())


def _part_of(path: Path) -> Path:
    """Where this process writes ``path`` until it is whole; the ending stays."""
    return path.with_name(f".part-{os.getpid()}-{path.name}")


def remove_parts(folder: Path, name: str = "*") -> None:
    """Remove what processes that died have left of ``name`` (a glob), for who has its lock."""
    for part in folder.glob(f".part-*-{name}"):
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)


def _to_disk(file: Path) -> None:
    with open(file, "r+b") as written:
        os.fsync(written.fileno())


@contextmanager
def whole_file(path: Path, *, private: bool = False) -> Iterator[Path]:
    """A file to write that becomes ``path`` when all is done, and goes when it fails.

    A reader, a crash or a power cut leaves the old file or the new one, nothing between.
    ``private``: for nobody but its owner to read.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = _part_of(path)
    try:
        if private:
            os.close(os.open(part, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600))
        yield part
        _to_disk(part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_atomically(path: Path, text: str) -> None:
    """Write a text file (``whole_file``)."""
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8")


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A folder to fill that becomes ``folder``, which must be empty, when all is done, or goes."""
    folder = Path(folder)
    with locked(folder, beside=True):
        if folder.exists() and any(folder.iterdir()):
            fix = "choose a new one; nothing was overwritten"
            raise ConfigError("the output folder is not empty", where=folder, fix=fix)
        part = _part_of(folder)
        try:
            part.mkdir()
            yield part
            for file in part.rglob("*"):
                if file.is_file():
                    _to_disk(file)
            if folder.exists():
                folder.rmdir()
            os.replace(part, folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)


@contextmanager
def locked(
    path: Path, *, beside: bool = False, wait: Callable[[str], None] | None = None
) -> Iterator[None]:
    """No other process writes ``path`` during the block; what one that died has left of it goes.

    The lock is the file .lock in the folder ``path``, which is made; ``beside``: a hidden file
    beside what ``path`` will be. It names its holder. The system frees it when the holder ends,
    however that ends. Where another has it ``wait`` gets a line, and the block begins later.
    Raises ConfigError where ``wait`` is None instead, and where nothing can be written: this is
    known before the work.
    """
    file = path.with_name(f".{path.name}.lock") if beside else path / ".lock"
    new = not path.exists()
    try:
        str(path).encode()
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = _lock(file)
        if lock is None and wait is not None:
            wait(f"{path}: waiting until {_holder(file)} is done")
        while lock is None and wait is not None:
            time.sleep(POLL_S)
            lock = _lock(file)
    except UnicodeEncodeError:
        fix = "choose a name in UTF-8"
        raise ConfigError("the name is not UTF-8", where=ascii(str(path)), fix=fix) from None
    except OSError as error:
        what = f"nothing can be written here ({error.strerror or error})"
        fix = "check the path, its permissions and the free space, or choose another"
        raise ConfigError(what, where=path, fix=fix) from None
    if lock is None:
        fix = "wait until it is done, or choose another folder"
        raise ConfigError(f"{_holder(file)} works on it", where=path, fix=fix)
    try:
        remove_parts(file.parent, glob.escape(path.name) if beside else "*")
        yield
    finally:
        if os.name == "posix":  # Windows keeps a file that is open
            file.unlink(missing_ok=True)
        os.close(lock)
        if new and not beside:
            with suppress(OSError):  # unless it is empty still
                path.rmdir()


def _lock(file: Path) -> int | None:
    """The locked ``file``, open and with the name of this process; None if another has it."""
    while True:
        lock = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if not _alone(lock):
                os.close(lock)
                return None
            if os.fstat(lock).st_nlink:
                os.ftruncate(lock, 0)
                started = time.strftime("%Y-%m-%d %H:%M:%S")
                os.write(lock, f"process {os.getpid()} on {platform.node()} ({started})".encode())
                return lock
        except OSError:
            file.unlink(missing_ok=True)
            os.close(lock)
            raise
        os.close(lock)  # its last holder has removed this file meanwhile


def _alone(lock: int) -> bool:
    """Take the system's lock on an open file; True too where a file system has none."""
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(lock, 4096, os.SEEK_SET)  # behind the text, which stays readable
            msvcrt.locking(lock, msvcrt.LK_NBLCK, 1)
            os.lseek(lock, 0, os.SEEK_SET)
        else:
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return True
    return True


def _holder(file: Path) -> str:
    """What a lock says of its holder."""
    try:
        text = file.read_text(encoding="utf-8", errors="replace")[:200]
    except OSError:
        text = ""
    return text if text and text.isprintable() else "another process"
