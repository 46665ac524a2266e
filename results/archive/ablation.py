"""What each part of embedding matching is worth: ``python results/archive/ablation.py``.

Writes ablation.csv and ablation_runs.csv in this folder: variants of the published form, of the
neighbour vote and of the vote beside a host on the cohort, settings, draws and seeds of
results/synthetic_bench.py at 4 labelled scans, so that their rows can be compared with
synthetic_bench.csv; the column ``method`` has their names. About three hours on two cores. Stopped,
it goes on where it was; ``--variants`` and ``--seeds`` do a part, and each call writes all that is
done so far.

The results also hold six variants, and confirmation.csv all its rows, of options that the methods
no longer have (mean over all voxels, vote without surface references, mutual neighbours, the map at
half resolution, the teacher's query, an earlier height): commit 18f459e trains them.
"""

import argparse
import sys
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1]))

from record import write_record
from synthetic_bench import COHORT, MIDDLE, SEEDS, STEPS, collected, settings

from ssltut.evaluation import statistics
from ssltut.evaluation.compare import compare
from ssltut.files import cache_dir
from ssltut.synthetic.cohorts import synthetic_cohort

VARIANTS: dict[str, tuple[str, dict[str, object]]] = {
    "published, reliable voxels only": ("embedding_matching", {"use": ("UA",)}),
    "published, without entropy": ("embedding_matching", {"use": ("UA", "NN")}),
    "published, 5 % always unreliable": ("embedding_matching", {"threshold": 0.05}),
    "vote, no gate": ("neighbour_vote", {"gate": 0.0}),
    "vote, weights x 4": ("neighbour_vote", {"w_ua": 1.0, "w_ps": 0.5}),
    "vote, memory of 400 across scans": ("neighbour_vote", {"memory": 400}),
    "beside UA-MT, by looks": ("vote_beside", {"by": "looks"}),
    "beside UA-MT, by place": ("vote_beside", {"by": "place"}),
    "beside MEDL, by looks": ("vote_beside", {"host": "medl", "by": "looks"}),
    "beside MEDL, by place": ("vote_beside", {"host": "medl", "by": "place"}),
    "beside MEDL, by both": ("vote_beside", {"host": "medl"}),
}


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS))
    parser.add_argument("--seeds", type=int, nargs="+")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path)
    args = parser.parse_args()
    cohort = synthetic_cohort(**COHORT, seed=0)
    folder = args.folder or cache_dir() / "record" / f"ablation-{STEPS}"
    torch.set_num_threads(1)
    for name in args.variants or VARIANTS:
        method, options = VARIANTS[name]
        compare(
            cohort,
            [method],
            folder / name,
            config=settings(),
            budgets=[MIDDLE],
            seeds=args.seeds or SEEDS,
            options={method: options},
            workers=args.workers,
        )
    done = [name for name in VARIANTS if (folder / name).is_dir()]
    rows = pd.concat(
        [collected(folder / name).assign(method=name) for name in done], ignore_index=True
    )
    rows = write_record(rows, "ablation", list(VARIANTS), Path(__file__).parent)
    for metric in ("dice", "hd95"):
        print(
            statistics.summary(rows, metric)
            .drop(columns=["method", "metric"])
            .round(3)
            .to_string(index=False)
        )


if __name__ == "__main__":
    main()
