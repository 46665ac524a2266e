"""Trained runs that come with the package: data_scripts/ship_weights.py makes them."""

import json
from pathlib import Path
from typing import Any

from ssltut.data.cohort import Cohort
from ssltut.errors import CheckpointError, ConfigError
from ssltut.methods.contract import Method
from ssltut.training.config import TrainConfig
from ssltut.training.loop import cached_run
from ssltut.training.run import Run, load_run, run_identity

WEIGHTS = Path(__file__).resolve().parents[1] / "weights"


def shipped(name: str) -> Run:
    """A run of profile class, seed 0: "teacher_class" is that of notebook 02.

    "checkpoint_class" is its training at 4/5 of the steps; "student_without" and "student_with" go
    on from there, without and with the match. Raises ConfigError for another name, CheckpointError
    where the package lacks its weights.
    """
    names = sorted(file.parent.name for file in WEIGHTS.glob("*/run.json"))
    if not names:
        fix = "install the package again, or train with retrain = True"
        raise CheckpointError("this copy of ssltut has no weights", where=WEIGHTS, fix=fix)
    if name not in names:
        raise ConfigError(f"no weights {name!r} are shipped", fix=f"use one of {', '.join(names)}")
    return load_run(WEIGHTS / name, unfinished=True)


def trained_run(
    method: Method, cohort: Cohort, config: TrainConfig, *, retrain: bool = False, **options: Any
) -> Run:
    """The shipped run of this method, cohort and configuration, else that of ``cached_run``.

    For notebooks: ``trained_run(make_method("labels_only"), scans, config, retrain=retrain)`` gives
    the teacher, and with ``init=shipped("checkpoint_class").folder`` a student. It says what it
    loads; with ``retrain`` it loads nothing that ships. ``options`` are those of ``train``.
    """
    wanted = run_identity(method, config, cohort, options.get("init"))["hash"]
    for file in [] if retrain else sorted(WEIGHTS.glob("*/run.json")):
        if json.loads(file.read_text(encoding="utf-8"))["trained as"] == wanted:
            print(f"loaded {file.parent.name}, which ships with ssltut; retrain = True trains it")
            return load_run(file.parent)
    return cached_run(method, cohort, config, **options)
