"""Run the notebooks from start to end and make pages of them: ``python notebooks/tour.py``.

Papermill runs the solution copies one after the other, at the size of a class: what takes long to
train ships with the package and is loaded. ``--profile smoke`` is for tests: everything runs, and
no number means anything. ``build/tour`` then holds the executed
notebooks, a page of each that needs no network, ``results.csv`` with every number the notebooks
wrote into the folder ``out``, and ``index.html``.
"""

import argparse
import os
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import Self

import nbformat
import pages
import pandas as pd
import papermill
import psutil
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from papermill.exceptions import PapermillExecutionError

ROOT = Path(__file__).resolve().parents[1]
PARAMETERS = ("profile", "seed", "out")
TIMEOUT_S = {"smoke": 600, "class": 3600, "full": 48 * 3600}


class TourError(Exception):
    """A notebook that cannot be run, or whose run or page is not as promised; the message says
    where and what next.
    """


class Memory(threading.Thread):
    """Samples all child processes: ``peak_mib`` is their largest sum of resident memory, pages
    shared by two counted twice, and ``cpu_s`` the seconds of processors they have used.
    """

    def __init__(self, every_s: float = 0.2) -> None:
        super().__init__(daemon=True)
        self.every_s, self.peak_mib, self._done = every_s, 0.0, threading.Event()
        self._cpu_s: dict[int, float] = {}

    @property
    def cpu_s(self) -> float:
        return sum(self._cpu_s.values())

    def run(self) -> None:
        while not self._done.wait(self.every_s):
            children = psutil.Process().children(recursive=True)
            self.peak_mib = max(self.peak_mib, sum(map(_resident, children)) / 2**20)
            self._cpu_s |= {child.pid: _cpu_seconds(child) for child in children}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self.join()


def _resident(process: psutil.Process) -> int:
    try:
        return process.memory_info().rss
    except psutil.Error:  # it ended between being listed and being read
        return 0


def _cpu_seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0.0
    return times.user + times.system


def environment() -> None:
    """What every kernel inherits: all cores unless OMP_NUM_THREADS says otherwise, pictures instead
    of widgets, and the inline backend, without which no figure is kept.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count()))
    # Waiting threads that spin make a step many times slower where others work too.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ["SSLTUT_FRONTEND"] = "static"
    os.environ.pop("MPLBACKEND", None)


def run(
    notebook: Path,
    target: Path,
    *,
    profile: str,
    out: Path,
    cwd: Path,
    seed: int = 0,
    timeout_s: int | None = None,
) -> pages.Card:
    """Execute one notebook into ``target``. ``timeout_s`` is per cell; without it the profile
    decides.

    Raises TourError when a parameter is missing, a cell fails or runs too long, or the kernel dies.
    """
    if missing := sorted(set(PARAMETERS) - set(papermill.inspect_notebook(str(notebook)))):
        raise TourError(
            f"{notebook}: no parameter {', '.join(missing)}. Next: add it to the cell tagged"
            " parameters in its master"
        )
    for folder in (target.parent, out, cwd):
        folder.mkdir(parents=True, exist_ok=True)
    start, values = time.perf_counter(), {"profile": profile, "seed": seed, "out": str(out)}
    with Memory() as memory:
        try:
            papermill.execute_notebook(
                notebook,
                target,
                values,
                kernel_name="python3",
                cwd=cwd,
                progress_bar=False,
                execution_timeout=timeout_s or TIMEOUT_S[profile],
                extra_arguments=["--log-level=ERROR"],
            )
        except PapermillExecutionError as error:
            what = (
                f"cell In [{error.exec_count}] failed: {error.ename}:"
                f" {error.evalue}\n{_first_lines(error.source)}"
            )
            raise TourError(f"{notebook.name}: {what}\nPartial notebook: {target}") from None
        except CellTimeoutError as error:
            raise TourError(
                f"{notebook.name}: {str(error).splitlines()[0]}\nPartial notebook: {target}"
            ) from None
        except DeadKernelError:
            raise TourError(
                f"{notebook.name}: the kernel died at {memory.peak_mib:,.0f} MiB, perhaps for want"
                f" of memory\nPartial notebook: {target}"
            ) from None
    return pages.Card(target, time.perf_counter() - start, memory.peak_mib, memory.cpu_s)


def _first_lines(source: str, n: int = 3) -> str:
    return "\n".join(f"    {line}" for line in source.splitlines()[:n])


def collect(folder: Path, notebooks: list[Path]) -> pd.DataFrame:
    """All ``NN_*.csv`` of a folder in one table, values as written; the column ``notebook`` names
    the one with the same NN.
    """
    names = {notebook.stem[:2]: notebook.stem for notebook in notebooks}
    files = sorted(folder.glob("[0-9][0-9]_*.csv"))
    tables = [
        pd.read_csv(path, dtype=str, keep_default_na=False).assign(notebook=names[path.stem[:2]])
        for path in files
    ]
    if not tables:
        return pd.DataFrame()
    table = pd.concat(tables, ignore_index=True).fillna("")
    return table[["notebook", *table.columns.drop("notebook")]]


def tour(notebooks: list[Path], build: Path, *, profile: str) -> Path:
    """Run all notebooks, write every page and the results, and return the index page. Stops at the
    first TourError.
    """
    build, cards = build.resolve(), []
    for old in ("results", "work"):  # no number and no index may come from an earlier tour
        shutil.rmtree(build / old, ignore_errors=True)
    for old in ("results.csv", "index.html"):
        (build / old).unlink(missing_ok=True)
    environment()
    for n, notebook in enumerate(notebooks, 1):
        print(f"[{n}/{len(notebooks)}] {notebook.stem} ({profile}) ...", end=" ", flush=True)
        card = run(
            notebook,
            build / notebook.name,
            profile=profile,
            out=build / "results",
            cwd=build / "work",
        )
        _write(
            card.notebook.with_suffix(".html"),
            pages.notebook_page(nbformat.read(card.notebook, as_version=4)),
        )
        used = f"{card.seconds:.0f} s, {card.cpu_s:.0f} s of processor, {card.peak_mib:,.0f} MiB"
        print(used, flush=True)
        cards.append(card)
    results = collect(build / "results", notebooks)
    results.to_csv(build / "results.csv", index=False, lineterminator="\n")
    glossary = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    _write(build / "glossary.html", pages.glossary_page(glossary))
    _write(build / "index.html", pages.index_page(cards, results))
    return build / "index.html"


def _write(path: Path, text: str) -> None:
    if needs := pages.loads(text):
        raise TourError(
            f"{path.name}: would load {needs[0]} when opened. Next: show it as a picture in the"
            " static frontend"
        )
    path.write_text(text, encoding="utf-8", newline="\n")


def main(
    arguments: list[str] | None = None,
    solutions: Path = ROOT / "notebooks/solutions",
    build: Path = ROOT / "build/tour",
) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--profile", choices=TIMEOUT_S, default="class", help="how much to run (default: class)"
    )
    profile = parser.parse_args(arguments).profile
    try:
        if not (notebooks := sorted(solutions.glob("[0-9][0-9]_*.ipynb"))):
            raise TourError(f"{solutions}: no notebooks. Next: make notebooks")
        index = tour(notebooks, build, profile=profile)
    except TourError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    print(f"Done. Open {index} in a browser; the numbers are in {index.with_name('results.csv')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
