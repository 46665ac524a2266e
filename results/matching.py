"""What happens to unreliable voxels during training: ``python results/matching.py``.

Writes results/matching.csv. The forms below, with the settings of results/synthetic_bench.py and 4
labelled scans, are measured every 50 steps on four fixed patches of unlabelled scans whose truth is
known here (``probe.Probe``; measuring does not change a run). Two minutes a run on one
core; ``--forms`` and ``--seeds`` do a part, and what the record held before stays unless it was
done again. Stopped, it goes on.

The rows ``embedding_matching`` and ``neighbour_vote`` of commit 7cabae5 are of the bench's rules at
that time: weights by validation, a constant rate, and ln 3.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pandas as pd
import torch
from probe import Matching, probed_run
from synthetic_bench import COHORT, MIDDLE, settings

from ssltut.data.cohort import Cohort
from ssltut.evaluation.runs import provenance
from ssltut.files import write_atomically
from ssltut.methods.registry import make_method
from ssltut.parallel import open_workers
from ssltut.synthetic.cohorts import synthetic_cohort

EVERY, FILE = 50, Path(__file__).with_suffix(".csv")
# Method and options; whether bone against rest, the published task, is learnt.
FORMS: dict[str, tuple[str, dict[str, Any], bool]] = {
    "two classes, ln 2": ("embedding_matching", {}, True),
    "three classes, ln 3": ("embedding_matching", {"classes": "all"}, False),
    "three classes, ln 2": ("embedding_matching", {}, False),
    "neighbour_vote": ("neighbour_vote", {}, False),
}


def watched(cohort: Cohort, form: str, seed: int) -> pd.DataFrame:
    """The table of the probe along one run."""
    name, options, bone = FORMS[form]
    drawn, config = cohort.with_budget(MIDDLE, seed), replace(settings(), seed=seed)
    drawn = drawn.as_bone() if bone else drawn
    method = cast(Matching, make_method(name, options))
    _, table = probed_run(method, drawn, config, every=EVERY)
    return table.assign(method=form, seed=seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--forms", nargs="+", choices=list(FORMS), default=list(FORMS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[2])
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(max(1, args.workers))  # one to each process
    jobs = [(form, seed) for form in args.forms for seed in args.seeds]
    with open_workers(args.workers) as run_jobs:
        tables = dict(run_jobs(watched, synthetic_cohort(**COHORT), jobs))
    new = pd.concat([tables[i] for i in range(len(jobs))], ignore_index=True)
    before, run = pd.read_csv(FILE), ["method", "seed"]
    again = pd.MultiIndex.from_frame(before[run]).isin(pd.MultiIndex.from_frame(new[run]))
    table = pd.concat([before[~again], new.assign(**provenance())], ignore_index=True)
    write_atomically(FILE, table.to_csv(index=False))
    print(new.groupby(["method", "step"]).mean(numeric_only=True).round(3).to_string())


if __name__ == "__main__":
    main()
