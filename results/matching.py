"""What happens to unreliable voxels during training: ``python results/matching.py``.

Writes results/matching.csv in a quarter of an hour. Embedding matching as published and its
neighbour vote, with the settings of results/synthetic_bench.py and 4 labelled scans, are measured
every 50 steps on four fixed patches of unlabelled scans whose truth is known here
(``ssltut.inspection.Probe``; measuring does not change a run). Stopped, it goes on.
"""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
from synthetic_bench import COHORT, MIDDLE, SEEDS, settings

from ssltut.data.cohort import Cohort
from ssltut.evaluation.runs import provenance
from ssltut.inspection import probed_run
from ssltut.methods.registry import make_method
from ssltut.parallel import open_workers
from ssltut.synthetic.cohorts import synthetic_cohort

MATCHING, EVERY = ("embedding_matching", "neighbour_vote"), 50


def watched(cohort: Cohort, name: str, seed: int) -> pd.DataFrame:
    """The table of the probe along one run."""
    config = replace(settings(), seed=seed)
    return probed_run(make_method(name), cohort.with_budget(MIDDLE, seed), config, every=EVERY)[
        1
    ].assign(method=name, seed=seed)


def main() -> None:
    torch.set_num_threads(2)  # one to each process
    jobs = [(name, seed) for name in MATCHING for seed in SEEDS]
    with open_workers(2) as run_jobs:
        tables = dict(run_jobs(watched, synthetic_cohort(**COHORT), jobs))
    table = pd.concat([tables[i] for i in range(len(jobs))], ignore_index=True).assign(
        **provenance()
    )
    table.to_csv(Path(__file__).with_suffix(".csv"), index=False)
    print(table.groupby(["method", "step"]).mean(numeric_only=True).round(3).to_string())


if __name__ == "__main__":
    main()
