"""One input at a time through the command line, under guard: did it end as promised?

A trial ends as promised when every command succeeds or refuses in one harmless line, within
``CPU_S`` seconds of CPU and ``MEMORY`` bytes more than before, and leaves nothing hidden behind.
All trials of a campaign share one process, and after one that broke a new process goes on.
"""

import contextlib
import io
import json
import os
import random
import resource
import select
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ssltut.errors import SsltutError

CPU_S = 5.0
MEMORY = 1 << 30
WALL_S = 120.0  # a command that waits so long without computing hangs
UNMADE = 3  # exit code of a child whose input could not be made
LINE = 2_000  # letters of a message
Call = Sequence[str] | Callable[[], object]
# Writes one input into a folder: says what it is, and the commands to run on it.
Make = Callable[[Path, random.Random], tuple[str, list[Call]]]


@dataclass(frozen=True)
class Campaign:
    """``make`` is called with a folder and a random generator of its own for every trial."""

    name: str
    make: Make
    long: int
    short: int = 12


@dataclass
class Outcome:
    """What was tried how often, and what broke a promise, by number of the trial."""

    name: str
    tried: int = 0
    broken: dict[int, str] = field(default_factory=dict)

    @property
    def kept(self) -> int:
        return self.tried - len(self.broken)


class TooLong(BaseException):
    """The time is up. No handler of errors may take it for an error."""


def run(campaign: Campaign, n: int, seed: int = 0, keep: Path | None = None) -> Outcome:
    """``n`` trials; what breaks a promise is copied to ``keep``/NAME-NUMBER."""
    outcome = Outcome(campaign.name)
    while outcome.tried < n:
        for number, problem in _in_child(campaign, outcome.tried, n, seed, keep):
            outcome.tried = number + 1
            if problem:
                outcome.broken[number] = problem
    return outcome


def _in_child(
    campaign: Campaign, start: int, n: int, seed: int, keep: Path | None
) -> Iterator[tuple[int, str]]:
    """Trials from ``start`` until one breaks a promise; each as its number and what broke."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        code = UNMADE
        try:
            _trials(campaign, start, n, seed, keep, writing)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(writing)
    number, text = start, b""
    try:
        while True:
            ready, _, _ = select.select([reading], [], [], 3 * WALL_S)
            data = os.read(reading, 1 << 16) if ready else b""
            if not data:
                break
            text += data
            while b"\n" in text:
                line, _, text = text.partition(b"\n")
                number, problem = json.loads(line)
                yield number, problem
                number += 1
    finally:
        os.close(reading)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
    if os.waitstatus_to_exitcode(status) == UNMADE:
        raise RuntimeError(f"{campaign.name}: input {number} could not be made, see above")
    if number < n and status != 0:
        yield number, f"the process ended with status {status}, or hung"


def _trials(
    campaign: Campaign, start: int, n: int, seed: int, keep: Path | None, writing: int
) -> None:
    """The child's work: a line for each trial; it stops after one that broke a promise."""
    for number in range(start, n):
        rng = random.Random(f"{campaign.name} {seed} {number}")
        with tempfile.TemporaryDirectory(prefix="campaign-") as name:
            problem = attempt(campaign.make, Path(name), rng)
            if problem and keep:
                target = keep / f"{campaign.name.replace(' ', '-')}-{number}"
                shutil.rmtree(target, ignore_errors=True)
                with contextlib.suppress(shutil.Error):  # a FIFO cannot be copied
                    shutil.copytree(name, target, symlinks=True)
        os.write(writing, json.dumps([number, problem]).encode() + b"\n")
        if problem:
            return


def attempt(make: Make, folder: Path, rng: random.Random) -> str:
    """One trial in ``folder``; "" or what broke a promise."""
    made = folder / "in"
    made.mkdir()
    what, calls = make(made, rng)
    for call in calls:
        problem = guarded(call)
        if problem:
            words = call.__name__ if callable(call) else " ".join(map(str, call))
            return f"{what}: {words}: {problem}"
    hidden = [path.name for path in folder.rglob(".*")]
    return f"{what}: {hidden} stays behind" if hidden else ""


def guarded(call: Call) -> str:
    """Run it; "" when it ended as promised, else how it ended."""
    before, cpu = _forget_peak(), _cpu()
    err = io.StringIO()
    old = {s: signal.signal(s, _time_is_up) for s in (signal.SIGALRM, signal.SIGPROF)}
    signal.setitimer(signal.ITIMER_REAL, WALL_S)
    signal.setitimer(signal.ITIMER_PROF, 2 * CPU_S)
    problem = ""
    try:
        problem = _ended(call, err)
    except TooLong:
        problem = f"not done after {_cpu() - cpu:.1f} s of CPU, or {WALL_S:.0f} s: {_where()}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        for number, handler in old.items():
            signal.signal(number, handler)
    if not problem and (seconds := _cpu() - cpu) > CPU_S:
        problem = f"{seconds:.1f} s of CPU"
    if not problem and (grown := _peak() - before) > MEMORY:
        problem = f"{grown / 2**20:.0f} MiB"
    lines = err.getvalue().splitlines()
    if not problem and any(len(line) > LINE or not line.isprintable() for line in lines):
        problem = f"a message no terminal should get: {max(lines, key=len)[:200]!r}"
    return problem


def _ended(call: Call, err: io.StringIO) -> str:
    from ssltut.cli.main import main

    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err):
            if callable(call):
                call()
            else:
                main([str(word) for word in call])
    except SsltutError as error:
        print(error, file=err)
    except SystemExit as stop:
        return "" if stop.code in (0, 1, 2) else f"exit code {stop.code}"
    except TooLong:
        raise
    except BaseException as error:
        return f"{type(error).__name__}: {str(error)[:200]} {_where()}"
    return ""


def _where() -> str:
    """The lines of the package in the traceback of the error being handled, the last three."""
    frames = traceback.extract_tb(sys.exc_info()[2])
    own = [f for f in frames if "/ssltut/" in f.filename] or frames
    names = (f"{f.filename.rpartition('/ssltut/')[2]}:{f.lineno}" for f in own[-3:])
    return f"({' > '.join(names)})"


def _time_is_up(number: int, frame: object) -> None:
    raise TooLong


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _forget_peak() -> int:
    """Let the peak of memory begin anew, where the system can; the memory used now."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> int:
    """Peak of the memory of this process, in bytes; 0 where the system does not say."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return 1024 * int(line.split()[1])


def prepare_intake() -> None:
    """Load what ingest needs, once for all processes, and let its reports have empty pictures.

    A picture takes half a second.
    """
    from types import SimpleNamespace

    import ssltut.intake.ingest
    import ssltut.io.verify  # noqa: F401
    from ssltut.intake import report

    def planes(*arrays: Any, **options: Any) -> Any:
        return SimpleNamespace(save=lambda path: path.touch())

    report.planes = planes
