"""Comparisons: the statistics against values computed by hand, and a small sweep that stops, fails and goes on."""

import json
from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest
from toy import SMALL, toy_case, toy_cohort

import ssltut.train
from ssltut.compare import bootstrap_interval, compare, holm, order_of, paired, patient_values, provenance, score_run, summary, verdict
from ssltut.errors import ConfigError, DataError, TrainingError
from ssltut.metrics import METRICS

TINY = replace(SMALL, steps=1, validate_every=1)


def table(values, *, metric="dice", budget=4, status="ok"):
    """Rows from {method: {(patient, seed, class): value}}."""
    return pd.DataFrame([{"method": m, "budget": budget, "seed": s, "case": p, "patient": p, "class": c, "metric": metric, "value": v,
                          "status": status} for m, cells in values.items() for (p, s, c), v in cells.items()])


def by_patient(method_values, **options):
    return table({m: {(f"p{i}", 0, "bone"): v for i, v in enumerate(values)} for m, values in method_values.items()}, **options)


# Statistics

def test_a_patient_is_the_unit():
    rows = table({"labels_only": {("p", 0, "a"): 0.2, ("p", 0, "b"): 0.4, ("p", 1, "a"): 0.8, ("p", 1, "b"): 1.0, ("q", 0, "a"): 0.5}})
    assert patient_values(rows, "dice")["labels_only"].to_dict() == pytest.approx({"p": (0.3 + 0.9) / 2, "q": 0.5})
    with pytest.raises(ConfigError, match="no metric 'dise'"):
        patient_values(rows, "dise")


def test_summary_by_hand():
    row = summary(by_patient({"labels_only": [0.5, 0.7, 0.9]}), "dice").iloc[0]
    assert (row["mean"], row["median"], row["patients"], row["scored"], row["missed"], row["failed"]) == (pytest.approx(0.7), 0.7, 3, 3, 0, 0)
    assert row["low95"] == pytest.approx(0.5) and row["high95"] == pytest.approx(0.9) and np.isnan(row["sd over seeds"])
    seeds = {("p", 0, "a"): 0.5, ("q", 0, "a"): 0.7, ("p", 1, "a"): 0.7, ("q", 1, "a"): 0.9}
    assert summary(table({"ua_mt": seeds}), "dice")["sd over seeds"].iloc[0] == pytest.approx(np.sqrt(0.02))


def test_missed_structures_are_scored_and_counted():
    rows = pd.concat([by_patient({"ua_mt": [0.8, 0.6]}), by_patient({"ua_mt": [0.0]}, status="missed").assign(patient="p9")])
    row = summary(rows, "dice").iloc[0]
    assert row["mean"] == pytest.approx(1.4 / 3) and (row["patients"], row["scored"], row["missed"]) == (3, 3, 1)


def test_empty_structures_are_left_out_of_the_mean():
    rows = pd.concat([by_patient({"ua_mt": [0.8, 0.6]}), by_patient({"ua_mt": [np.nan]}, status="both_empty").assign(patient="p9")])
    row = summary(rows, "dice").iloc[0]
    assert row["mean"] == pytest.approx(0.7) and (row["patients"], row["scored"]) == (2, 2)


def test_budgets_are_not_mixed():
    rows = pd.concat([by_patient({"ua_mt": [0.5, 0.5], "labels_only": [0.4, 0.4]}), by_patient({"ua_mt": [0.9], "labels_only": [0.9]}, budget=8)])
    assert summary(rows, "dice").set_index(["budget", "method"])["mean"].to_dict() == pytest.approx(
        {(4, "labels_only"): 0.4, (4, "ua_mt"): 0.5, (8, "labels_only"): 0.9, (8, "ua_mt"): 0.9})
    assert paired(rows, "dice")["difference"].tolist() == pytest.approx([0.1, 0.0])


def test_a_method_that_always_failed_is_in_the_table():
    failed = pd.DataFrame([{"method": "ua_mt", "budget": 4, "seed": 0, "status": "failed"}])
    found = summary(pd.concat([by_patient({"labels_only": [0.5]}), failed]), "dice").set_index("method")
    assert found.loc["ua_mt", "failed"] == 1 and np.isnan(found.loc["ua_mt", "mean"]) and found.loc["labels_only", "failed"] == 0


