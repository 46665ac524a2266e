"""How the arms of a study learn: ``python results/curves.py bone --arms same_batch ...``.

Writes results/NAME_curves.csv from the histories of the runs that results/studies.py has done: the
means of 60 steps of every loss, weight and share, for each draw.
"""

import argparse
from pathlib import Path

import pandas as pd
from studies import STUDIES

from ssltut.evaluation.record import RECORDS
from ssltut.files import cache_dir, write_atomically
from ssltut.training.run import load_run

STEPS = 60


def curves_of(folder: Path) -> pd.DataFrame:
    """A row for every ``STEPS`` steps of the run in ``folder``; "step" is their middle."""
    history = load_run(folder, unfinished=True).history
    means = history.groupby(history["step"] // STEPS).mean()
    return means.drop(columns=[name for name in means if name.startswith("validation")])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("study", choices=list(STUDIES))
    parser.add_argument("--arms", nargs="+", required=True)
    parser.add_argument("--folder", type=Path, default=cache_dir() / "studies")
    args = parser.parse_args()
    parts = []
    for arm in args.arms:
        done = {file.stem for file in (args.folder / args.study / arm / "rows").glob("*.csv")}
        for rows in sorted(done):
            name, _, seed, tag = rows.rsplit("-", 3)
            run = args.folder / args.study / arm / "runs" / f"{name}-{seed}-{tag}"
            parts.append(curves_of(run).assign(method=arm, seed=int(seed)))
    table = pd.concat(parts).round(6)
    write_atomically(RECORDS / f"{args.study}_curves.csv", table.to_csv(index=False))


if __name__ == "__main__":
    main()
