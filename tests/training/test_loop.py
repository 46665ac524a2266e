"""The training loop: history, selection, callbacks, learning rate and non-finite losses."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from toy import SMALL, EachStep, toy_case, toy_cohort
from toy_run import quiet, run_of, same_weights

from ssltut.data.batch import Batch
from ssltut.data.cohort import Cohort
from ssltut.data.labels import HIP
from ssltut.data.split import Split
from ssltut.errors import TrainingError
from ssltut.methods.contract import Term
from ssltut.methods.registry import LabelsOnly, make_method
from ssltut.training.callbacks import Callback
from ssltut.training.config import TrainConfig
from ssltut.training.loop import train
from ssltut.training.run import load_run
from ssltut.training.steps import check_finite, open_run


def test_history_adds_up(tmp_path):
    history = run_of("embedding_matching", tmp_path / "r").history
    terms = ["supervised", "reliable", "match", "entropy"]
    assert [f"{t} weight" in history and t in history for t in terms] == [True] * 4
    assert {"reliable share", "match share", "entropy share"} <= set(history)
    assert "supervised share" not in history
    assert list(history["step"]) == [0, 1, 2, 3]
    assert sum(history[t] * history[f"{t} weight"] for t in terms).to_numpy() == pytest.approx(
        history["total"].to_numpy(), rel=1e-5
    )
    assert history["validation dice"].notna().tolist() == [False, True, False, True]
    assert (history["reliable share"] + history["match share"]).to_numpy() == pytest.approx(1.0)


def test_selection_is_by_validation_and_saved(tmp_path, monkeypatch):
    import ssltut.training.steps

    scores = iter(
        [{"dice": 0.5, "hd95": 9.0}, {"dice": 0.7, "hd95": 5.0}, {"dice": 0.6, "hd95": 4.0}] * 3
    )
    monkeypatch.setattr(ssltut.training.steps, "validation_scores", lambda *args: next(scores))
    config, seen = replace(SMALL, steps=3, validate_every=1), {}

    def keep(step, nets, batch, terms):
        seen[step + 1] = nets["student"].classifier.weight.detach().clone()

    for rule, step, score in (("dice", 2, 0.7), ("hd95", 3, 4.0), ("last", 3, 0.6)):
        seen.clear()
        run = run_of(
            folder=tmp_path / rule,
            config=replace(config, select=rule),
            callbacks=[EachStep(keep)],
        )
        assert run.selected == {"step": step, "rule": rule, "score": score}
        assert torch.equal(run.nets["student"].classifier.weight, seen[step])
        assert json.loads((tmp_path / rule / "run.json").read_text())["finished"]


def test_the_test_split_is_never_opened(tmp_path):
    cohort = toy_cohort()
    for case_id in cohort.split.test:
        cohort.sources[case_id] = cohort.sources[case_id]._replace(
            load=lambda: pytest.fail("the test split was opened")
        )
    assert run_of("ua_mt", tmp_path / "r", cohort=cohort).selected["rule"] == "last"


def test_a_callback_changes_nothing(plain, tmp_path):
    steps = []

    def look(step, nets, batch, terms):
        steps.append((step, sorted(terms)))
        torch.rand(7)
        np.random.rand(3)

    watched = run_of(folder=tmp_path / "watched", callbacks=[EachStep(look)])
    assert steps == [(s, ["supervised"]) for s in range(4)]
    assert same_weights(plain.nets["student"], watched.nets["student"])


def test_other_sizes_and_one_validation_scan_of_background(tmp_path):
    cases = [toy_case(i, size=12 + 2 * i) for i in range(4)]
    cases[2].label[:] = 0  # nothing to find in the validation scan
    split = Split(("case0",), ("case1",), ("case2",), ("case3",))
    run = run_of(
        "embedding_matching", tmp_path / "r", cohort=Cohort.from_cases(cases, split, HIP, "sizes")
    )
    assert len(run.history) == 4
    assert run.predict(cases[3]).shape == (18, 18, 18)


def test_the_rate_falls_as_one_minus_the_fraction_to_the_power_of_decay(monkeypatch, tmp_path):
    rates, plain = [], torch.optim.Adam.step
    monkeypatch.setattr(
        torch.optim.Adam,
        "step",
        lambda self, *rest: (rates.append(self.param_groups[0]["lr"]), plain(self, *rest))[1],
    )
    run_of(folder=tmp_path, config=replace(SMALL, steps=4, validate_every=4, lr=0.1, decay=2.0))
    assert rates == pytest.approx([0.1, 0.1 * 0.75**2, 0.1 * 0.5**2, 0.1 * 0.25**2])
    older = {name: value for name, value in SMALL.to_dict().items() if name != "decay"}
    assert TrainConfig.from_dict(older) == replace(SMALL, decay=0.0)
    assert TrainConfig.from_dict(SMALL.to_dict()) == SMALL


class Broken(LabelsOnly):
    def terms(self, batch, nets, outs, progress):
        good = super().terms(batch, nets, outs, progress)
        return good | {
            "spoiled": Term(
                good["supervised"].value * (float("nan") if progress.step == 1 else 1.0)
            )
        }


def test_a_non_finite_loss_stops_and_tells(tmp_path):
    scans = r"\(labelled (case\d, ){3}case\d; unlabelled none\)"
    with pytest.raises(TrainingError, match=f"loss term spoiled is not finite at step 1 {scans}"):
        train(Broken(), toy_cohort(), SMALL, tmp_path / "r", log=quiet)
    report = json.loads((tmp_path / "r" / "nonfinite.json").read_text())
    assert report["step"] == 1
    assert set(report["terms"]) == {"supervised", "spoiled"}
    assert len(report["labelled"]) == SMALL.labelled + SMALL.unlabelled
    assert not (tmp_path / "r" / "best.safetensors").exists()


def test_finite_losses_are_silent(tmp_path):
    batch = Batch(torch.zeros(1), torch.zeros(1), None, ("a",), (), 2, 0)
    check_finite({"supervised": Term(torch.tensor(1.0))}, batch, 0, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_callback_is_told_the_end_of_a_run_but_not_of_one_that_was_done(tmp_path):
    class Ends(Callback):
        def __init__(self):
            self.runs = []

        def on_end(self, run):
            self.runs.append(run)

    ends = Ends()
    run_of(folder=tmp_path, callbacks=[ends], stop_after=3)  # as if killed
    assert ends.runs == []
    run = run_of(folder=tmp_path, callbacks=[ends])
    assert ends.runs == [run]
    run_of(folder=tmp_path, callbacks=[ends])
    assert ends.runs == [run]


def test_the_steps_of_a_training_can_be_taken_one_by_one(tmp_path, plain):
    training = open_run(make_method("labels_only"), toy_cohort(), SMALL, tmp_path / "run")
    for step in range(SMALL.steps):
        terms = training.step(training.draw(step))
        assert training.history[-1]["supervised"] == terms["supervised"].value.item()
        if training.done % SMALL.validate_every == 0:
            scores = training.validate()
    assert scores["dice"] == plain.history["validation dice"].iloc[-1]
    assert same_weights(plain.nets["student"], load_run(tmp_path / "run").nets["student"])


def test_the_lock_of_a_run_that_was_killed_when_it_was_done_goes(plain, tmp_path):
    shutil.copytree(plain.folder, tmp_path / "run")
    (tmp_path / "run" / ".lock").touch()
    run_of(folder=tmp_path / "run")
    assert not (tmp_path / "run" / ".lock").exists()
