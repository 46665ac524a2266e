"""The record behind notebook 06: ``python results/synthetic_class.py`` writes
results/synthetic_class.csv.

Seven methods x three seeds at the profile class: about 30 minutes on one core. Stopped, it goes on
where it was; the same command with other ``--seeds`` in a second process shares the work, and a
last call without ``--seeds`` collects.
"""

import argparse
from pathlib import Path

from record import without_folders

from ssltut.evaluation.compare import compare
from ssltut.files import cache_dir, write_atomically
from ssltut.synthetic.cohorts import synthetic_cohort
from ssltut.training.config import profile_named

METHODS = [
    "labels_only",
    "same_batch",
    "mean_teacher",
    "ua_mt",
    "embedding_matching",
    "neighbour_vote",
    "all_labels",
]


def main() -> None:
    profile = profile_named("class")
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=list(profile.seeds))
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--folder", type=Path, default=cache_dir() / "record" / "synthetic_class")
    args = parser.parse_args()
    rows = compare(
        synthetic_cohort(**profile.cohort),
        args.methods,
        args.folder,
        config=profile.train,
        budgets=(profile.labelled,),
        seeds=args.seeds,
    )
    if args.seeds == list(profile.seeds) and args.methods == METHODS:
        rows = rows.assign(command=without_folders(rows["command"]))
        write_atomically(Path(__file__).with_suffix(".csv"), rows.to_csv(index=False))


if __name__ == "__main__":
    main()
