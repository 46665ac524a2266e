"""Real hips: references in proportion, halves of a scan of both hips, and the table of a toy."""

from dataclasses import replace
from pathlib import Path

import climax
import numpy as np
import pytest
import real_hips
import torch

from ssltut.data.case import Case
from ssltut.methods.registry import make_method
from ssltut.synthetic.cohorts import synthetic_cohort
from ssltut.training.config import TrainConfig
from ssltut.training.loop import train


def test_both_hips_of_a_scan_have_places_from_the_outside_inwards() -> None:
    case = Case("p", "p", np.zeros((6, 2, 2), np.float32), None, np.eye(4))
    places = climax.places_of(case).view(6, 2, 2, 6)
    torch.testing.assert_close(places, places.flip(0))  # left and right mirror each other
    one = replace(case, meta={"anatomy": {"side": "left"}})
    assert not torch.equal(climax.places_of(one).view(6, 2, 2, 6), places)


def test_references_in_proportion_and_the_table_of_a_toy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    cohort = synthetic_cohort(n=4, size=16, labelled=1, validation=1, test=1)
    config = TrainConfig(steps=2, patch=(16, 16, 16), width=2, depth=2, validate_every=2)
    run = train(make_method("labels_only"), cohort, config, tmp_path / "run")
    monkeypatch.setattr(real_hips, "ASKED", 50)
    banks = real_hips.banks_of(run, cohort.training("labelled"), seed=0)
    equal, _, anywhere = (banks[kind].labels.bincount(minlength=3) for kind in real_hips.KINDS)
    assert len(equal.unique()) == 1
    assert anywhere[0] > anywhere[1:].sum()
    assert equal.sum() == anywhere.sum()
    table = real_hips.of_fold(cohort, run, fold=0)
    assert set(table["part"]) == {"unlabelled", "test"}
    found = real_hips.summary(table)
    assert found.loc[("teacher", ""), "better"] == 0
    assert len(found) == 2 + 1 + 3 * len(real_hips.KINDS)
    # Right is what is right on bone and on the rest, weighted by how much of each there is.
    parts = (
        table["bone"] * table["right on bone"] + (1 - table["bone"]) * table["right on the rest"]
    )
    np.testing.assert_allclose(table["right"], parts, atol=1e-5)
