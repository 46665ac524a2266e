"""The rules of the bench: what is the same for every method, whatever it does."""

import warnings
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from toy import SMALL, hips, toy_cohort
from toy_run import quiet, run_of

from ssltut.data.cohort import Cohort, condition
from ssltut.errors import ConfigError, DataWarning
from ssltut.evaluation.statistics import baseline_of
from ssltut.methods.registry import METHODS, make_method
from ssltut.training import steps
from ssltut.training.batch_norm import norms_of
from ssltut.training.checkpoint import load_checkpoint
from ssltut.training.config import PROFILES, TrainConfig
from ssltut.training.loop import train
from ssltut.training.steps import open_run

BATCH = replace(SMALL, norm="batch")


def test_the_last_weights_of_a_falling_rate_are_the_rule_of_every_profile():
    for profile in PROFILES.values():
        for config in (profile.train, profile.teacher):
            assert (config.select, config.decay) == ("last", 0.9)


def test_last_is_the_last_step_however_it_scores(tmp_path):
    run = run_of("labels_only", tmp_path / "r")
    assert run.selected["step"] == SMALL.steps
    assert run.selected["rule"] == "last"


@pytest.mark.parametrize("name", ["labels_only", "all_labels"])
def test_a_bound_has_all_its_patches_labelled(name, tmp_path):
    cohort = toy_cohort().with_budget("all") if name == "all_labels" else toy_cohort()
    batch = open_run(make_method(name), cohort, SMALL, tmp_path / "r").draw(0)
    assert len(batch.x_l) == SMALL.labelled + SMALL.unlabelled
    assert batch.x_u is None


def test_the_control_sees_unlabelled_patches_and_learns_nothing_of_them(tmp_path):
    training = open_run(make_method("same_batch"), toy_cohort(), BATCH, tmp_path / "r")
    batch = training.draw(0)
    assert len(batch.unlabelled) == SMALL.unlabelled
    outs = training.method.forward(batch, training.nets, None)
    assert len(outs["student"].whole.logits) == SMALL.labelled + SMALL.unlabelled
    other = replace(batch, x_u=batch.unlabelled + 1.0)
    values = [training.method.losses(b, training.nets, None) for b in (batch, other)]
    assert list(values[0]) == ["supervised"]
    # only through the statistics of the batch
    assert values[0]["supervised"].value != values[1]["supervised"].value
    plain = open_run(
        make_method("same_batch"),
        toy_cohort(),
        replace(SMALL, norm="instance", dropout=0.0),
        tmp_path / "i",
    )
    first, second = (plain.method.losses(b, plain.nets, None) for b in (batch, other))
    assert torch.equal(first["supervised"].value, second["supervised"].value)


def test_a_method_without_loss_weights_is_never_idle():
    names = {name for name, method in METHODS.items() if not method.loss_weights}
    assert names == {"labels_only", "same_batch", "all_labels"}
    assert not any(make_method(name).idle for name in METHODS)


def test_averages_of_batch_norm_are_settled_before_weights_are_scored_and_kept(
    tmp_path, monkeypatch
):
    """The running averages of training lag behind the weights; those in best.safetensors do not."""
    scored = []
    plain = steps.validation_scores

    def score(method, nets, *rest):
        scored.append([norm.running_mean.clone() for norm in norms_of(nets["student"])])
        return plain(method, nets, *rest)

    monkeypatch.setattr(steps, "validation_scores", score)
    train(make_method("labels_only"), toy_cohort(), BATCH, tmp_path / "r", log=quiet)
    states = [
        load_checkpoint(tmp_path / "r" / f"{name}.safetensors")[0]["net.student"]
        for name in ("best", "last")
    ]
    best, last = (
        [value for key, value in state.items() if key.endswith("running_mean")] for state in states
    )
    assert all(torch.equal(a, b) for a, b in zip(scored[-1], best, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(best, last, strict=True))


def test_weights_chosen_by_few_scans_are_a_lottery_and_a_warning_says_so(tmp_path):
    with pytest.warns(DataWarning, match="1 validation scans choose the weights, which"):
        open_run(make_method("labels_only"), toy_cohort(), replace(SMALL, select="dice"), tmp_path)
    enough = toy_cohort(14).with_validation(6)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        open_run(make_method("labels_only"), toy_cohort(), SMALL, tmp_path / "last")
        open_run(make_method("labels_only"), enough, replace(SMALL, select="dice"), tmp_path / "d")


def test_what_no_scan_can_teach_is_warned_of(tmp_path):
    whole = toy_cohort()
    first, second = whole.split.labelled
    lacking = [
        replace(case, label=np.where(case.label == 2, 0, case.label))
        if case.id in (first, second)
        else case
        for case in map(whole.case, whole.split.all)
    ]
    no_femur = Cohort.from_cases(lacking, whole.split, whole.table, "toy")
    with pytest.warns(DataWarning, match="femur is in none of the 2 labelled scans"):
        open_run(make_method("labels_only"), no_femur, SMALL, tmp_path / "no femur")
    alone = replace(whole, split=replace(whole.split, unlabelled=()))
    with pytest.warns(DataWarning, match="UA-MT learns from unlabelled scans, and there are none"):
        open_run(make_method("ua_mt"), alone, SMALL, tmp_path / "alone")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        open_run(make_method("ua_mt"), whole, SMALL, tmp_path / "whole")
        open_run(make_method("labels_only"), alone, SMALL, tmp_path / "labels only")


def ill(cohort: Cohort, conditions: str) -> Cohort:
    """The cohort with the condition of each scan named by a letter, "-" for none."""
    for case_id, letter in zip(cohort.split.all, conditions, strict=True):
        case = cohort.case(case_id)
        pathology = {letter: 1.0} if letter != "-" else {}
        cohort._loaded[case_id] = replace(case, meta=case.meta | {"pathology": pathology})
    return cohort


def test_validation_scans_are_as_varied_as_the_test():
    # labelled 2, unlabelled 7, validation 1, test 2: one healthy, one with metal
    cohort = ill(toy_cohort(12), "--" + "ooo--mm" + "o" + "-m")
    drawn = cohort.with_validation(4)
    kinds = Counter(condition(drawn.case(i)) for i in drawn.split.validation)
    assert kinds == {"none": 2, "m": 2}
    assert sorted(drawn.split.all) == sorted(cohort.split.all)
    assert drawn.split.labelled == cohort.split.labelled
    assert drawn.split.test == cohort.split.test
    with pytest.raises(
        ConfigError, match="5 scans wanted, but only 4 with labels resemble the test"
    ):
        cohort.with_validation(5)


def test_the_condition_of_a_synthetic_scan_is_its_illness():
    names = {condition(hips().case(case_id)) for case_id in hips().split.all}
    assert names <= {"none", "osteoarthritis", "dysplasia", "osteoporosis", "implant"}
    assert len(names) > 1
    assert condition(toy_cohort().case("case0")) == "none"


def test_gains_are_measured_from_the_control_where_it_was_run():
    assert baseline_of(["ua_mt", "same_batch", "labels_only"]) == "same_batch"
    assert baseline_of(["ua_mt", "labels_only"]) == "labels_only"


def test_norms_have_names():
    assert {TrainConfig(norm=norm).norm for norm in ("batch", "instance", "group")}
    with pytest.raises(ConfigError, match="norm is 'layer'"):
        TrainConfig(norm="layer")
