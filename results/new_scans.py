"""The longer runs on scans nobody has looked at: ``python results/new_scans.py`` writes
results/new_scans.csv and new_scans_runs.csv.

Scores every run of ``results/phantom.py --steps 2400`` that is kept (its cache folder, or
``--folder``) on the 100 test scans of another cohort (seed 5) from the same generator: the record's
own 18 hold two nails, too few for a paired test. ``--record new_scans_200`` takes 200 of a third
(seed 6), drawn after the first hundred had been seen, ``--record new_scans_300`` 300 of a fourth
(seed 7), after the first 300, ``--record new_scans_seed8`` 300 of a fifth (seed 8), after those
600, and ``--record new_scans_seed9`` 300 of a sixth (seed 9), after those 900. Dice and HD95 alone
are kept. Nothing is trained and nothing chosen here. ``--methods`` and ``--seeds`` do a part;
stopped, it goes on where it was.
"""

import argparse
from pathlib import Path

import pandas as pd
from phantom import COHORT, collected
from record import write_record

from ssltut.evaluation import statistics
from ssltut.evaluation.compare import provenance, score_run
from ssltut.evaluation.record import COLUMNS, OF_A_RUN, RUN, read_rows
from ssltut.files import cache_dir, write_atomically
from ssltut.methods.registry import METHODS
from ssltut.synthetic.cohorts import synthetic_cohort
from ssltut.training.loop import load_run

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
    parser.add_argument("--folder", type=Path, default=cache_dir() / "record" / f"phantom-{STEPS}")
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
    rows = write_record(pd.concat(parts, ignore_index=True), args.record, list(METHODS))
    print(statistics.report(rows, "hd95"))


if __name__ == "__main__":
    main()
