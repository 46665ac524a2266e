"""The whole chain on real scans: trained at ``smoke``, predicted, scored, compared.

4 labelled cardiac MR scans in the published order.
"""

from dataclasses import replace

import numpy as np
import pytest

from ssltut.data.cohort import Cohort
from ssltut.evaluation.compare import compare
from ssltut.evaluation.statistics import paired, summary
from ssltut.io.cohort_folder import read_cohort
from ssltut.training.config import profile_named


@pytest.fixture(scope="module")
def atrium(shared) -> Cohort:
    """4 labelled, 4 unlabelled, 1 validation and 2 test scans of the 80, at 4 mm to be quick."""
    folder = shared / "left_atrium"
    if not folder.is_dir():
        pytest.skip(f"no left-atrium scans: {folder} does not exist")
    whole = read_cohort(folder).with_budget(4)
    split = replace(
        whole.split,
        unlabelled=whole.split.unlabelled[:4],
        validation=whole.split.validation[:1],
        test=whole.split.test[:2],
    )
    return replace(whole, split=split).resampled(4.0)


def test_the_labelled_scans_are_the_first_of_the_published_order(atrium, shared):
    order = (shared / "left_atrium" / "train.list").read_text().split()
    assert [name.split("/")[0] for name in order[:4]] == list(atrium.split.labelled)
    assert not set(atrium.split.test) & set(order[:16])
    assert all(case.label is None for case in atrium.training("unlabelled"))


def test_labels_only_and_embedding_matching_run_unchanged_on_real_scans(atrium, tmp_path):
    rows = compare(
        atrium,
        ["labels_only", "embedding_matching"],
        tmp_path,
        config=profile_named("smoke").train,
        budgets=[4],
        seeds=[0],
        draw=False,
        log=lambda line: None,
    )
    assert (rows["status"] != "failed").all(), rows["error"].dropna().tolist()
    dice = rows[rows["metric"] == "dice"]
    assert sorted(dice["method"].unique()) == ["embedding_matching", "labels_only"]
    assert set(dice["class"]) == {"left atrium"}
    assert dice["value"].between(0, 1).all()
    assert np.isfinite(rows["value"]).all()
    assert len(summary(rows, "dice")) == 2
    assert len(paired(rows, "hd95")) == 1
