"""Methods x label budgets x seeds on one cohort, one row per case, class and metric: the CSV of
record (its statistics: ssltut.evaluation.statistics).

The test split is opened here and nowhere else.
"""

import hashlib
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ssltut.data.cohort import Cohort
from ssltut.data.components import largest_component
from ssltut.data.split import Split
from ssltut.errors import ConfigError, DataError, SsltutError
from ssltut.evaluation.record import read_rows
from ssltut.files import write_atomically
from ssltut.methods.contract import Method, Supervision
from ssltut.methods.registry import make_method
from ssltut.metrics import score_case
from ssltut.parallel import n_workers, open_workers
from ssltut.training.config import TrainConfig


def provenance() -> dict[str, str]:
    """Command, commit and machine: what a row needs to be made again."""
    try:
        commit = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
        commit = commit.stdout.strip() or "unknown"
    except (OSError, subprocess.TimeoutExpired):
        commit = "unknown"
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
    return {
        "command": command,
        "commit": commit,
        "machine": f"{platform.system()} {platform.machine()}, {hardware()}",
    }


def hardware() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name(0)
    return f"CPU, {torch.get_num_threads()} threads"


def score_run(run, cases, *, largest: bool = False) -> pd.DataFrame:
    """One row per case, class and metric for a trained run on ``cases`` with labels; ``largest``
    keeps the largest piece of every class alone.

    Raises DataError when a case has no label.
    """
    rows = []
    for case in cases:
        if case.label is None:
            raise DataError(
                "the case has no label to compare with",
                where=case.id,
                fix="evaluate on labelled cases only",
            )
        said = run.predict(case)
        said = (
            largest_component(torch.from_numpy(said)[None], run.table.n_classes)[0].numpy()
            if largest
            else said
        )
        scores = score_case(said, case.label, case.spacing, run.table.names)
        known = {
            "case": case.id,
            "patient": case.patient,
            "difficulty": case.meta.get("difficulty"),
        }
        rows += [known | row for row in scores]
    return pd.DataFrame(rows)


def run_one(
    cohort: Cohort,
    method: Method,
    config: TrainConfig,
    split: Split,
    folder: Path,
    largest: bool,
    known: dict[str, object],
) -> pd.DataFrame:
    """Train ``method`` on the cohort split like this, in ``folder``, and score it on the test
    scans: the rows of one run, ``known`` in each.

    Whatever goes wrong, a GPU that is full as much as an SsltutError, becomes one row with status
    "failed" and its message.
    """
    from ssltut.training.loop import train

    begun, drawn = time.monotonic(), replace(cohort, split=split)
    try:
        run = train(method, drawn, config, folder, log=lambda line: None, progress=False)
        rows = score_run(run, drawn.test(), largest=largest).assign(
            selected_step=run.selected["step"], selection=run.selected["rule"], error=""
        )
    except Exception as error:  # a night of other runs must not end with this one
        rows = failure(error)
    return rows.assign(seconds=round(time.monotonic() - begun, 1), **known, **provenance())


