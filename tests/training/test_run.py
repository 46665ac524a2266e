"""Runs: folders that are found, continued or refused, and a finished run read back."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from toy import SMALL, toy_case, toy_cohort
from toy_run import run_of, same_weights

from ssltut.errors import CheckpointError, ConfigError
from ssltut.methods.registry import make_method
from ssltut.training.loop import cached_run, train
from ssltut.training.run import cached_folder, load_run


def test_a_finished_run_is_read_again(plain):
    said, before = [], sorted((p.name, p.stat().st_mtime_ns) for p in plain.folder.iterdir())
    again = train(make_method("labels_only"), toy_cohort(), SMALL, plain.folder, log=said.append)
    assert said == ["found the finished run plain (labels only)"]
    assert same_weights(plain.nets["student"], again.nets["student"])
    assert before == sorted((p.name, p.stat().st_mtime_ns) for p in plain.folder.iterdir())
    assert again.history.equals(plain.history)
    assert again.selected == plain.selected


@pytest.mark.parametrize(
    ("name", "config"), [("mean_teacher", SMALL), ("labels_only", replace(SMALL, lr=2e-2))]
)
def test_the_folder_of_another_run_is_refused(plain, name, config):
    before = {p.name: p.read_bytes() for p in plain.folder.iterdir()}
    with pytest.raises(ConfigError, match="another run"):
        run_of(name, plain.folder, config)
    assert before == {p.name: p.read_bytes() for p in plain.folder.iterdir()}


def test_a_folder_with_other_files_is_refused_and_an_empty_one_taken(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="not a run"):
        run_of(folder=tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]
    (tmp_path / "empty").mkdir()
    assert run_of(folder=tmp_path / "empty", config=replace(SMALL, steps=1)).selected["step"] == 1


def test_a_wrong_configuration_does_not_occupy_the_folder(tmp_path):
    with pytest.raises(ConfigError, match="no network 'unit'"):
        run_of(folder=tmp_path / "r", config=replace(SMALL, arch="unit"))
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"method": "labels_only"'])
def test_a_damaged_run_is_named(plain, tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"run\.json is damaged"):
        load_run(tmp_path)
    with pytest.raises(CheckpointError, match=r"run\.json is damaged"):
        run_of(folder=tmp_path)
    with pytest.raises(CheckpointError, match="no run here"):
        load_run(tmp_path / "nowhere")
    assert load_run(plain.folder).selected == plain.selected


def test_the_cache_finds_a_run_again(cache):
    said = []
    for _ in range(2):
        run = cached_run(
            make_method("labels_only"), toy_cohort(), replace(SMALL, seed=77), log=said.append
        )
    assert run.folder.parent == cache / "runs"
    assert said[-1].startswith("found the finished run labels_only-")


def test_a_run_predicts_on_the_grid_of_the_scan(tmp_path):
    run = run_of(folder=tmp_path / "r", cohort=toy_cohort().resampled(4.0))
    case = toy_case(6)
    assert load_run(tmp_path / "r").spacing == 4.0
    p = run.probabilities(case)
    assert p.shape == (3, 16, 16, 16)
    assert p.sum(0) == pytest.approx(1.0, abs=1e-4)
    assert run.predict(case).dtype == np.uint8


def test_a_kept_run_of_a_method_that_was_renamed_says_what_it_is_called_now(plain, tmp_path):
    shutil.copytree(plain.folder, tmp_path / "old")
    known = json.loads((tmp_path / "old" / "run.json").read_text())
    changed = known | {"method": "scan_vote"}
    (tmp_path / "old" / "run.json").write_text(json.dumps(changed))
    with pytest.raises(ConfigError, match="vote_beside with host=ua_mt"):
        load_run(tmp_path / "old")
    folder = cached_folder(make_method("vote_beside"), toy_cohort(), SMALL)
    assert folder.name.startswith("vote_beside-")
