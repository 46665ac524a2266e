"""The costs of a training step: passes and networks are counted, memory grows with them."""

from dataclasses import replace

import torch
from step_cost import TINY, costs, held
from toy import toy_cohort

from ssltut.evaluation.record import COSTS


def test_passes_and_networks_are_counted_and_memory_grows_with_them() -> None:
    names = ("labels_only", "mean_teacher", "ua_mt", "ss_net", "cps", "mn")
    table = costs(toy_cohort(), names, replace(TINY, patch=(8, 8, 8)), repeats=1)
    assert list(table.columns) == COSTS
    assert (table["seconds a step"] > 0).all()
    # UA-MT: all patches by the student, the unlabelled half 1 + 8 times by the teacher
    assert table["forward passes"].tolist() == [1, 1.5, 5.5, 3, 2, 1.75]
    assert table["networks"].tolist() == [1, 2, 2, 1, 2, 2]
    memory = table["memory (MiB)"]
    assert memory["labels only"] < memory["mean teacher"] < memory["CPS"]
    layer = torch.nn.Linear(3, 2)
    assert sum(held({"a": layer, "again": layer}).values()) == 4 * (6 + 2)
