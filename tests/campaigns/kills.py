"""Commands ended by SIGKILL at a random time: the same command must then give the same bytes."""

import contextlib
import importlib
import io
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from toy import toy_cohort
from toy_cli import QUICK, everything, ssltut
from toy_nifti import HU, LABEL, save
from trials import Outcome

from ssltut.io.cohort_folder import write_cohort

STEPS = ["--steps", "12", "--profile", "smoke", "--patch", "8", "--precision", "32-true"]
METHOD = ["--method", "mean_teacher"]
PATIENCE_S = 300.0
COMMANDS = ("train", "compare", "ingest", "predict", "phantom")
LONG = 30  # kills of each


@dataclass(frozen=True)
class Victim:
    """A command without its output folder, and the name of the option or argument for that."""

    name: str
    command: Sequence[str]


def victims(folder: Path, names: Sequence[str] = COMMANDS) -> dict[str, Victim]:
    """Some of the five commands on small inputs in ``folder``."""
    import ssltut.evaluation.compare
    import ssltut.intake.ingest
    import ssltut.synthetic.cohorts
    import ssltut.training.loop
    import ssltut.training.predict  # noqa: F401

    cohort, scans = folder / "cohort", folder / "scans"
    write_cohort(toy_cohort(), cohort)
    for i in range(5):
        for part, values in (("images", HU + i), ("labels", LABEL)):
            (scans / part).mkdir(parents=True, exist_ok=True)
            save(scans / part / f"p{i}.nii.gz", values.astype(values.dtype))
    if "predict" in names:
        code = _run(["train", str(cohort), *METHOD, *QUICK, "--out", str(folder / "run")], None)
        assert code == 0, "no run to predict with"
    sweep = ["--methods", "labels_only", "mean_teacher", "--budgets", "2", "--seeds", "0", "1"]
    commands = {
        "train": [str(cohort), *METHOD, *STEPS],
        "compare": [str(cohort), *sweep, "--workers", "0", *QUICK],
        "ingest": [str(scans), "--labels", "hip"],
        "predict": [str(folder / "run"), str(cohort / "images"), "--workers", "0"],
        "phantom": [
            "--n",
            "4",
            "--size",
            "24",
            "--labelled",
            "1",
            "--validation",
            "1",
            "--test",
            "1",
        ],
    }
    return {name: Victim(name, [name, *commands[name]]) for name in names}


def load_what_it_loads(words: list[str]) -> None:
    """Import what a command imports, so that each of its processes begins with it."""
    reading, writing = os.pipe()
    before = set(sys.modules)
    if (child := os.fork()) == 0:
        try:
            ssltut(*[Path(word) for word in words])
            os.write(writing, "\n".join(set(sys.modules) - before).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading) as names:
        for name in sorted(names.read().split("\n")):
            with contextlib.suppress(Exception):
                importlib.import_module(name)
    os.waitpid(child, 0)


def run(victim: Victim, n: int, folder: Path, seed: int = 0) -> Outcome:
    """``n`` kills of the command, each at a random time of its run, then the command again."""
    outcome, rng = Outcome(f"kill -9 {victim.name}"), random.Random(f"{victim.name} {seed}")
    whole, first = folder / "whole", folder / "first"
    shutil.rmtree(folder, ignore_errors=True)
    load_what_it_loads(_words(victim, folder / "loaded"))
    for out in (first, whole):  # the first fills the caches
        begun = time.monotonic()
        code = _again(victim, out)
        seconds = time.monotonic() - begun
        if code != 0:
            raise RuntimeError(f"{victim.name} does not run: exit code {code}")
    expected = _contents(whole)
    missed = 0
    while outcome.tried < n and missed < 20 * n:
        place = folder / f"kill{outcome.tried}"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        at = rng.random() * seconds
        ended = _run(_words(victim, place / "out"), at) is not None
        if ended or _contents(place / "out") == expected:  # it was done, or all but
            missed += 1
            seconds *= 0.9
            continue
        if problem := _goes_on(victim, place, expected):
            outcome.broken[outcome.tried] = f"killed after {at:.2f} s: {problem}"
        else:
            shutil.rmtree(place)
        outcome.tried += 1
    return outcome


def _goes_on(victim: Victim, place: Path, expected: dict[str, bytes]) -> str:
    """The same command after a kill: "" when the bytes are those of an undisturbed run."""
    code = _again(victim, place / "out", place.with_suffix(".err"))
    if code != 0:
        said = place.with_suffix(".err").read_text()
        return f"the same command ends with exit code {code}: {said}"
    found = _contents(place / "out")
    if different := sorted(
        name for name in expected | found if found.get(name) != expected.get(name)
    ):
        return f"other bytes in {', '.join(different[:4])}"
    left = sorted(path.name for path in place.rglob("*") if path.name.startswith("."))
    return f"left behind: {', '.join(left[:4])}" if left else ""


def _words(victim: Victim, out: Path) -> list[str]:
    return [*victim.command, "--out", str(out)]


def _again(victim: Victim, out: Path, said: Path | None = None) -> int | None:
    return _run(_words(victim, out), PATIENCE_S, said)


def _run(words: list[str], seconds: float | None, said: Path | None = None) -> int | None:
    """The exit code of a command in a process of its own; None where it was killed in time.

    ``said`` is a file for the last line of its stderr.
    """
    child = os.fork()
    if child == 0:
        code = 99
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                code, _, err = ssltut(*[Path(word) for word in words])
            if said is not None:
                said.write_text("".join(err[-1:]))
        finally:
            os._exit(code)
    end = None if seconds is None else time.monotonic() + seconds
    while end is None or time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def _contents(folder: Path) -> dict[str, bytes]:
    """What the files hold, without the seconds that the rows of a comparison took."""
    import pandas as pd

    found = everything(folder)
    for name, data in found.items():
        if name.endswith(".csv"):
            rows = pd.read_csv(io.BytesIO(data), dtype=str)
            rows = rows.drop(columns=["seconds", "command"], errors="ignore")
            found[name] = rows.to_csv(index=False).encode()
    return found
