"""The longer runs on new test scans: ``python results/archive/new_scans.py``.

Writes new_scans.csv and new_scans_runs.csv in this folder: every kept run of
``results/synthetic_bench.py --steps 2400`` (its cache folder, or ``--folder``) on 100 test scans of
another cohort from the same generator (seed 5), because the bench's own 18 hold two nails, too few
for a paired test. ``--record new_scans_200`` takes 200 scans of seed 6, ``new_scans_300`` 300 of
seed 7, ``new_scans_seed8`` and ``new_scans_seed9`` 300 of seeds 8 and 9; each was drawn after the
earlier ones had been seen. Only Dice and HD95 are kept. Nothing is trained or chosen here.
``--methods`` and ``--seeds`` do a part; stopped, it goes on where it was.
"""

import argparse
import sys
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1]))

from record import OF_A_RUN, write_record
from synthetic_bench import COHORT, collected

from ssltut.evaluation import statistics
from ssltut.evaluation.record import COLUMNS, RUN, read_rows
from ssltut.evaluation.runs import provenance, score_run
from ssltut.files import cache_dir, write_atomically
from ssltut.methods.registry import METHODS
from ssltut.synthetic.cohorts import synthetic_cohort
from ssltut.training.run import load_run

STEPS = 2400
SCANS = {
    "new_scans": COHORT | {"n": 106, "test": 100, "seed": 5},
    "new_scans_200": COHORT | {"n": 206, "test": 200, "seed": 6},
    "new_scans_300": COHORT | {"n": 306, "test": 300, "seed": 7},
    "new_scans_seed8": COHORT | {"n": 306, "test": 300, "seed": 8},
    "new_scans_seed9": COHORT | {"n": 306, "test": 300, "seed": 9},
}
METRICS = ["dice", "hd95"]


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--record", choices=list(SCANS), default="new_scans")
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--seeds", type=int, nargs="+")
    parser.add_argument(
        "--folder", type=Path, default=cache_dir() / "record" / f"synthetic_bench-{STEPS}"
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    cohort, runs, parts = (
        synthetic_cohort(**SCANS[args.record]),
        collected(args.folder).drop_duplicates("config"),
        [],
    )
    for known in runs[
        runs["seed"].isin(args.seeds or set(runs["seed"])) & runs["method"].isin(args.methods)
    ].to_dict("records"):
        file = args.folder / args.record / f"{known['config']}.csv"
        if not file.is_file():
            run = load_run(
                args.folder / "runs" / f"{known['method']}-{known['seed']}-{known['config']}"
            )
            of_run = (
                {name: known[name] for name in ("method", "seed", *RUN, *OF_A_RUN)}
                | {"cohort": cohort.name}
                | provenance()
            )
            file.parent.mkdir(exist_ok=True)
            write_atomically(
                file,
                score_run(run, cohort.test()).assign(**of_run)[COLUMNS].to_csv(index=False),
            )
            print(f"{known['method']}, seed {known['seed']}: scored", flush=True)
        parts.append(read_rows(file).query("metric in @METRICS"))
    scored = pd.concat(parts, ignore_index=True)
    rows = write_record(scored, args.record, list(METHODS), Path(__file__).parent)
    print(statistics.report(rows, "hd95"))


if __name__ == "__main__":
    main()
