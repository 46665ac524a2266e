"""A training that is stopped between two steps goes on bit for bit."""

import json
import os
import signal
from collections import namedtuple

import pytest
from toy import SMALL, EachStep, toy_cohort
from toy_run import run_of, same_weights

from ssltut.errors import CheckpointError
from ssltut.methods.registry import make_method
from ssltut.training import steps
from ssltut.training.checkpoint import load_checkpoint
from ssltut.training.loop import train
from ssltut.training.run import circumstances


def the_same(run, plain):
    assert same_weights(run.nets["student"], plain.nets["student"])
    assert run.history.equals(plain.history)
    assert run.selected == plain.selected
    assert json.loads((run.folder / "run.json").read_text())["finished"]


@pytest.mark.parametrize("at", range(SMALL.steps))
def test_ctrl_c_keeps_the_step_reached(plain, tmp_path, at):
    def stop(step, *rest):
        if step == at:
            signal.raise_signal(signal.SIGINT)

    words = f"labels only stopped after step {at + 1} of {SMALL.steps}"
    with pytest.raises(KeyboardInterrupt, match=words):
        run_of(folder=tmp_path, callbacks=[EachStep(stop)])
    assert load_checkpoint(tmp_path / "last.safetensors")[1]["step"] == at + 1
    assert ".lock" not in os.listdir(tmp_path)
    the_same(run_of(folder=tmp_path), plain)


def test_a_validation_that_was_stopped_is_made_up_for(plain, tmp_path, monkeypatch):
    def stop(*rest):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(steps, "validation_scores", stop)
        with pytest.raises(KeyboardInterrupt, match="after step 2 of"):
            run_of(folder=tmp_path)
    assert not (tmp_path / "best.safetensors").exists()
    the_same(run_of(folder=tmp_path), plain)


def test_a_run_that_was_killed_before_it_said_that_it_is_finished_is(plain, tmp_path):
    run = run_of(folder=tmp_path)
    identity = json.loads((tmp_path / "run.json").read_text())
    del identity["finished"]
    (tmp_path / "run.json").write_text(json.dumps(identity))
    the_same(run_of(folder=tmp_path), plain)
    assert run.folder == tmp_path


def test_hidden_files_that_a_stop_left_are_no_files_of_another(tmp_path):
    (tmp_path / ".part-1-run.json").touch()
    run_of(folder=tmp_path)
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]


def test_other_circumstances_are_told_and_change_no_hash(tmp_path, monkeypatch):
    told = []
    options = {"progress": False, "log": told.append}
    method, cohort = make_method("labels_only"), toy_cohort()
    train(method, cohort, SMALL, tmp_path, stop_after=3, **options)
    first = json.loads((tmp_path / "run.json").read_text())
    assert {name: first[name] for name in circumstances()} == circumstances()
    train(method, cohort, SMALL, tmp_path, stop_after=3, **options)
    assert not any("begun with" in line for line in told)
    monkeypatch.setattr(steps, "circumstances", lambda: circumstances() | {"threads": 77})
    train(method, cohort, SMALL, tmp_path, **options)
    assert sum("begun with threads" in line and "(now 77)" in line for line in told) == 1
    last = json.loads((tmp_path / "run.json").read_text())
    assert (last["hash"], last["threads"]) == (first["hash"], 77)


def test_a_disk_without_room_for_checkpoints_is_known_before_the_first_step(tmp_path, monkeypatch):
    usage = namedtuple("usage", "free")
    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda folder: usage(1000))
        with pytest.raises(CheckpointError, match=r"checkpoints need .* MB .*Next: make room"):
            run_of(folder=tmp_path / "r", callbacks=[EachStep(lambda *rest: pytest.fail("step"))])
    assert not (tmp_path / "r").exists()
    run_of(folder=tmp_path / "r")
