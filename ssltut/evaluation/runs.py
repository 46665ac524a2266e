"""One run of a comparison: trained, scored on the test scans, and how its rows were made."""

import platform
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from ssltut.data.batch import Batch
from ssltut.data.case import Case
from ssltut.data.cohort import Cohort
from ssltut.data.components import largest_component
from ssltut.data.split import Split
from ssltut.errors import DataError, SsltutError
from ssltut.files import commit
from ssltut.methods.contract import Method, Nets, Terms
from ssltut.metrics import score_case
from ssltut.training import loop
from ssltut.training.callbacks import Callback
from ssltut.training.config import TrainConfig
from ssltut.training.run import Run


class Job(NamedTuple):
    """A run to be done."""

    method: Method
    config: TrainConfig
    split: Split
    folder: Path
    largest: bool  # score the largest component of every class alone
    known: dict[str, Any]  # what its rows say of it beside the scores
    loggers: Sequence[str] = ()


class RunProgress(Callback):
    """Shows the steps of one run, and its last validation, in a ``bar`` over runs."""

    def __init__(self, bar: Any, title: str, steps: int) -> None:
        self.bar, self.title, self.steps = bar, title, steps
        self.scores = ""

    def on_step(self, step: int, nets: Nets, batch: Batch, terms: Terms) -> None:
        text = f"{self.title}, step {step + 1}/{self.steps}{self.scores}"
        self.bar.set_postfix_str(text, refresh=False)
        self.bar.update(1 / self.steps)

    def on_validation(self, step: int, scores: Mapping[str, float]) -> None:
        self.scores = f", validation Dice {scores['dice']:.3f}, HD95 {scores['hd95']:.1f} mm"


def run_one(cohort: Cohort, job: Job, bar: Any = None) -> pd.DataFrame:
    """Train on the cohort and score on the test scans: the rows of one run.

    Whatever goes wrong, a GPU that is full as much as an SsltutError, becomes one row with status
    "failed" and its message. ``bar`` shows the steps.
    """
    started, drawn = time.monotonic(), replace(cohort, split=job.split)
    callbacks = [] if bar is None else [RunProgress(bar, job.method.title, job.config.steps)]
    # The caller reports.
    beside: dict[str, Any] = {"callbacks": callbacks, "loggers": job.loggers}
    quiet: dict[str, Any] = {"log": lambda line: None, "progress": False, "wait": True}
    try:
        run = loop.train(job.method, drawn, job.config, job.folder, **beside, **quiet)
        rows = score_run(run, drawn.test(), largest=job.largest).assign(
            selected_step=run.selected["step"], selection=run.selected["rule"], error=""
        )
    except Exception as error:  # a night of other runs must not end with this one
        rows = failure(error)
    return rows.assign(seconds=round(time.monotonic() - started, 1), **job.known, **provenance())


def score_run(run: Run, cases: Iterable[Case], *, largest: bool = False) -> pd.DataFrame:
    """One row per case, class and metric for a trained run on ``cases`` with labels.

    ``largest`` keeps the largest component of every class alone. Raises DataError when a case has
    no label.
    """
    rows = []
    for case in cases:
        if case.label is None:
            fix = "evaluate on labelled cases only"
            raise DataError("the case has no label to compare with", where=case.id, fix=fix)
        label = run.predict(case)
        if largest:
            batch = torch.from_numpy(label)[None]
            label = largest_component(batch, run.table.n_classes)[0].numpy()
        difficulty = case.meta.get("difficulty")
        of_case = {"case": case.id, "patient": case.patient, "difficulty": difficulty}
        for row in score_case(label, case.label, case.spacing, run.table.names):
            rows.append(of_case | row)
    return pd.DataFrame(rows)


def failure(error: Exception) -> pd.DataFrame:
    """The one row of a run that failed."""
    message = str(error) if isinstance(error, SsltutError) else f"{type(error).__name__}: {error}"
    row: dict[str, Any] = dict.fromkeys(("case", "patient", "class", "metric"), "")
    row |= {"value": np.nan, "status": "failed", "error": " ".join(message.split())}
    return pd.DataFrame([row])


def provenance() -> dict[str, str]:
    """Command, commit and machine: what a row needs to be made again."""
    return {
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "commit": commit() or "unknown",
        "machine": f"{platform.system()} {platform.machine()}, {hardware()}",
    }


def hardware() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name(0)
    return f"CPU, {torch.get_num_threads()} threads"
