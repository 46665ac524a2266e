"""The weights that ship: they fit the code of today, and the script that makes them runs."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import ship_weights
import torch

from ssltut.synthetic.cohorts import synthetic_cohort
from ssltut.training import shipped as module
from ssltut.training.checkpoint import load_checkpoint
from ssltut.training.config import profile_named
from ssltut.training.run import read_identity, run_identity
from ssltut.training.shipped import WEIGHTS, shipped, trained_run

NAMES = list(ship_weights.MAKERS)
CLASS = profile_named("class")


def class_cohort():
    return synthetic_cohort(**CLASS.cohort)


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_run_answers_for_a_hip(name: str) -> None:
    case = class_cohort().validation()[1]
    said = shipped(name).predict(case)
    for bone in (1, 2):
        overlap = ((said == bone) & (case.label == bone)).sum()
        assert 2 * overlap / ((said == bone).sum() + (case.label == bone).sum()) > 0.9


def test_notebooks_of_the_class_size_load_the_teacher(capsys: pytest.CaptureFixture[str]) -> None:
    """It fails when the identity of the run has changed: then make the weights again."""
    run = trained_run(ship_weights.LABELS_ONLY, class_cohort(), replace(CLASS.teacher, seed=0))
    assert run.folder == WEIGHTS / "teacher_class"
    assert "loaded teacher_class" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "method"),
    [("student_without", ship_weights.CONTROL), ("student_with", ship_weights.MATCH)],
)
def test_the_students_are_those_that_the_script_trains(name: str, method: object) -> None:
    config = ship_weights.rest(CLASS.teacher)
    init = WEIGHTS / "checkpoint_class"
    hash_of_today = run_identity(method, config, class_cohort(), init)["hash"]
    assert read_identity(WEIGHTS / name)["trained as"] == hash_of_today


def test_all_weights_together_are_small() -> None:
    assert sum(path.stat().st_size for path in WEIGHTS.rglob("*") if path.is_file()) < 3e6


def test_sixteen_bits_answer_as_well_as_32() -> None:
    rows = pd.read_csv(ship_weights.RECORDS / "shipped.csv")
    assert sorted(rows["name"].unique()) == sorted(NAMES)
    of_both = rows.pivot_table(index=["name", "metric", "class"], columns="stored", values="value")
    change = (of_both["float16"] - of_both["float32"]).abs()
    assert change.xs("dice", level="metric").max() < 0.001
    assert change.xs("hd95", level="metric").max() < 0.1


def test_the_script_makes_runs_that_are_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSLTUT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "WEIGHTS", tmp_path / "weights")
    places = ["--weights", str(tmp_path / "weights"), "--csv", str(tmp_path / "rows.csv")]
    ship_weights.main(["--profile", "smoke", *places])
    ship_weights.main(["--profile", "smoke", "--names", "teacher_class", *places])
    rows = pd.read_csv(tmp_path / "rows.csv")
    assert rows.groupby(["name", "stored"]).size().nunique() == 1
    assert set(rows["stored"]) == {"float16", "float32"}
    smoke = profile_named("smoke")
    cohort = synthetic_cohort(**smoke.cohort)
    assert trained_run(ship_weights.LABELS_ONLY, cohort, smoke.teacher).folder.name == (
        "teacher_class"  # and not the checkpoint, which has the same configuration
    )
    groups, _ = load_checkpoint(tmp_path / "weights" / "student_with" / "best.safetensors")
    assert list(groups) == ["net.student"]
    kinds = {tensor.dtype for tensor in groups["net.student"].values()}
    assert kinds == {torch.float16, torch.int64}
    assert list(shipped("student_with").nets) == ["student"]
    assert read_identity(tmp_path / "weights" / "checkpoint_class")["steps done"] == 16
