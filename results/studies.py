"""The studies that docs/results.md rests on: ``python results/studies.py NAME``.

A study is a task, its draws and its arms. A draw is everything that a laboratory would have once:
its training scans, and which of them are labelled. The draws of a study share no training scan and
all are judged on the same test scans, so that the draw is the unit of the statistics
(ssltut.evaluation.draws). Every draw trains every arm before the next one begins, in one thread.

Studies of real scans need their folder, ``--data`` (results/README.md says which). Stopped, a study
goes on where it was, in a run that was under way from its last validation; ``--minutes`` stops it
in time. ``--draws`` and ``--arms`` do a part; two parts with other draws can run at the same time.
``--write`` trains nothing: it writes all that is done so far to NAME.csv and NAME_runs.csv in this
folder, or in that of ``--to``. Nor does ``--cohort``: it writes the scans of a draw as a cohort
folder, with which ``ssltut compare`` makes rows again (results/README.md). The study ``toy`` takes
seconds, to try this script.
"""

import argparse
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from record import write_record

from ssltut.data.case import Case
from ssltut.data.cohort import Cohort, Source
from ssltut.data.split import Split
from ssltut.errors import ConfigError
from ssltut.evaluation.compare import compare
from ssltut.evaluation.record import RECORDS, read_rows
from ssltut.files import cache_dir
from ssltut.io.cohort_folder import read_cohort, write_cohort
from ssltut.io.left_atrium import read_atrium
from ssltut.seeding import rng_for
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

    cohort    the cohort of a draw: its training, validation and test scans, which those of real
              scans find below a folder
    draws     how many
    arms      by the name that the results have in the column ``method``
    """

    cohort: Callable[[int, Path | None], Cohort]
    draws: int
    arms: Mapping[str, Arm]
    config: TrainConfig
    budgets: tuple[int, ...] = (LABELLED,)

    def run(self, folder: Path, draw: int, arm: str, data: Path | None = None) -> None:
        """Train and score one arm of one draw, or find it in ``folder``."""
        chosen = self.arms[arm]
        compare(
            self.cohort(draw, data),
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


def hips(
    draw: int,
    data: Path | None = None,
    *,
    seed: int,
    test: int,
    draws: int,
    bone: bool,
    size: int = 48,
    labelled: int = LABELLED,
) -> Cohort:
    """Synthetic hips: the first ``test`` scans of a seed for the test, then 20 for each draw.

    Of the scans of a draw the first are labelled, so that a larger number holds the smaller one.
    """
    scans = synthetic_cohort(test + draws * OF_A_DRAW, seed=seed, size=size, labelled=1, test=test)
    ids = list(scans.sources)
    own = ids[test + draw * OF_A_DRAW :][:OF_A_DRAW]
    parts = own[:labelled], own[labelled:-VALIDATION], own[-VALIDATION:], ids[:test]
    split = Split(*map(tuple, parts))
    cohort = replace(scans, split=split)
    return cohort.as_bone() if bone else cohort


def needed(data: Path | None) -> Path:
    """The folder of real scans. Raises ConfigError where none is given."""
    if data is None:
        raise ConfigError("the scans of this study are not part of the project", fix="give --data")
    return data


def pelves(draw: int, data: Path | None, *, bone: bool, spacing: float = 3.0) -> Cohort:
    """15 real pelvic MR scans in five folds: 3 for the test, 2 to watch, 4 labelled, 6 without.

    A fold is a draw, so every scan is in one test. Each scan has mean 0 and standard deviation 1,
    as the scale of MR means nothing.
    """
    scans = replace(read_cohort(needed(data)).resampled(spacing), modality="MR")
    order = rng_for(0, "folds of pelves").permutation(sorted(scans.sources))
    turned = np.roll(order, -3 * draw).tolist()
    test, validation, labelled, rest = np.split(turned, [3, 5, 9])
    split = Split(*(tuple(map(str, part)) for part in (labelled, rest, validation, test)))
    scans = replace(scans.changed(standardised, "standardised"), split=split)
    return scans.as_bone() if bone else scans


def atria(draw: int, data: Path | None, *, labelled: int, spacing: float = 2.5) -> Cohort:
    """The left atrium: draw 0 is the published order, each next one goes on in the list.

    80 scans, of which the last 16 are the test and the 4 before them are watched.
    """
    scans = read_atrium(needed(data)).resampled(spacing)
    pool = [*scans.split.labelled, *scans.split.unlabelled]
    chosen = tuple(pool[draw * labelled : (draw + 1) * labelled])
    rest = tuple(case_id for case_id in pool if case_id not in chosen)
    return replace(scans, split=replace(scans.split, labelled=chosen, unlabelled=rest))


def standardised(case: Case) -> Case:
    image = case.image.astype(np.float32)
    return replace(case, image=(image - image.mean()) / image.std())


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

ATRIUM = replace(SMALL, steps=2000, lr=2e-3, width=8, patch=(28, 28, 20), validate_every=1000)
"""Patches of 70 x 70 x 50 mm, the extent of the published ones, at 2.5 mm."""

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
LENGTHS = {
    f"{name} {steps} steps": Arm(name, config={"steps": steps, "validate_every": steps // 3})
    for steps in (1200, 4800)
    for name in BOUNDS
}
"""For the pair that SETTINGS chose, which is that of SMALL."""

TABLE_OF_THE_PAPER = ("mean_teacher", "ua_mt", "cct", "mtc", "dtc")
OTHERS = ("cps", "fixmatch", "urpc", "mc_net_plus", "bcp", "ss_net", "medl")
VOTES = {
    f"{title}, vote by {by}": Arm("vote_beside", {"host": host, "by": by})
    for title, host in (("UA-MT", "ua_mt"), ("MEDL", "medl"))
    for by in ("looks", "place", "both")
}


def arms(*methods: str, votes: bool = False) -> dict[str, Arm]:
    """The lower bound and the control, these methods and perhaps the votes, the upper bound."""
    plain = {name: Arm(name) for name in ("labels_only", "same_batch", *methods)}
    return plain | (VOTES if votes else {}) | {"all_labels": Arm("all_labels")}


PARTS = {
    "embedding matching, L_UA alone": Arm("embedding_matching", {"use": ("UA",)}),
    "embedding matching, without L_UA": Arm("embedding_matching", {"use": ("NN", "EN")}),
    "embedding matching, 5 % unreliable": Arm("embedding_matching", {"threshold": 0.05}),
}
"""What else could explain how it does: its terms, and a set of voxels that does not vanish."""

WHOLE = arms(*TABLE_OF_THE_PAPER, *OTHERS, "embedding_matching", "neighbour_vote", votes=True)
FURTHER = arms(
    *("cad", "rpg", "self_paced", "transmedseg", "m3hl", "c3s3", "ersr", "versemi", "mn"),
    "region_vote",
)
FEW = arms("mean_teacher", "ua_mt", "ss_net", "medl", "embedding_matching", votes=True)
PAPER = arms("mean_teacher", "ua_mt", "embedding_matching")

LARGE = replace(SMALL, steps=600, width=16, patch=(48, 48, 48), validate_every=200)
"""For one GPU (results/gpu.sh): SMALL at twice the resolution, with four times the channels.

