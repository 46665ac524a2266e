"""The command line called in this process."""

import contextlib
import io
from pathlib import Path

from ssltut.cli.main import main

METHOD = ["--method", "mean_teacher", "--option", "weight=0.5"]
QUICK = ["--profile", "smoke", "--steps", "2", "--patch", "8", "--precision", "32-true"]


def ssltut(*words: object) -> tuple[int, str, list[str]]:
    """Exit code, stdout and the lines of stderr of one command.

    Text may hold several words, as it is typed; a path is one word.
    """
    typed: list[str] = []
    for word in words:
        typed += word.split() if isinstance(word, str) else [str(word)]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(typed)
        except SystemExit as stop:
            code = stop.code
    return code, out.getvalue(), err.getvalue().splitlines()


def everything(folder: Path) -> dict[str, bytes]:
    """What every file below a folder holds, by its path in it."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