def test_bounds_come_first_and_last():
    assert order_of(["all_labels", "embedding_matching", "labels_only", "ua_mt"]) == ["labels_only", "ua_mt", "embedding_matching", "all_labels"]


def test_bootstrap_interval_is_exact_for_two_values():
    # of the 4 equally likely resamples of (0, 1) one has mean 0, two 0.5, one 1: a quarter on either side
    assert bootstrap_interval(np.array([0.0, 1.0]), level=0.4) == (0.5, 0.5) and bootstrap_interval(np.array([0.0, 1.0]), level=0.6) == (0.0, 1.0)
    assert bootstrap_interval(np.array([3.0, 3.0, np.nan])) == (3.0, 3.0) and np.isnan(bootstrap_interval(np.array([3.0, np.nan]))).all()


def test_bootstrap_interval_of_normal_values():
    values = np.random.default_rng(0).normal(10.0, 2.0, 400)
    low, high = bootstrap_interval(values)
    assert (low, high) == pytest.approx((values.mean() - 1.96 * values.std() / 20, values.mean() + 1.96 * values.std() / 20), abs=0.03)
    assert (low, high) == bootstrap_interval(values) != bootstrap_interval(values, seed=1)


def test_holm_by_hand():
    # sorted .005 .01 .03 .04 -> x4 = .02, x3 = .03, x2 = .06, x1 = .04 raised to .06
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.02, np.nan, 0.9]) == pytest.approx([0.04, np.nan, 0.9], nan_ok=True) and holm([0.7, 0.8]) == [1.0, 1.0] and holm([]) == []


def signed_rank_p(difference):
    """The exact two-sided Wilcoxon p by counting all signs."""
    ranks = np.abs(difference).argsort().argsort() + 1
    center = ranks.sum() / 2
    seen = abs(ranks[difference > 0].sum() - center)
    sums = [abs(sum(r for r, s in zip(ranks, signs, strict=True) if s) - center) for signs in product([0, 1], repeat=len(ranks))]
    return np.mean([s >= seen - 1e-9 for s in sums])


def test_paired_by_hand():
    baseline = np.array([0.50, 0.60, 0.70, 0.40, 0.55, 0.65])
    gains = {"mean_teacher": [0.01, 0.02, 0.03, 0.04, 0.05, 0.06], "ua_mt": [0.01, -0.02, 0.03, -0.04, 0.05, -0.06], "all_labels": [0.0] * 6}
    found = paired(by_patient({"labels_only": baseline} | {m: baseline + g for m, g in gains.items()}), "dice").set_index("method")
    assert list(found.index) == ["mean_teacher", "ua_mt", "all_labels"]
    assert found["difference"].to_list() == pytest.approx([0.035, -0.005, 0.0])
    assert found.loc["mean_teacher", "p"] == pytest.approx(2 / 64) == signed_rank_p(np.array(gains["mean_teacher"]))
    assert found.loc["ua_mt", "p"] == pytest.approx(signed_rank_p(np.array(gains["ua_mt"]))) and np.isnan(found.loc["all_labels", "p"])
    assert found["p Holm"].iloc[0] == pytest.approx(4 / 64)
    assert found[["wins", "ties", "losses"]].to_numpy().tolist() == [[6, 0, 0], [3, 0, 3], [0, 6, 0]]
    distance = paired(by_patient({"labels_only": [9.0, 9.0, 9.0], "ua_mt": [4.0, 5.0, 10.0]}, metric="hd95"), "hd95").iloc[0]
    assert (distance["wins"], distance["losses"], distance["difference"]) == (2, 1, pytest.approx(-8 / 3))


def test_the_baseline_must_be_there():
    with pytest.raises(ConfigError, match="baseline 'ua_mt' has no results with 4"):
        paired(by_patient({"labels_only": [0.5]}), "dice", "ua_mt")
    assert paired(by_patient({"labels_only": [0.5]}), "dice").empty


