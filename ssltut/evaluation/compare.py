"""Methods x label budgets x seeds on one cohort: a row per case, class and metric.

These rows are the CSV of record (their statistics: ssltut.evaluation.statistics). The test split is
opened here and nowhere else.
"""

import hashlib
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count, product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ssltut.data.cohort import Cohort
from ssltut.errors import ConfigError, SsltutError
from ssltut.evaluation.record import read_rows
from ssltut.evaluation.runs import Job, failure, provenance, run_one
from ssltut.files import holds_files, locked, remove_parts, write_atomically
from ssltut.methods.contract import Method, Supervision
from ssltut.methods.registry import make_method
from ssltut.parallel import RunJobs, n_workers, open_workers
from ssltut.progress import progress_bar
from ssltut.training.callbacks import logger_named
from ssltut.training.config import TrainConfig
from ssltut.training.loop import Log


def compare(
    cohort: Cohort,
    methods: Sequence[str],
    folder: Path,
    *,
    config: TrainConfig,
    budgets: Iterable[int] = (4,),
    seeds: Iterable[int] = (0, 1, 2),
    draw: bool = True,
    largest: bool = False,
    options: Mapping[str, dict[str, Any]] | None = None,
    workers: int | None = 0,
    dask: str | None = None,
    loggers: Sequence[str] = (),
    log: Log = print,
    progress: bool = True,
) -> pd.DataFrame:
    """Train and score every method with every budget and seed: all rows of folder/results.csv.

    Finished runs are found in ``folder`` and not done again. A run that fails becomes a row with
    status "failed" and its message, and is tried again by the next call.

    seeds     draw which cases are labelled (the same for all methods), weights, patches and views
    draw      False: the first cases of the split are labelled, as in the published protocols
    largest   score the largest component of every class alone; the rows say so in "kept"
    options   of the methods, by name
    workers   processes that share the runs; 0: this one alone, None: as many as suit the machine.
              With as many threads to each the values are the same bit for bit; a worker that dies
              costs what it did since its checkpoint
    dask      address of a cluster instead (ssltut.parallel)
    loggers   get the history of every run, by name (ssltut.training.loop.train)
    log       gets a line for every method, budget and seed
    progress  draw a bar over the runs where somebody watches (ssltut.progress)
    Raises ConfigError for unknown methods or loggers, too large a budget, no such cluster, or a
    folder that holds something else, before anything is trained.
    """
    made = {name: make_method(name, (options or {}).get(name)) for name in methods}
    for name in loggers:
        logger_named(name)
    cells = [Cell(*c) for c in product(dict.fromkeys(budgets), dict.fromkeys(seeds), made)]
    folder = Path(folder).absolute()
    with locked(folder):
        remove_parts(folder / "rows")
        sweep = planned(cohort, made, cells, folder, config, draw, largest, loggers)
        processes = n_workers(workers, len(sweep.jobs), cluster=bool(dask))
        here = not processes and not dask
        with open_workers(processes, dask if sweep.jobs else None, log) as run_jobs:
            # A comparison stopped in its first run is still one.
            (folder / "rows").mkdir(parents=True, exist_ok=True)
            sweep.finish(cohort, run_jobs, log, in_process=here, show=progress)
        rows = pd.concat(map(read_rows, sweep.files.values()), ignore_index=True)
        write_atomically(folder / "results.csv", rows.to_csv(index=False))
    return rows


class Cell(NamedTuple):
    """What a comparison has one result for."""

    budget: int
    seed: int
    method: str


