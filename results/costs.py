"""What a step of each method costs on the bench: ``python results/costs.py``, a minute.

Writes results/costs.csv with the settings of results/synthetic_bench.py. One thread, nothing else
running: forward passes and networks are counted, memory is what the step keeps until its backward
pass, seconds are those of the quickest of five steps (benchmarks/step_cost.py).
"""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from step_cost import costs
from synthetic_bench import COHORT, MIDDLE, settings

from ssltut.evaluation.runs import provenance
from ssltut.methods.registry import METHODS
from ssltut.synthetic.cohorts import synthetic_cohort


def main() -> None:
    torch.set_num_threads(1)
    table = costs(synthetic_cohort(**COHORT).with_budget(MIDDLE, 0), config=settings(), repeats=5)
    table.insert(0, "method", list(METHODS))
    table.assign(**provenance()).to_csv(Path(__file__).with_suffix(".csv"), index_label="title")
    print(table.round(3).to_string())


if __name__ == "__main__":
    main()
