"""The command line: one clear line and exit code 2 for bad input, nothing overwritten."""

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import Any

from ssltut.cli import data, training
from ssltut.cli.doctor import facts, version
from ssltut.cli.output import Add, Answer, Parser, log, path_at, print_result, short_warnings
from ssltut.errors import SsltutError
from ssltut.interrupts import Terminated, sigterm_interrupts

METHODS_FILE = Path(__file__).parents[1] / "methods" / "methods.json"


def methods(args: argparse.Namespace) -> Answer:
    """List the methods."""
    # What the registry says, written down: asking takes seconds (tests/methods/test_registry.py).
    text = METHODS_FILE.read_text(encoding="utf-8")
    table, fidelities = (json.loads(text)[key] for key in ("methods", "fidelity"))
    row = "{name:20} {title:38} {year}  {fidelity:15} {paper}"
    lines = [row.format(**method) for method in table]
    lines += ["", *(f"{word}: {meaning}" for word, meaning in fidelities.items())]
    return table, "\n".join(lines), 0


def doctor(args: argparse.Namespace) -> Answer:
    """Show versions, hardware, and the chosen precision and frontend."""
    values = facts()
    return values, "\n".join(f"{name:14} {value}" for name, value in values.items()), 0


def notebooks(args: argparse.Namespace) -> Answer:
    """Copy the notebooks into a folder; what was written there stays as it is."""
    from ssltut.copies import copy_notebooks

    said = copy_notebooks(args.folder, solutions=args.solutions)
    start = f"Next: jupyter lab --notebook-dir={quote(str(args.folder))}"
    return said, "\n".join([*(said or ["nothing is new"]), start]), 0


def notebooks_arguments(add: Add) -> None:
    add("folder", type=path_at, help="folder of your copies; made where there is none")
    add("--solutions", action="store_true", help="the solved notebooks too, in solutions/")


# What runs, and what adds its arguments to a parser. The docstring is the help.
COMMANDS = {
    "synthetic": (data.synthetic, data.synthetic_arguments),
    "verify": (data.verify, data.verify_arguments),
    "ingest": (data.ingest, data.ingest_arguments),
    "fetch": (data.fetch, data.fetch_arguments),
    "export": (data.export, data.export_arguments),
    "train": (training.train, training.train_arguments),
    "recipe": (training.recipe, training.recipe_arguments),
    "predict": (training.predict, training.predict_arguments),
    "evaluate": (training.evaluate, training.evaluate_arguments),
    "compare": (training.compare, training.compare_arguments),
    "notebooks": (notebooks, notebooks_arguments),
    "methods": (methods, lambda add: None),
    "doctor": (doctor, lambda add: None),
}
GO_ON = {"fetch", "train", "recipe", "predict", "compare"}  # after a stop, with what is done
RENAMED = {"phantom": "synthetic"}  # old words, which work for one release more


class Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *rest: Any) -> None:
        print(f"ssltut {version()}")
        parser.exit()


def build_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="ssltut", description="Learn and use semi-supervised 3D segmentation.")
    parser.add_argument("--version", action=Version, nargs=0, help="version and commit")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (run, add_arguments) in COMMANDS.items():
        words, aliases = run.__doc__, [old for old, new in RENAMED.items() if new == name]
        sub = commands.add_parser(name, aliases=aliases, help=words, description=words)
        sub.add_argument("--json", action="store_true", help="answer in JSON")
        sub.set_defaults(run_command=run)
        add_arguments(sub.add_argument)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    if new := RENAMED.get(args.command):
        log(f"note: ssltut {args.command} is now ssltut {new}; the old word goes with 0.3")
    try:
        with sigterm_interrupts(), short_warnings(args.command):
            values, text, code = args.run_command(args)
            if code < 2:  # else there is nothing to answer
                print_result(args, values, text)
            return code
    except KeyboardInterrupt as stop:
        goes_on = ", it goes on from there" if args.command in GO_ON else ""
        said = str(stop) or "stopped"
        log(f"ssltut {args.command}: {said}. Next: give the same command again{goes_on}")
        return 128 + (signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT)
    except SsltutError as error:
        log(f"ssltut {args.command}: {error}")
    except MemoryError as error:
        fix = "Next: use smaller or fewer scans, larger voxels or smaller patches"
        log(f"ssltut {args.command}: the memory did not do ({error}). {fix}")
    except OSError as error:
        what = f"{error.filename}: {error.strerror}" if error.filename else error.strerror or error
        fix = "Next: check the path, its permissions and the free space"
        log(f"ssltut {args.command}: {what}. {fix}")
    return 2


if __name__ == "__main__":
    sys.exit(main())
