"""The bench, every method on small synthetic hips: ``python results/synthetic_bench.py``.

Writes results/synthetic_bench.csv, synthetic_bench_runs.csv and figures: bounds, baselines and
embedding matching x 2, 4 and 8 labelled scans x three seeds, and the further methods at 4, in two
processes of one thread. On two cores that takes about an hour for each of these four parts.
Stopped, it goes on where it was. ``--methods``, ``--budgets`` and ``--seeds`` do a part (two parts
can run at the same time with other methods or other seeds). Each call writes all that is done so
far; what the record held before stays unless it was done again. ``--steps`` trains longer or
shorter, for a record of its own (synthetic_bench_2400.csv), and so does ``--bone``, the task of
Xie et al. 2024, bone against rest (synthetic_bench_bone.csv), ``--norm``, another norm
(synthetic_bench_instance.csv), and ``--partial``, labelled scans that lack bones, which other
methods than VerSemi take for background (synthetic_bench_partial.csv). ``--trial`` runs everything
once at toy size in a minute and writes only to the cache folder.
"""

import argparse
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
from partial_labels import partially_labelled
from record import write_record
from strata import budget_curves, strata, strata_curves

from ssltut import show
from ssltut.evaluation import statistics
from ssltut.evaluation.compare import compare
from ssltut.evaluation.record import read_rows
from ssltut.files import cache_dir
from ssltut.methods.registry import METHODS
from ssltut.synthetic.cohorts import synthetic_cohort
from ssltut.training.config import TrainConfig, profile_named

HERE = Path(__file__).parent
BENCH = [
    "labels_only",
    "same_batch",
    "mean_teacher",
    "ua_mt",
    "cps",
    "fixmatch",
    "urpc",
    "dtc",
    "mc_net_plus",
    "bcp",
    "cct",
    "mtc",
    "embedding_matching",
    "neighbour_vote",
    "all_labels",
]
BUDGETS, MIDDLE, SEEDS = [2, 4, 8], 4, [0, 1, 2]
# Of the lengths, rates and norms that were tried on other synthetic hips, one that leaves room
# between the two bounds and takes an afternoon (results/LOG.md). 8 channels for 360 steps, which
# cost as much, left all labels below labels only.
STEPS, LR, WIDTH, PATCH = 600, 5e-3, 4, (24, 24, 24)
COHORT = {
    "n": 38,
    "size": 48,
    "labelled": 4,
    "validation": 2,
    "test": 18,
}  # test scans for three parts of six
TRIAL = {"n": 18, "size": 32, "labelled": 4, "validation": 1, "test": 6}
FEW = [
    "labels_only",
    "same_batch",
    "mean_teacher",
    "ua_mt",
    "cps",
    "cct",
    "embedding_matching",
    "neighbour_vote",
    "all_labels",
]  # more cannot be told apart
# Which bones the labelled scans have labels of, in turn: three sources, the third one whole.
SOURCES = (["hip bone"], ["femur"], ["hip bone", "femur"])
YLABEL = {"dice": "Dice (higher is better)", "hd95": "HD95 in mm (lower is better)"}


