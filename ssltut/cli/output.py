"""How every command of the command line answers: text or JSON on stdout, progress and errors on
stderr.
"""

import argparse
import json
import sys
from collections.abc import Callable
from typing import NoReturn


def print_result(args: argparse.Namespace, values: object, text: str) -> None:
    """Print ``values`` as JSON where a program reads (NaN as null), ``text`` where a person
    does.
    """
    if args.json:
        text = json.dumps(
            json.loads(json.dumps(values, default=str), parse_constant=lambda name: None), indent=1
        )
    print(text)


class Parser(argparse.ArgumentParser):
    """Says what is wrong with the arguments in one line, like every other error."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}. Next: {self.prog} --help\n")


def log_of(args: argparse.Namespace) -> Callable[[str], None]:
    """Progress goes to stderr, so that stdout holds only the answer."""
    return lambda line: print(line, file=sys.stderr, flush=True)
