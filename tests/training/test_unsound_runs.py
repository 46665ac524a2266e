"""Runs that must not predict: stopped, mixed, damaged, or with weights that cannot be."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from toy import SMALL, toy_case, toy_cohort
from toy_cli import ssltut

from ssltut.errors import CheckpointError, ConfigError, SsltutError
from ssltut.io.cohort_folder import write_cohort
from ssltut.methods.registry import make_method
from ssltut.training.checkpoint import META, load_checkpoint, load_net, save_checkpoint
from ssltut.training.loop import train
from ssltut.training.run import Run, check_finished, load_run

Change = Callable[[dict, dict], object]  # of the groups and the meta data of a checkpoint


@pytest.fixture
def copy(plain: Run, tmp_path: Path) -> Path:
    return Path(shutil.copytree(plain.folder, tmp_path / "copy"))


def rewrite(folder: Path, change: Change, name: str = "best") -> None:
    groups, meta = load_checkpoint(folder / f"{name}.safetensors")
    change(groups, meta)
    save_checkpoint(folder / f"{name}.safetensors", groups, meta)


def every(function: Callable[[Tensor], Tensor]) -> Change:
    """A change of all floating-point weights."""

    def change(groups: dict, meta: dict) -> None:
        for name, tensor in groups["net.student"].items():
            if tensor.is_floating_point():
                groups["net.student"][name] = function(tensor)

    return change


CHECKPOINTS = {
    "weights NaN": (every(lambda t: t * float("nan")), "are not finite or beyond 1e\\+09"),
    "weights infinite": (every(lambda t: t + float("inf")), "are not finite"),
    "weights absurd": (every(lambda t: t + 1e30), "beyond 1e\\+09"),
    "weights of another type": (every(Tensor.double), "float64, the network has torch.float32"),
    "a tensor without a group": (lambda g, m: g.update({"": {"x": torch.ones(1)}}), None),
    "std 0": (lambda g, m: m.update(intensity=[0, 0]), "a standard deviation of 0"),
    "std below 0": (lambda g, m: m.update(intensity=[0, -1]), "a standard deviation of -1"),
    "intensity NaN": (lambda g, m: m.update(intensity=[0, float("nan")]), "intensity is .0, nan."),
    "intensity 1": (lambda g, m: m.update(intensity=1), "intensity is 1.*Next: give a list"),
    "no intensity": (lambda g, m: m.pop("intensity"), "there is no intensity"),
    "a step that is text": (lambda g, m: m.update(step="6"), "step is '6'"),
    "best of another run": (
        lambda g, m: m.update(step=24, best=m["best"] | {"step": 24}),
        "the weights are of step 24, last.safetensors chose .*'step': 4",
    ),
}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_run_with_such_a_checkpoint_does_not_predict(copy: Path, name: str) -> None:
    change, words = CHECKPOINTS[name]
    rewrite(copy, change)
    if words is None:  # what nobody asks for
        load_run(copy)
        return
    with pytest.raises(CheckpointError, match=words) as caught:
        load_run(copy)
    assert str(copy) in str(caught.value)


def test_float16_weights_are_taken_and_sound_runs_are_silent(copy: Path, plain: Run) -> None:
    assert load_run(copy).selected == plain.selected
    rewrite(copy, every(Tensor.half))
    weight = next(load_run(copy).nets["student"].parameters())
    assert weight.dtype == torch.float32
    assert torch.allclose(weight, next(plain.nets["student"].parameters()), atol=1e-3)


def test_weights_at_the_limit_are_taken(tmp_path: Path) -> None:
    net = nn.Linear(2, 1)
    load_net(net, {"weight": torch.full((1, 2), 1e9), "bias": torch.zeros(1)}, tmp_path)
    with pytest.raises(CheckpointError, match=r"the weights bias are .*complex64"):
        load_net(net, {"weight": torch.ones(1, 2), "bias": torch.zeros(1).cfloat()}, tmp_path)


def change_run(folder: Path, **changes: object) -> None:
    content = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(content | changes))


RUN_FILES = {
    "options 5": ({"options": 5}, "options is 5"),
    "a table of numbers": ({"table": {"names": [1, 2]}}, "names is .1, 2."),
    "a spacing without end": ({"spacing": 9e99}, "spacing is 9e"),
    "finished maybe": ({"finished": "maybe"}, "finished is 'maybe'"),
    "a list as hash": ({"hash": []}, r"hash is \[\]"),
}


@pytest.mark.parametrize("name", RUN_FILES)
def test_a_run_json_of_other_kinds_is_refused(copy: Path, name: str) -> None:
    changes, words = RUN_FILES[name]
    change_run(copy, **changes)
    with pytest.raises(SsltutError, match=words):
        load_run(copy)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"steps": "four"}, "steps is 'four'"),
        ({"patch": 16}, "patch is 16"),
        ({"patch": [16, 16]}, "patch is"),
        ({"betas": [0.9, None]}, "betas is"),
        ({"dropout": 1e308}, "dropout is 1e"),
        ({"depth": 10**9}, "depth is 1000000000"),
        ({"width": True}, "width is True"),
        ({"lr": float("nan")}, "lr is nan"),
    ],
)
def test_a_configuration_of_other_kinds_is_refused(copy: Path, changes: dict, words: str) -> None:
    config = json.loads((copy / "run.json").read_text())["config"]
    change_run(copy, config=config | changes)
    with pytest.raises(ConfigError, match=words):
        load_run(copy)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stopped after two steps of four."""
    folder = tmp_path_factory.mktemp("stopped") / "run"
    made = make_method("labels_only")
    quiet = {"log": lambda line: None, "progress": False}
    run = train(made, toy_cohort(), SMALL, folder, stop_after=SMALL.validate_every, **quiet)
    assert run.selected["step"] == SMALL.validate_every < SMALL.steps
    return folder