def draw(rows: pd.DataFrame, folder: Path, bounds: tuple[str, str]) -> None:
    """Budget curves, difficulty strata and paired differences of Dice and HD95 as PNG in
    ``folder``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    middle = MIDDLE if MIDDLE in set(rows["budget"]) else rows["budget"].max()
    part, few = rows[rows["budget"] == middle], rows[rows["method"].isin(FEW)]
    for metric, ylabel in YLABEL.items():
        renamed = {"low95": "low", "high95": "high"}
        tables = [
            table.rename(columns=renamed).assign(method=table["title"])
            for table in (
                statistics.summary(few, metric),
                strata(few[few["budget"] == middle], metric),
            )
        ]
        control = statistics.title_of(statistics.baseline_of(part["method"]))
        values = statistics.run_values(part, metric)[statistics.order_of(part["method"])]
        values = values.rename(columns=statistics.title_of)
        against = values.sub(values[control], axis=0).groupby("patient").mean()
        pictures = {
            "budgets": budget_curves(
                tables[0],
                ylabel=ylabel,
                bounds=bounds,
                alt=f"{metric} of eight methods at each number of labelled scans",
            ),
            "strata": strata_curves(
                tables[1],
                ylabel=ylabel,
                bounds=bounds,
                alt=f"{metric} of eight methods on the easiest to the hardest scans",
            ),
            "paired": show.paired_strip(
                dict(against.drop(columns=control).items()),
                xlabel=(
                    f"{ylabel.split(' (')[0]} minus that of {control}, {middle} labelled scans"
                ),
                alt=f"{metric} of every method minus {control}, a point a patient",
            ),
        }
        for name, picture in pictures.items():
            (folder / f"synthetic_bench-{name}-{metric}.png").write_bytes(picture.png)


def settings(trial: bool = False, steps: int = STEPS, norm: Any = "batch") -> TrainConfig:
    """What every run of the record trains with."""
    config = replace(profile_named("smoke" if trial else "class").train, precision="32-true")
    if trial:
        return replace(config, norm=norm)
    sizes: dict[str, Any] = {"validate_every": steps // 3, "width": WIDTH, "patch": PATCH}
    return replace(config, steps=steps, lr=LR, norm=norm, **sizes)


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--budgets", type=int, nargs="+", default=BUDGETS)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--bone", action="store_true")
    parser.add_argument("--norm", choices=["batch", "instance", "group"], default="batch")
    parser.add_argument("--partial", action="store_true")
    parser.add_argument("--trial", action="store_true")
    args = parser.parse_args()
    # One thread to each process: the values do not depend on the machine's cores.
    torch.set_num_threads(max(1, args.workers))
    variants = [("_bone", args.bone), (f"_{args.norm}", args.norm != "batch")]
    variants.append(("_partial", args.partial))
    task = "synthetic_bench" + "".join(name for name, on in variants if on)
    folder = args.folder or cache_dir() / "record" / (
        f"{task}_trial" if args.trial else f"{task}-{args.steps}"
    )
    cohort = synthetic_cohort(**(TRIAL if args.trial else COHORT))
    cohort = cohort.as_bone() if args.bone else cohort
    further = [name for name in METHODS if name not in BENCH]
    for methods, budgets in ((BENCH, BUDGETS), (further, [MIDDLE])):
        methods, budgets = (
            [name for name in methods if name in args.methods],
            [budget for budget in budgets if budget in args.budgets],
        )
        config = settings(args.trial, args.steps, args.norm)
        run = partial(compare, folder=folder, config=config, workers=args.workers)
        if args.partial:
            for budget, seed in product(budgets if methods else [], args.seeds):
                drawn = partially_labelled(cohort.with_budget(budget, seed), *SOURCES)
                run(drawn, methods, budgets=[budget], seeds=[seed], draw=False)
        elif methods and budgets:
            run(cohort, methods, budgets=budgets, seeds=args.seeds)
    rows, of_record = collected(folder), args.steps == STEPS and not args.trial
    if not args.trial:
        rows = write_record(rows, task if of_record else f"{task}_{args.steps}", list(METHODS))
    print(statistics.report(rows, "dice"))
    draw(
        rows,
        HERE / "figures" if of_record and task == "synthetic_bench" else folder,
        (METHODS[statistics.LOWER_BOUND].title, METHODS[statistics.UPPER_BOUND].title),
    )


def collected(folder: Path) -> pd.DataFrame:
    """All runs that are done in the folder of a comparison."""
    return pd.concat(
        [read_rows(file) for file in sorted((folder / "rows").glob("*.csv"))], ignore_index=True
    )


if __name__ == "__main__":
    main()