On an H100 a step has at least the seconds of the class size in results/gpu/speed.csv, where the GPU
waits for the host, and at most those and 1/8 of the full size's (48^3 of 96^3 voxels): .010 to .017
for labels only, .021 to .038 for the mean teacher, .039 to .073 for UA-MT, .041 to .069 for
embedding matching. 600 steps of the slowest are 25 to 44 s.
"""
TOY = replace(SMALL, steps=4, patch=(16, 16, 16), depth=2, validate_every=2)

STUDIES = {
    "settings": Study(
        partial(hips, seed=500, test=40, draws=2, bone=True), 2, SETTINGS | LENGTHS, SMALL
    ),
    "bone": Study(partial(hips, seed=300, test=60, draws=10, bone=True), 10, WHOLE | PARTS, SMALL),
    "bones": Study(partial(hips, seed=300, test=60, draws=10, bone=False), 10, WHOLE, SMALL),
    "pelves": Study(partial(pelves, bone=False), 5, FEW, SMALL),
    "pelves_bone": Study(partial(pelves, bone=True), 5, PAPER, SMALL),
    "further": Study(partial(hips, seed=300, test=60, draws=10, bone=False), 2, FURTHER, SMALL),
    **{
        f"{task}_{labelled}": Study(
            partial(hips, seed=300, test=60, draws=10, bone=task == "bone", labelled=labelled),
            5,
            WHOLE,
            SMALL,
            budgets=(labelled,),
        )
        for task in ("bone", "bones")
        for labelled in (2, 8)
    },
    **{
        f"declared_{task}": Study(
            partial(hips, seed=700, test=100, draws=10, bone=task == "bone"), 10, WHOLE, SMALL
        )
        for task in ("bone", "bones")
    },
    "gpu": Study(partial(hips, seed=600, test=20, draws=3, bone=True, size=96), 3, PAPER, LARGE),
    "toy": Study(
        partial(hips, seed=600, test=2, draws=1, bone=True, size=32),
        1,
        {name: Arm(name) for name in ("labels_only", "embedding_matching")},
        TOY,
    ),
    **{
        f"atria_{arch}_{labelled}": Study(
            partial(atria, labelled=labelled),
            3,
            arms("mean_teacher", "ua_mt", "ss_net", "medl", "bcp", "embedding_matching"),
            replace(ATRIUM, arch=arch),
            budgets=(labelled,),
        )
        for arch in ("unet", "vnet")
        for labelled in (4, 8)
    },
}


def stop_after(minutes: float) -> None:
    """End this process when so many minutes are over; a run under way keeps its checkpoint."""

    def stop(*_: object) -> None:
        print("no time for the rest: the same command goes on", flush=True)
        raise SystemExit(0)  # no Exception: a comparison would take it for a failed run

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, max(60.0 * minutes, 1e-3))  # 0 would be no timer


def make_scans(study: Study, processes: int) -> None:
    """Make the synthetic scans that are not in the cache yet, in so many processes."""
    sources: dict[str, Source] = {}
    for draw in range(study.draws):
        cohort = study.cohort(draw, None)
        sources |= {case_id: cohort.sources[case_id] for case_id in cohort.split.all}
    with get_context("fork").Pool(processes) as pool:
        pool.map(make_scan, sources.values(), chunksize=1)


def make_scan(source: Source) -> None:
    source.load()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("study", choices=list(STUDIES))
    parser.add_argument("--draws", type=int, nargs="+")
    parser.add_argument("--arms", nargs="+")
    parser.add_argument("--data", type=Path, help="folder of the real scans")
    parser.add_argument("--scans", type=int, help="make the scans first, in so many processes")
    parser.add_argument("--minutes", type=float, help="stop after")
    parser.add_argument("--cohort", type=Path, help="write the scans of one draw to this folder")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--to", type=Path, default=RECORDS, help="folder of the record")
    parser.add_argument("--folder", type=Path, default=cache_dir() / "studies")
    args = parser.parse_args()
    torch.set_num_threads(1)
    study, folder = STUDIES[args.study], args.folder / args.study
    if args.write:
        write_record(study.rows(folder), args.study, list(study.arms), args.to)
        return
    if args.cohort:
        draw = (args.draws or [0])[0]
        write_cohort(study.cohort(draw, args.data), args.cohort)
        return
    if args.minutes is not None:
        stop_after(args.minutes)
    if args.scans:
        make_scans(study, args.scans)
    for draw in args.draws or range(study.draws):
        for arm in args.arms or study.arms:
            study.run(folder, draw, arm, args.data)


if __name__ == "__main__":
    main()
