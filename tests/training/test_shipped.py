"""Runs that come with the package: loaded where a notebook would train the same, and only there."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from toy import SMALL, toy_cohort
from toy_run import quiet, same_weights

from ssltut.errors import CheckpointError, ConfigError
from ssltut.methods.registry import make_method
from ssltut.training import shipped as module
from ssltut.training.loop import train
from ssltut.training.shipped import shipped, trained_run

LABELS_ONLY = make_method("labels_only")


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that ships one run, "teacher", of the toy cohort."""
    monkeypatch.setattr(module, "WEIGHTS", tmp_path / "weights")
    monkeypatch.setenv("SSLTUT_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "weights" / "teacher"
    train(LABELS_ONLY, toy_cohort(), SMALL, folder, log=quiet)
    about = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(about | {"trained as": about["hash"]}))
    return folder


def test_a_shipped_run_is_loaded_by_its_name(weights: Path) -> None:
    run = shipped("teacher")
    assert run.folder == weights
    assert run.predict(toy_cohort().validation()[0]).any()


def test_an_unknown_name_is_refused_with_those_that_are_there(weights: Path) -> None:
    with pytest.raises(ConfigError, match=r"no weights 'pupil' .* use one of teacher"):
        shipped("pupil")


def test_a_package_without_weights_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WEIGHTS", tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="this copy of ssltut has no weights"):
        shipped("teacher")


def test_the_same_run_is_loaded_and_said(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = trained_run(LABELS_ONLY, toy_cohort(), SMALL)
    assert run.folder == weights
    assert "loaded teacher, which ships with ssltut" in capsys.readouterr().out


def test_another_run_and_a_retraining_are_trained(
    weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = trained_run(LABELS_ONLY, toy_cohort(), SMALL, retrain=True, log=quiet)
    other = trained_run(LABELS_ONLY, toy_cohort(), replace(SMALL, seed=1), log=quiet)
    later = trained_run(LABELS_ONLY, toy_cohort(), SMALL, init=weights, log=quiet)
    assert weights not in {again.folder, other.folder, later.folder}
    assert "loaded" not in capsys.readouterr().out
    assert same_weights(again.nets["student"], shipped("teacher").nets["student"])
    assert not same_weights(again.nets["student"], other.nets["student"])
