"""The record of every method on synthetic hips: ``python results/phantom.py`` writes results/phantom.csv and its pictures in results/figures.

All methods x 2, 4 and 8 labelled scans x three seeds, in two processes of one thread: about two hours on two cores. Stopped, it goes on where
it was. ``--methods``, ``--budgets`` and ``--seeds`` do a part (two parts at the same time: other methods or other seeds); a call without them
does what is missing and collects. ``--trial`` is a look at the whole in a minute, in the folder alone.
"""

import argparse
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd

from ssltut import show, statistics
from ssltut.compare import compare
from ssltut.data.cohort import cache_dir, synthetic_cohort
from ssltut.methods import METHODS
from ssltut.profiles import profile_named

HERE = Path(__file__).parent
BUDGETS, SEEDS = [2, 4, 8], [0, 1, 2]
COHORT = {"n": 38, "size": 48, "labelled": 4, "validation": 2, "test": 18}  # test scans for six parts of three
TRIAL = {"n": 18, "size": 32, "labelled": 4, "validation": 1, "test": 6}
YLABEL = {"dice": "Dice (higher is better)", "hd95": "HD95 in mm (lower is better)"}


def draw(rows: pd.DataFrame, folder: Path, bounds: tuple[str, str]) -> None:
    """Budget curves, difficulty strata and paired differences of Dice and HD95 as PNG in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    middle = sorted(rows["budget"].unique())[(rows["budget"].nunique() - 1) // 2]
    part = rows[rows["budget"] == middle]
    for metric, ylabel in YLABEL.items():
        renamed = {"low95": "low", "high95": "high"}
        tables = [table.rename(columns=renamed).assign(method=table["title"])
                  for table in (statistics.summary(rows, metric), statistics.strata(part, metric))]
        against = statistics.differences(part, metric).rename(columns=lambda name: METHODS[name].title)
        pictures = {
            "budgets": show.budget_curves(tables[0], ylabel=ylabel, bounds=bounds, alt=f"{metric} of every method at each number of labelled scans"),
            "strata": show.strata(tables[1], ylabel=ylabel, bounds=bounds, alt=f"{metric} of every method on the easiest to the hardest scans"),
            "paired": show.paired(dict(against.items()), xlabel=f"{ylabel.split(' (')[0]} minus that of {bounds[0]}, {middle} labelled scans",
                                  alt=f"{metric} of every method minus labels only, a point a patient")}
        for name, picture in pictures.items():
            (folder / f"phantom-{name}-{metric}.png").write_bytes(picture.png)


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--budgets", type=int, nargs="+", default=BUDGETS)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--trial", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(max(1, args.workers))  # one to each process: the values do not depend on the machine's cores
    config = replace(profile_named("smoke" if args.trial else "class").train, precision="32-true")
    config = config if args.trial else replace(config, steps=240, validate_every=80, patch=(24, 24, 24))  # 120 of 32^3 cost the same and learn less
    folder = args.folder or cache_dir() / "record" / ("phantom_trial" if args.trial else "phantom")
    rows = compare(synthetic_cohort(**(TRIAL if args.trial else COHORT)), args.methods, folder, config=config, budgets=args.budgets,
                   seeds=args.seeds, workers=args.workers)
    print(statistics.report(rows, "dice"))
    whole = (args.methods, args.budgets, args.seeds) == (list(METHODS), BUDGETS, SEEDS) and not args.trial
    draw(rows, HERE / "figures" if whole else folder, (METHODS[statistics.LOWER_BOUND].title, METHODS[statistics.UPPER_BOUND].title))
    if whole:
        shutil.copy(folder / "results.csv", HERE / "phantom.csv")


if __name__ == "__main__":
    main()
