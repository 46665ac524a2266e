"""Make the trained runs that ship with the package: ``python data_scripts/ship_weights.py``.

All of profile class with seed 0, from synthetic hips: the teacher of notebook 02; a checkpoint of
its training at 4/5 of the steps; and two students that go on from there to the end, without and
with the match. ssltut/weights/ gets their weights as 16-bit numbers, and results/shipped.csv their
Dice and HD95 on the test scans, as trained and as shipped. Four minutes of training on an idle
core; what is trained already is found in the cache.
"""

import argparse
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from ssltut.data.cohort import Cohort
from ssltut.evaluation.record import RECORDS
from ssltut.evaluation.runs import provenance, score_run
from ssltut.files import cache_dir, digest_of, write_atomically
from ssltut.methods.contract import Method
from ssltut.methods.registry import make_method
from ssltut.synthetic.cohorts import synthetic_cohort
from ssltut.training.checkpoint import load_checkpoint, save_checkpoint
from ssltut.training.config import TrainConfig, profile_named
from ssltut.training.loop import cached_run
from ssltut.training.run import load_run, read_identity
from ssltut.training.shipped import WEIGHTS
from ssltut.training.steps import open_run

SHARE = 4 / 5  # of the teacher's steps that the checkpoint has behind it
LABELS_ONLY = make_method("labels_only")
# The control sees the same patches as the student with the match, and learns from labels alone.
CONTROL = make_method("same_batch")
# The form that results/climax.py tries on regions: a vote of looks and place, and nothing else.
MATCH = make_method(
    "region_vote",
    {
        "by": "both",
        "floor": 0.25,
        "w_ua": 0.0,
        "w_ps": 10.0,
        "k": 20,
        "interior": 200,
        "memory": 2000,
    },
)


def teacher(cohort: Cohort, config: TrainConfig, weights: Path) -> Path:
    """The folder of the teacher of notebook 02."""
    return cached_run(LABELS_ONLY, cohort, config).folder


def checkpoint(cohort: Cohort, config: TrainConfig, weights: Path) -> Path:
    """The folder of the same training, stopped at SHARE of its steps."""
    folder = cache_dir() / "runs" / f"checkpoint-{cohort.hash}-{config.steps}-{config.seed}"
    training = open_run(LABELS_ONLY, cohort, config, folder)
    while training.done < round(SHARE * config.steps):
        training.step(training.draw(training.done))
        if training.done % config.validate_every == 0:
            training.validate()
            print(training.status(), flush=True)
    if training.best is None or training.best["step"] < training.done:
        training.validate()
    return folder


def rest(config: TrainConfig) -> TrainConfig:
    """The training that the checkpoint lacks: its steps, and the learning rate where it stood."""
    left = 1 - SHARE
    steps = round(left * config.steps)
    return replace(config, steps=steps, lr=config.lr * left**config.decay, validate_every=steps)


def student(method: Method, cohort: Cohort, config: TrainConfig, weights: Path) -> Path:
    """The folder of the run that goes on from the checkpoint with ``method``."""
    return cached_run(method, cohort, rest(config), init=weights / "checkpoint_class").folder


def half(tensor: Tensor) -> Tensor:
    """A tensor of 32-bit floats as 16-bit ones; counts stay what they are."""
    return tensor.half() if tensor.dtype is torch.float32 else tensor


def ship(folder: Path, name: str, weights: Path) -> None:
    """Write what predicts of the run in ``folder`` to ``weights``, as 16-bit numbers."""
    target = weights / name
    groups, best = load_checkpoint(folder / "best.safetensors")
    _, last = load_checkpoint(folder / "last.safetensors")
    predicts = f"net.{best['primary']}"
    halved = {key: half(tensor) for key, tensor in groups[predicts].items()}
    history = pd.DataFrame(last["history"])
    rounded = history.map(lambda value: float(f"{value:.5g}"))
    rows = [row.dropna().to_dict() for _, row in rounded.iterrows()]
    shutil.rmtree(target, ignore_errors=True)
    save_checkpoint(target / "best.safetensors", {predicts: halved}, best)
    save_checkpoint(target / "last.safetensors", {}, last | {"history": rows})
    identity = read_identity(folder)
    whole = identity.get("finished", False)
    known = {"trained as": identity["hash"] if whole else "", "steps done": last["step"]}
    known["left out"] = [group.removeprefix("net.") for group in groups if group != predicts]
    # What starts from 16-bit weights is another run than what starts from the whole ones.
    known["hash"] = digest_of(target / "best.safetensors")[:12]
    write_atomically(target / "run.json", json.dumps(identity | known, indent=1))


def scores(cohort: Cohort, folder: Path, name: str, stored: str) -> pd.DataFrame:
    """Dice and HD95 of a run on the test scans."""
    rows = score_run(load_run(folder, unfinished=True), cohort.test())
    rows = rows[rows["metric"].isin(["dice", "hd95"])]
    return rows.assign(name=name, stored=stored)


MAKERS: dict[str, Callable[[Cohort, TrainConfig, Path], Path]] = {
    "teacher_class": teacher,
    "checkpoint_class": checkpoint,
    "student_without": partial(student, CONTROL),
    "student_with": partial(student, MATCH),
}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--profile", default="class")
    parser.add_argument("--names", nargs="+", default=list(MAKERS), choices=list(MAKERS))
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--csv", type=Path, default=RECORDS / "shipped.csv")
    args = parser.parse_args(arguments)
    profile = profile_named(args.profile)
    cohort = synthetic_cohort(**profile.cohort)
    tables = [pd.read_csv(args.csv)] if args.csv.is_file() else []
    for name in args.names:
        folder = MAKERS[name](cohort, profile.teacher, args.weights)
        ship(folder, name, args.weights)
        tables = [table[table["name"] != name] for table in tables]
        for stored, place in {"float32": folder, "float16": args.weights / name}.items():
            tables.append(scores(cohort, place, name, stored).assign(**provenance()))
            mean = tables[-1].groupby(["metric", "class"])["value"].mean().round(4).to_dict()
            print(f"{name}, {stored}: {mean}", flush=True)
    write_atomically(args.csv, pd.concat(tables).round(5).to_csv(index=False))


if __name__ == "__main__":
    main()