def test_verdicts():
    same = paired(by_patient({"labels_only": [0.5, 0.6, 0.7], "ua_mt": [0.6, 0.5, 0.7]}), "dice")
    assert verdict(same).startswith("No difference to the baseline holds")
    values = np.linspace(0.3, 0.6, 12)
    rows = {"labels_only": values, "ua_mt": values + np.linspace(0.1, 0.2, 12), "mean_teacher": values - 0.01 * (-1.0) ** np.arange(12)}
    better = verdict(paired(by_patient(rows), "dice"))
    assert "UA-MT is better by 0.15 (4 labelled)" in better and "The other differences do not hold." in better and "mean teacher" not in better
    assert "UA-MT is worse" in verdict(paired(by_patient({m: rows[m] for m in ("labels_only", "ua_mt")}, metric="assd"), "assd"))
    assert "nothing to compare" in verdict(paired(by_patient({"labels_only": [0.5]}), "dice"))


# Sweeps

@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    folder, said = tmp_path_factory.mktemp("sweeps") / "first", []
    rows = compare(toy_cohort(), ["labels_only", "ua_mt", "all_labels"], folder, config=TINY, budgets=[2, 3], seeds=[0, 1], say=said.append)
    return folder, rows, said


def test_one_row_per_case_class_and_metric(swept):
    folder, rows, said = swept
    assert len(rows) == 3 * 2 * 2 * 2 * 2 * len(METRICS) and len(said) == 12 and said[0].startswith("[1/12] labels only, 2 labelled, seed 0: Dice")
    assert not rows.duplicated(["method", "budget", "seed", "case", "class", "metric"]).any()
    assert set(rows["case"]) == set(toy_cohort().split.test) and set(rows["class"]) == {"hip bone", "femur"}
    needed = ["cohort", "config", "settings", "options", "command", "commit", "machine", "seconds", "selection", "selected_step", "difficulty"]
    assert rows[needed].notna().all().all() and (rows["selection"] == "dice").all() and rows["error"].isna().all()
    assert json.loads(rows["settings"].iloc[0])["lr"] == TINY.lr and json.loads(rows["options"][rows["method"] == "ua_mt"].iloc[0])["passes"] == 8
    read = pd.read_csv(folder / "results.csv", dtype={"case": str, "patient": str})
    pd.testing.assert_frame_equal(read, rows)


def test_the_upper_bound_is_trained_once_for_all_budgets(swept):
    assert sorted(p.name.rsplit("-", 1)[0] for p in (swept[0] / "runs").iterdir()) == sorted(
        [f"{m}-{s}" for m in ("labels_only", "ua_mt") for s in (0, 0, 1, 1)] + ["all_labels-0", "all_labels-1"])


def test_a_second_call_trains_nothing(swept, monkeypatch):
    monkeypatch.setattr(ssltut.train, "train", lambda *args, **options: pytest.fail("trained again"))
    again = compare(toy_cohort(), ["labels_only", "ua_mt"], swept[0], config=TINY, budgets=[2, 3], seeds=iter([0, 1]), say=lambda s: None)
    first = swept[1][swept[1]["method"] != "all_labels"]
    assert again["value"].tolist() == first["value"].tolist()


@pytest.mark.parametrize("change", [{"config": replace(TINY, lr=2e-2)}, {"options": {"ua_mt": {"passes": 2}}}, {"draw": False}, {"cohort": 9}])
def test_another_configuration_does_not_reuse_rows(swept, change, monkeypatch):
    class Trained(Exception):
        pass

    def stop(*args, **options):
        raise Trained

    monkeypatch.setattr(ssltut.train, "train", stop)
    settings = {"config": TINY} | {k: v for k, v in change.items() if k != "cohort"}
    with pytest.raises(Trained):
        compare(toy_cohort(change.get("cohort", 8)), ["ua_mt"], swept[0], budgets=[2], seeds=[1], say=lambda s: None, **settings)