def test_a_run_that_was_stopped_does_not_predict_unless_it_is_meant(stopped: Path) -> None:
    words = f"not finished: {SMALL.validate_every} of {SMALL.steps} steps.*--unfinished"
    with pytest.raises(CheckpointError, match=words):
        load_run(stopped)
    run = load_run(stopped, unfinished=True)
    assert run.predict(toy_case(1)).shape == (16, 16, 16)


def test_a_finished_run_needs_no_word(plain: Run) -> None:
    check_finished(plain.folder)
    assert load_run(plain.folder, unfinished=True).selected == plain.selected


def test_a_run_killed_between_its_two_files_goes_by_its_weights(
    stopped: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(stopped, tmp_path / "killed"))
    rewrite(folder, lambda g, m: m.update(step=4, best=m["best"] | {"step": 4}))
    assert load_run(folder, unfinished=True).selected["step"] == 4


def test_the_commands_refuse_a_stopped_run_in_a_line(stopped: Path, tmp_path: Path) -> None:
    write_cohort(toy_cohort(), tmp_path / "scans")
    scan = tmp_path / "scans" / "images" / "case0.nii.gz"
    out = ("--out", tmp_path / "out", "--workers", 0)
    training = ("--init", stopped, "--profile", "smoke", "--steps", 1, "--method", "labels_only")
    commands = {
        "predict": (stopped, scan, *out),
        "evaluate": (stopped, tmp_path / "scans"),
        "train": (tmp_path / "scans", "--out", tmp_path / "new", *training),
    }
    for name, words in commands.items():
        code, _, err = ssltut(name, *words)
        assert code == 2
        assert len(err) == 1
        assert f"not finished: {SMALL.validate_every} of {SMALL.steps} steps" in err[0]
    assert ssltut("predict", *commands["predict"], "--unfinished")[0] == 0
    assert ssltut("evaluate", *commands["evaluate"], "--unfinished")[0] == 0


def test_probabilities_that_are_not_finite_are_no_prediction(plain: Run) -> None:
    run, case = load_run(plain.folder), toy_case(1)
    assert np.isfinite(run.probabilities(case)).all()
    for parameter in run.nets["student"].parameters():
        parameter.data *= float("nan")
    with pytest.raises(CheckpointError, match=f"gives {case.id} probabilities that are not finite"):
        run.predict(case)


def test_meta_data_are_of_their_kinds(tmp_path: Path) -> None:
    meta = {"primary": "x", "step": 1, "best": None, "history": [], "intensity": [0.0, 1]}
    save_checkpoint(tmp_path / "c", {}, meta)
    assert load_checkpoint(tmp_path / "c", META) == ({}, meta)
