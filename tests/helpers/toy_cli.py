"""The command line called in this process."""

import contextlib
import io

from ssltut.cli.main import main

QUICK = ["--profile", "smoke", "--steps", "2", "--patch", "8", "--precision", "32-true"]


def ssltut(*words):
    """Exit code, stdout and the lines of stderr of one command."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main([str(word) for word in words])
        except SystemExit as stop:
            code = stop.code
    return code, out.getvalue(), err.getvalue().splitlines()