def test_scans_are_drawn_or_taken_in_the_published_order(tmp_path, monkeypatch):
    seen = {}

    def look(method, cohort, config, folder, **options):
        seen.setdefault(method.name, []).append(cohort.split.labelled)
        raise TrainingError("only looking")

    monkeypatch.setattr(ssltut.train, "train", look)
    for draw in (True, False):
        seen.clear()
        compare(toy_cohort(12), ["labels_only", "ua_mt"], tmp_path / str(draw), config=TINY, budgets=[3], draw=draw, say=lambda s: None)
        assert seen["labels_only"] == seen["ua_mt"] and len(set(seen["ua_mt"])) == (3 if draw else 1)
        assert draw or seen["ua_mt"][0] == ("case0", "case1", "case2")


def test_a_failed_run_is_a_row_and_is_tried_again(tmp_path, monkeypatch):
    real, said = ssltut.train.train, []

    def fail(method, *args, **options):
        if method.name == "ua_mt":
            raise TrainingError("loss term consistency is not finite", where=tmp_path)
        return real(method, *args, **options)

    monkeypatch.setattr(ssltut.train, "train", fail)
    rows = compare(toy_cohort(), ["ua_mt", "labels_only"], tmp_path / "s", config=TINY, budgets=[2], seeds=[0], say=said.append)
    failed = rows[rows["method"] == "ua_mt"]
    assert len(failed) == 1 and failed["status"].iloc[0] == "failed" and "consistency is not finite" in failed["error"].iloc[0]
    assert failed[["config", "command", "commit", "machine", "settings"]].notna().all().all()
    assert "failed: " in said[0] and (rows["method"] == "labels_only").sum() == 4 * len(METRICS)
    assert summary(rows, "dice").set_index("method").loc["ua_mt", "failed"] == 1
    monkeypatch.undo()
    mended = compare(toy_cohort(), ["ua_mt", "labels_only"], tmp_path / "s", config=TINY, budgets=[2], seeds=[0], say=said.append)
    assert not (mended["status"] == "failed").any() and (mended["method"] == "ua_mt").sum() == 4 * len(METRICS)


def test_a_comparison_stopped_in_its_first_run_goes_on(tmp_path, monkeypatch):
    def stopped(method, cohort, config, folder, **options):
        (folder / "run.json").parent.mkdir(parents=True)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(ssltut.train, "train", stopped)
        compare(toy_cohort(), ["labels_only"], tmp_path / "s", config=TINY, budgets=[2], seeds=[0])
    assert len(compare(toy_cohort(), ["labels_only"], tmp_path / "s", config=TINY, budgets=[2], seeds=[0]))


def test_impossible_comparisons_are_refused_before_training(tmp_path, monkeypatch):
    monkeypatch.setattr(ssltut.train, "train", lambda *args, **options: pytest.fail("trained"))
    for methods, budgets, words in ((["ua_mt", "ua_tm"], [2], "did you mean ua_mt"), (["ua_mt"], [2, 60], "a budget of 60")):
        with pytest.raises(ConfigError, match=words):
            compare(toy_cohort(), methods, tmp_path / "s", config=TINY, budgets=budgets)
    assert not (tmp_path / "s").exists()
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "results.csv").write_text("mine")
    with pytest.raises(ConfigError, match="holds no comparison"):
        compare(toy_cohort(), ["ua_mt"], tmp_path / "s", config=TINY, budgets=[2])
    assert (tmp_path / "s" / "results.csv").read_text() == "mine"


def test_scoring_needs_labels(swept):
    run = ssltut.train.load_run(next((swept[0] / "runs").glob("labels_only-*")))
    with pytest.raises(DataError, match="case3: the case has no label"):
        score_run(run, [toy_case(3).without_label()])
    assert set(score_run(run, [toy_case(3)])["case"]) == {"case3"}


def test_provenance_says_how_a_row_was_made(monkeypatch):
    monkeypatch.setattr("sys.argv", ["/somewhere/ssltut", "compare", "cohort"])
    assert provenance()["command"] == "ssltut compare cohort" and set(provenance()) == {"command", "commit", "machine"}
    monkeypatch.setattr("subprocess.run", lambda *args, **options: (_ for _ in ()).throw(OSError("no git")))
    assert provenance()["commit"] == "unknown"
