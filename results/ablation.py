"""What each part of embedding matching is worth: ``python results/ablation.py``.

Writes results/ablation.csv and ablation_runs.csv: variants of the published form and of the
neighbour vote on the cohort, settings, draws and seeds of results/synthetic_bench.py at 4 labelled
scans, so that their rows can be compared with synthetic_bench.csv; the column ``method`` has their
names. About 75 minutes on two cores. ``--confirm`` writes confirmation.csv: does what gained there
also gain on another cohort with other draws? Chosen before it ran: the best variant alone, the
three changes that gained together, the best other methods of the record (UA-MT in the paper's
table, MEDL in all) and the bounds. About half an hour. Stopped, it goes on where it was;
``--variants`` and ``--seeds`` do a part, and each call writes all that is done so far.
"""

import argparse
from pathlib import Path

import pandas as pd
from record import write_record
from synthetic_bench import COHORT, MIDDLE, SEEDS, STEPS, collected, settings

from ssltut.evaluation import statistics
from ssltut.evaluation.compare import compare
from ssltut.files import cache_dir
from ssltut.synthetic.cohorts import synthetic_cohort

VOTE = {"kernel": "vote", "use": ("UA", "NN"), "k": 120, "interior": 400}
VARIANTS: dict[str, tuple[str, dict[str, object]]] = {
    "published, reliable voxels only": ("embedding_matching", {"use": ("UA",)}),
    "published, without entropy": ("embedding_matching", {"use": ("UA", "NN")}),
    "published, 5 % always unreliable": ("embedding_matching", {"threshold": 0.05}),
    "published, 5 %, mean over all voxels": (
        "embedding_matching",
        {"threshold": 0.05, "normalise": "all"},
    ),
    "published, vote of 9": ("embedding_matching", VOTE),
    "vote, no gate": ("neighbour_vote", {"gate": 0.0}),
    "vote, full weight from 0.3 on": ("neighbour_vote", {"rampup": 0.3}),
    "vote, weights x 4": ("neighbour_vote", {"w_ua": 1.0, "w_ps": 0.5}),
    "vote, memory of 400 across scans": ("neighbour_vote", {"memory": 400}),
    "vote, mutual neighbours": ("neighbour_vote", {"mutual": True, "gate": 0.0}),
    "vote, map at half resolution": ("neighbour_vote", {"layer": "half"}),
    "vote, the teacher asks": ("neighbour_vote", {"query": "teacher"}),
}
CONFIRM: dict[str, tuple[str, dict[str, object]]] = {
    **{
        name: (name, {})
        for name in ("labels_only", "ua_mt", "medl", "embedding_matching", "all_labels")
    },
    "vote, map at half resolution": VARIANTS["vote, map at half resolution"],
    "vote, half resolution, mutual, early": (
        "neighbour_vote",
        {"layer": "half", "mutual": True, "gate": 0.0, "rampup": 0.3},
    ),
}
NEW_SCANS, NEW_SEEDS = 2, [3, 4, 5]  # cohort 1 settled length, rate and norm


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--confirm", action="store_true")
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS | CONFIRM))
    parser.add_argument("--seeds", type=int, nargs="+")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path)
    args = parser.parse_args()
    record, variants, scans, seeds = (
        ("confirmation", CONFIRM, NEW_SCANS, NEW_SEEDS)
        if args.confirm
        else ("ablation", VARIANTS, 0, SEEDS)
    )
    cohort, folder = (
        synthetic_cohort(**COHORT, seed=scans),
        args.folder or cache_dir() / "record" / f"{record}-{STEPS}",
    )
    torch.set_num_threads(1)
    for name in args.variants or variants:
        method, options = variants[name]
        compare(
            cohort,
            [method],
            folder / name,
            config=settings(),
            budgets=[MIDDLE],
            seeds=args.seeds or seeds,
            options={method: options},
            workers=args.workers,
        )
    done = [name for name in variants if (folder / name).is_dir()]
    rows = pd.concat(
        [collected(folder / name).assign(method=name) for name in done], ignore_index=True
    )
    rows = write_record(rows, record, list(variants))
    for metric in ("dice", "hd95"):
        print(
            statistics.summary(rows, metric)
            .drop(columns=["method", "metric"])
            .round(3)
            .to_string(index=False)
        )


if __name__ == "__main__":
    main()
