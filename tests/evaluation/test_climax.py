"""Who is right where a teacher is unsure: the counts by hand, and the table of a toy."""

from pathlib import Path

import climax
import numpy as np
import pandas as pd
import pytest
import torch
from climax import Bank, Vectors

from ssltut.data.cohort import Cohort
from ssltut.methods.registry import make_method
from ssltut.synthetic.cohorts import synthetic_cohort
from ssltut.training.config import TrainConfig
from ssltut.training.loop import train
from ssltut.training.run import Run

COHORT = {"n": 4, "size": 16, "labelled": 1, "validation": 1, "test": 1}
CONFIG = TrainConfig(steps=2, patch=(16, 16, 16), width=2, depth=2, validate_every=2)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> tuple[Cohort, Run]:
    cohort = synthetic_cohort(**COHORT)
    folder = tmp_path_factory.mktemp("climax") / "run"
    return cohort, train(make_method("labels_only"), cohort, CONFIG, folder)


def test_mended_broken_and_swapped_by_hand() -> None:
    truth = torch.tensor([2, 2, 1, 0, 0])
    told = torch.tensor([1, 1, 1, 1, 0])  # two swapped, one invented
    label = torch.tensor([2, 1, 0, 0, 0])
    assert climax.score(label, told, truth) == {
        "voxels": 5,
        "right": pytest.approx(0.6),
        "mended": 2,
        "broken": 1,
        "agrees with the teacher": pytest.approx(0.4),
        "swapped": 2,
        "swapped mended": 1,
    }
    unchanged = climax.score(told, told, truth)
    assert unchanged["mended"] == unchanged["broken"] == unchanged["swapped mended"] == 0


def test_place_decides_between_voxels_that_look_alike() -> None:
    one, many = torch.ones(1, 2), torch.ones(18, 2)
    here, there = torch.eye(6)[:1], torch.eye(6)[1:2]
    place = torch.cat([here.expand(9, 6), there.expand(9, 6)])
    kinds = torch.tensor([1] * 9 + [2] * 9)
    bank = Bank(Vectors(many, many, place), kinds, torch.ones(3, 1, 1, 2))
    for at, kind in ((here, 1), (there, 2)):
        assert climax.votes(bank, one, at, 3).tolist() == [kind]
        assert climax.votes(bank, None, at, 3).tolist() == [kind]


def test_a_moved_crop_moves_every_place_alike(toy: tuple[Cohort, Run]) -> None:
    case = toy[0].validation()[0]
    shape, step = case.image.shape, case.spacing[2]
    still = climax.places_of(case).view(*shape, 6)
    # The crop one voxel higher: what was voxel z is now voxel z - 1.
    moved = climax.places_of(case, (0.0, 0.0, step)).view(*shape, 6)
    torch.testing.assert_close(moved[:, :, 1:], still[:, :, :-1])


def test_the_table_of_a_toy(toy: tuple[Cohort, Run], monkeypatch: pytest.MonkeyPatch) -> None:
    cohort, run = toy
    monkeypatch.setattr(climax, "ASKED", 50)
    monkeypatch.setattr(climax, "LEAST", 1)
    table = climax.of_teacher(cohort, run, seed=0)
    assert table["scan"].nunique() == 3
    assert set(table["part"]) == {"validation", "unlabelled", "test"}
    regions, rims = (table[table["where"] == where] for where in ("regions", "rims"))
    rules = {"teacher", "commonest class", "published match", "looks", "place alone", climax.BOTH}
    assert set(rims["rule"]) == rules
    assert set(regions["rule"]) == rules | {climax.MOVED}
    assert set(rims["voxels"]) == {50}
    teacher = table[table["rule"] == "teacher"]
    assert (teacher[["mended", "broken"]] == 0).all(axis=None)
    assert (teacher["agrees with the teacher"] == 1).all()
    # What a rule mends less what it breaks is what it gains on the teacher.
    told = teacher.set_index(["scan", "where"])["right"]
    gain = table["right"] - told.loc[pd.MultiIndex.from_frame(table[["scan", "where"]])].to_numpy()
    np.testing.assert_allclose(gain * table["voxels"], table["mended"] - table["broken"], atol=1e-3)
    summary = climax.held(table)
    assert summary.loc["teacher", "better, seed 0"] == 0
    assert set(summary.index) == set(regions["rule"])
