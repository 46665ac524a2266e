"""What a step of each method costs in the setting of results/phantom.py: ``python
results/costs.py`` writes results/costs.csv in a minute.

One thread, nothing else running: forward passes and networks are counted, memory is what the step
keeps until its backward pass, seconds are those of the quickest of five steps (ssltut.evaluation.costs).
"""

from pathlib import Path

import torch
from phantom import COHORT, MIDDLE, settings

from ssltut.evaluation.compare import provenance
from ssltut.evaluation.costs import costs
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