@dataclass
class Sweep:
    """The cells of a comparison and what is still to be done for them."""

    files: dict[Cell, Path]  # of the rows of every cell
    titles: dict[str, str]  # of the methods
    jobs: dict[str, Job] = field(default_factory=dict)  # the runs that are not done, by tag
    # The cells that need each of them; the upper bound is one run for all budgets.
    waiting: dict[str, list[Cell]] = field(default_factory=dict)

    def finish(
        self, cohort: Cohort, run_jobs: RunJobs, log: Log, *, in_process: bool, show: bool
    ) -> None:
        """Report what is done; do the rest, keep its rows and report them."""
        number, here, started = count(1), provenance(), time.monotonic()
        tags, jobs = list(self.jobs), list(self.jobs.values())

        def report(cell: Cell, left: str = "") -> None:
            title = f"{self.titles[cell.method]}, {cell.budget} labelled, seed {cell.seed}"
            result = headline(read_rows(self.files[cell]))
            log(f"[{next(number)}/{len(self.files)}] {title}: {result}{left}")

        unfinished = {cell for cells in self.waiting.values() for cell in cells}
        for cell in self.files:
            if cell not in unfinished:
                report(cell)
        with progress_bar(total=len(jobs), unit="run", show=show and bool(jobs)) as bar:
            bar.unit_scale = True  # a run is counted step by step
            task = partial(run_one, bar=bar) if in_process else run_one
            each = run_jobs(task, cohort, [(job,) for job in jobs])
            for done, (i, rows) in enumerate(each, start=1):
                if isinstance(rows, SsltutError):  # its workers died
                    rows = failure(rows).assign(seconds=np.nan, **jobs[i].known, **here)
                bar.update(done - bar.n)
                bar.clear()
                left = (time.monotonic() - started) / done * (len(jobs) - done)
                for cell in self.waiting[tags[i]]:
                    own = rows.assign(budget=cell.budget, command=here["command"])
                    write_atomically(self.files[cell], own.to_csv(index=False))
                    report(cell, f"; about {duration(left)} left")


def planned(
    cohort: Cohort,
    methods: Mapping[str, Method],
    cells: Sequence[Cell],
    folder: Path,
    config: TrainConfig,
    draw: bool,
    largest: bool,
    loggers: Sequence[str],
) -> Sweep:
    """What ``compare`` has to do. Raises ConfigError as it says, before anything is done."""
    for budget in {cell.budget for cell in cells}:
        cohort.with_budget(budget)
    if holds_files(folder) and not (folder / "rows").is_dir():
        fix = "choose a new folder; nothing was overwritten"
        raise ConfigError("the folder holds files, but not a comparison", where=folder, fix=fix)
    sweep = Sweep({}, {name: method.title for name, method in methods.items()})
    for cell in cells:
        method, own = methods[cell.method], replace(config, seed=cell.seed)
        every = method.supervision is Supervision.ALL
        drawn = cohort.with_budget("all" if every else cell.budget, cell.seed if draw else None)
        identity = [method.identity, own.to_dict(), drawn.hash, drawn.split.hash]
        key = json.dumps(identity, sort_keys=True)
        tag = hashlib.sha256(key.encode()).hexdigest()[:12]
        kept = "-largest" if largest else ""
        name = f"{method.name}-{cell.budget}-{cell.seed}-{tag}{kept}.csv"
        file = sweep.files[cell] = folder / "rows" / name
        if is_done(file, drawn.split.test):
            continue
        known = {
            "cohort": cohort.name,
            "method": cell.method,
            "budget": cell.budget,
            "seed": cell.seed,
            "config": tag,
            "settings": json.dumps(own.to_dict()),
            "options": json.dumps(method.options),
            "kept": "largest piece" if largest else "all",
        }
        place = folder / "runs" / f"{method.name}-{cell.seed}-{tag}"
        sweep.jobs.setdefault(tag, Job(method, own, drawn.split, place, largest, known, loggers))
        sweep.waiting.setdefault(tag, []).append(cell)
    return sweep


def is_done(file: Path, cases: Iterable[str]) -> bool:
    """Whether a file of rows holds a run that did not fail; a damaged file holds none."""
    try:
        rows = read_rows(file)[["case", "status", "metric", "value"]]
        return set(rows["case"]) == set(cases) and not (rows["status"] == "failed").any()
    except (OSError, ValueError, KeyError):  # of pandas, for what is no table, too
        return False


def headline(rows: pd.DataFrame) -> str:
    """The result of a run in a few words."""
    if (rows["status"] == "failed").any():
        return f"failed: {rows['error'].iloc[0]}"
    mean = rows.groupby("metric")["value"].mean()
    return f"Dice {mean['dice']:.3f}, HD95 {mean['hd95']:.1f} mm"


def duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds > 90 else f"{seconds:.0f} s"
