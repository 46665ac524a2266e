"""How every command answers: text or JSON on stdout, progress and errors on stderr."""

import argparse
import json
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from ssltut.errors import Finding
from ssltut.progress import is_first_process
from ssltut.text import plain

Add = Callable[..., object]  # add_argument of a parser
Answer = tuple[Any, str, int]  # of a command, for a program and for a person, and its exit code


class Parser(argparse.ArgumentParser):
    """Says what is wrong with the arguments in one line, like every other error."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {plain(message)}. Next: {self.prog} --help\n")


def path_at(text: str) -> Path:
    """The path in an argument, with ~ for the home folder: scripts pass it on in quotes."""
    return Path(text).expanduser()


def picked(args: argparse.Namespace, *names: str) -> dict[str, Any]:
    """The named arguments."""
    return {name: getattr(args, name) for name in names}


def print_result(args: argparse.Namespace, values: Any, text: str) -> None:
    """Print ``text`` for a person, or with --json ``values`` for a program (NaN as null)."""
    if args.json:
        values = json.loads(json.dumps(values, default=str), parse_constant=lambda name: None)
        text = json.dumps(values, indent=1)
    if is_first_process():
        print("\n".join(map(plain, text.split("\n"))))


def log(line: str) -> None:
    """Progress, in one line, goes to stderr, so that stdout holds only the answer."""
    if is_first_process():
        print(plain(line), file=sys.stderr, flush=True)


@contextmanager
def short_warnings(command: str) -> Iterator[None]:
    """What is found in data is one line, as errors are; other warnings stay as Python has them."""
    as_python = warnings.formatwarning

    def line(message: Any, category: type[Warning], *where: Any, **options: Any) -> str:
        if issubclass(category, Finding):
            return f"ssltut {command}: warning: {message}\n"
        return as_python(message, category, *where, **options)

    warnings.formatwarning = line
    try:
        yield
    finally:
        warnings.formatwarning = as_python