def failure(error: Exception) -> pd.DataFrame:
    found = str(error) if isinstance(error, SsltutError) else f"{type(error).__name__}: {error}"
    return pd.DataFrame(
        [
            dict.fromkeys(("case", "patient", "class", "metric"), "")
            | {
                "value": np.nan,
                "status": "failed",
                "error": " ".join(found.split()),
            }
        ]
    )


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
    options: dict[str, dict] | None = None,
    workers: int | None = 0,
    dask: str | None = None,
    log: Callable[[str], None] = print,
) -> pd.DataFrame:
    """Train and score every method with every budget and seed; returns all rows and writes them to
    ``folder``/results.csv.

    A seed draws which cases are labelled (the same for all methods), the weights, the patches and
    the views; with ``draw=False`` the first ones of the split are labelled for every seed, as in
    the published protocols. ``largest`` scores the largest piece of every class alone, as some
    published protocols do; the rows say so in "kept". Finished runs are found in ``folder`` and not
    done again; a run that fails becomes a row with status "failed" and its message, and is tried
    again by the next call. ``workers`` processes share the runs (0: this process alone, None: as
    many as suit the machine), or the cluster at the address ``dask``, see ssltut.parallel. With as
    many threads to each the values are the same bit for bit; a worker that dies costs what it did
    since its checkpoint. Raises ConfigError for unknown methods, too large a budget, no such
    cluster, or a folder that holds something else, before anything is trained.
    """
    folder, options, seeds, here = (
        Path(folder).absolute(),
        options or {},
        tuple(seeds),
        provenance(),
    )
    made = {name: make_method(name, options.get(name)) for name in methods}
    plan = [
        (budget, seed, name)
        for budget in dict.fromkeys(budgets)
        for seed in dict.fromkeys(seeds)
        for name in made
    ]
    for budget in {budget for budget, _, _ in plan}:
        cohort.with_budget(budget)
    if folder.exists() and any(folder.iterdir()) and not (folder / "rows").is_dir():
        raise ConfigError(
            "the folder is not empty and holds no comparison",
            where=folder,
            fix="choose a new folder; nothing was overwritten",
        )
    records, runs = {}, {}
    for budget, seed, name in plan:
        method, run_config = made[name], replace(config, seed=seed)
        drawn = cohort.with_budget(
            "all" if method.supervision is Supervision.ALL else budget, seed if draw else None
        )
        key = json.dumps(
            [name, method.identity["options"], run_config.to_dict(), drawn.hash, drawn.split.hash],
            sort_keys=True,
        )
        tag = hashlib.sha256(key.encode()).hexdigest()[:12]
        record = records[budget, seed, name] = (
            folder / "rows" / f"{name}-{budget}-{seed}-{tag}{'-largest' if largest else ''}.csv"
        )
        if not record.exists() or (read_rows(record)["status"] == "failed").any():
            known = {
                "cohort": cohort.name,
                "method": name,
                "budget": budget,
                "seed": seed,
                "config": tag,
                "settings": json.dumps(run_config.to_dict()),
                "options": json.dumps(method.options),
                "kept": "largest piece" if largest else "all",
            }
            job = (
                method,
                run_config,
                drawn.split,
                folder / "runs" / f"{name}-{seed}-{tag}",
                largest,
                known,
            )
            runs.setdefault(tag, (job, []))[1].append(
                (budget, seed, name)
            )  # the upper bound is one run for all budgets
    told = 0

    def tell(run: tuple[int, int, str], left: str = "") -> None:
        nonlocal told
        told += 1
        log(
            f"[{told}/{len(plan)}] {made[run[2]].title}, {run[0]} labelled, seed {run[1]}:"
            f" {headline(read_rows(records[run]))}{left}"
        )

    jobs, serves = [job for job, _ in runs.values()], [keys for _, keys in runs.values()]
    processes = n_workers(workers, len(jobs), cluster=bool(dask))
    with open_workers(processes, dask if jobs else None, log) as run_jobs:
        (folder / "rows").mkdir(
            parents=True, exist_ok=True
        )  # a comparison stopped in its first run is still one
        for run in (run for run in plan if not any(run in keys for keys in serves)):
            tell(run)
        started = time.monotonic()
        for done, (i, rows) in enumerate(run_jobs(run_one, cohort, jobs), start=1):
            if isinstance(rows, SsltutError):
                rows = failure(rows).assign(seconds=np.nan, **jobs[i][-1], **here)
            left = (time.monotonic() - started) / done * (len(jobs) - done)
            for run in serves[i]:
                write_atomically(
                    records[run],
                    rows.assign(budget=run[0], command=here["command"]).to_csv(index=False),
                )
                tell(
                    run,
                    (
                        f"; about {left / 60:.0f} min left"
                        if left > 90
                        else f"; about {left:.0f} s left"
                    ),
                )
    rows = pd.concat([read_rows(record) for record in records.values()], ignore_index=True)
    write_atomically(folder / "results.csv", rows.to_csv(index=False))
    return rows


def headline(rows: pd.DataFrame) -> str:
    if (rows["status"] == "failed").any():
        return f"failed: {rows['error'].iloc[0]}"
    mean = rows.groupby("metric")["value"].mean()
    return f"Dice {mean['dice']:.3f}, HD95 {mean['hd95']:.1f} mm"
