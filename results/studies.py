"""The studies that docs/results.md rests on: ``python results/studies.py NAME``.

A study is a task, its draws and its arms. A draw is everything that a laboratory would have once:
its training scans, and which of them are labelled. The draws of a study share no training scan and
all are judged on the same test scans, so that the draw is the unit of the statistics
(ssltut.evaluation.draws). Every draw trains every arm before the next one begins, in one thread.

Stopped, a study goes on where it was. ``--draws`` and ``--arms`` do a part; two parts with other
draws can run at the same time. Each call writes all that is done so far to results/NAME.csv and
NAME_runs.csv. ``--trial`` runs everything once at toy size and writes only to the cache folder.
"""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from record import write_record

from ssltut.data.cohort import Cohort
from ssltut.data.split import Split
from ssltut.evaluation.compare import compare
from ssltut.evaluation.record import read_rows
from ssltut.files import cache_dir
from ssltut.synthetic.cohorts import synthetic_cohort
from ssltut.training.config import TrainConfig, profile_named

LABELLED, UNLABELLED, VALIDATION = 4, 14, 2
OF_A_DRAW = LABELLED + UNLABELLED + VALIDATION


@dataclass(frozen=True)
class Arm:
    """A method with its options, and what it changes of the study's settings (the bounds alone)."""

    method: str
    options: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Study:
    """A task with its draws and arms.

    cohort    the cohort of a draw: its training, validation and test scans
    draws     how many
    arms      by the name that the results have in the column ``method``
    """

    cohort: Callable[[int], Cohort]
    draws: int
    arms: Mapping[str, Arm]
    config: TrainConfig
    budgets: tuple[int, ...] = (LABELLED,)

    def run(self, folder: Path, draw: int, arm: str) -> None:
        """Train and score one arm of one draw, or find it in ``folder``."""
        chosen = self.arms[arm]
        compare(
            self.cohort(draw),
            [chosen.method],
            folder / arm,
            config=replace(self.config, **chosen.config),
            budgets=self.budgets,
            seeds=[draw],
            draw=False,
            options={chosen.method: dict(chosen.options)},
        )

    def rows(self, folder: Path) -> pd.DataFrame:
        """All that is done so far."""
        parts = [
            read_rows(file).assign(method=arm)
            for arm in self.arms
            for file in sorted((folder / arm / "rows").glob("*.csv"))
        ]
        return pd.concat(parts, ignore_index=True)


def hips(draw: int, *, seed: int, test: int, draws: int, bone: bool, size: int = 48) -> Cohort:
    """Synthetic hips: the first ``test`` scans of a seed for the test, then 20 for each draw."""
    scans = synthetic_cohort(test + draws * OF_A_DRAW, seed=seed, size=size, labelled=1, test=test)
    ids = list(scans.sources)
    own = ids[test + draw * OF_A_DRAW :][:OF_A_DRAW]
    labelled, rest = tuple(own[:LABELLED]), tuple(own[LABELLED:-VALIDATION])
    split = Split(labelled, rest, tuple(own[-VALIDATION:]), tuple(ids[:test]))
    cohort = replace(scans, split=split)
    return cohort.as_bone() if bone else cohort


SMALL = replace(
    profile_named("class").train,
    steps=2400,
    lr=5e-3,
    width=4,
    patch=(24, 24, 24),
    validate_every=800,
    precision="32-true",
)
"""A U-Net of 4 channels on small synthetic hips: 48 voxels a side of 3.3 mm."""

BOUNDS = ("labels_only", "all_labels")
SETTINGS = {
    f"{name} {norm} {lr:g}": Arm(name, config={"norm": norm, "lr": lr})
    for norm, lr in [
        ("batch", 5e-3),
        ("instance", 5e-3),
        ("group", 5e-3),
        ("batch", 2e-3),
        ("batch", 1e-2),
        ("instance", 2e-3),
        ("instance", 1e-2),
        ("group", 2e-3),
        ("group", 1e-2),
    ]
    for name in BOUNDS
}

STUDIES = {
    "settings": Study(partial(hips, seed=500, test=40, draws=2, bone=True), 2, SETTINGS, SMALL),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("study", choices=list(STUDIES))
    parser.add_argument("--draws", type=int, nargs="+")
    parser.add_argument("--arms", nargs="+")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--folder", type=Path, default=cache_dir() / "studies")
    args = parser.parse_args()
    torch.set_num_threads(1)
    study, folder = STUDIES[args.study], args.folder / args.study
    if args.write:
        write_record(study.rows(folder), args.study, list(study.arms))
        return
    for draw in args.draws or range(study.draws):
        for arm in args.arms or study.arms:
            study.run(folder, draw, arm)


if __name__ == "__main__":
    main()
