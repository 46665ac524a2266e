"""Comparisons: a small sweep that is killed, goes on, and does nothing twice."""

import io
import json
import os
import subprocess
import sys
import time
from dataclasses import replace

import pandas as pd
import pytest
import torch
from toy import SMALL, toy_cohort

import ssltut.training.loop
import ssltut.training.run
from ssltut.errors import ConfigError, TrainingError
from ssltut.evaluation.compare import compare, is_done
from ssltut.evaluation.record import COLUMNS, read_rows
from ssltut.metrics import METRICS

TINY = replace(SMALL, steps=1, validate_every=1)


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    folder, said = tmp_path_factory.mktemp("sweeps") / "first", []
    rows = compare(
        toy_cohort(),
        ["labels_only", "ua_mt", "all_labels"],
        folder,
        config=TINY,
        budgets=[2, 3],
        seeds=[0, 1],
        log=said.append,
    )
    return folder, rows, said


def test_one_row_per_case_class_and_metric(swept):
    folder, rows, said = swept
    assert len(rows) == 3 * 2 * 2 * 2 * 2 * len(METRICS)
    assert len(said) == 12
    assert said[0].startswith("[1/12] labels only, 2 labelled, seed 0: Dice")
    assert not rows.duplicated(["method", "budget", "seed", "case", "class", "metric"]).any()
    assert set(rows["case"]) == set(toy_cohort().split.test)
    assert set(rows["class"]) == {"hip bone", "femur"}
    needed = [
        "cohort",
        "config",
        "settings",
        "options",
        "command",
        "commit",
        "machine",
        "seconds",
        "selection",
        "selected_step",
        "difficulty",
    ]
    assert rows[needed].notna().all().all()
    assert (rows["selection"] == "last").all()
    assert rows["error"].isna().all()
    assert json.loads(rows["settings"].iloc[0])["lr"] == TINY.lr
    assert json.loads(rows["options"][rows["method"] == "ua_mt"].iloc[0])["passes"] == 8
    assert list(rows.columns) == COLUMNS
    read = read_rows(folder / "results.csv")
    pd.testing.assert_frame_equal(read, rows)


@pytest.mark.parametrize("content", ["", "a,b\n1,2\n", "\0\0", None])
def test_a_damaged_file_of_rows_is_no_result(swept, tmp_path, content):
    whole = sorted((swept[0] / "rows").glob("*.csv"))[0]
    cases = toy_cohort().split.test
    assert is_done(whole, cases)
    assert not is_done(tmp_path / "none.csv", cases)
    text = whole.read_text()
    (tmp_path / "cut.csv").write_text(text[: len(text) // 3] if content is None else content)
    assert not is_done(tmp_path / "cut.csv", cases)


def test_rows_with_a_word_in_the_place_of_a_number_are_no_result(swept, tmp_path):
    whole = sorted((swept[0] / "rows").glob("*.csv"))[0]
    rows = pd.read_csv(whole, dtype=str)
    rows.loc[0, "value"] = "<b>"
    rows.to_csv(tmp_path / "word.csv", index=False)
    assert not is_done(tmp_path / "word.csv", toy_cohort().split.test)


def test_the_upper_bound_is_trained_once_for_all_budgets(swept):
    assert sorted(p.name.rsplit("-", 1)[0] for p in (swept[0] / "runs").iterdir()) == sorted(
        [f"{m}-{s}" for m in ("labels_only", "ua_mt") for s in (0, 0, 1, 1)]
        + ["all_labels-0", "all_labels-1"]
    )


def test_a_second_call_trains_nothing(swept, monkeypatch):
    monkeypatch.setattr(
        ssltut.training.loop, "train", lambda *args, **options: pytest.fail("trained again")
    )
    again = compare(
        toy_cohort(),
        ["labels_only", "ua_mt"],
        swept[0],
        config=TINY,
        budgets=[2, 3],
        seeds=iter([0, 1]),
        log=lambda s: None,
    )
    first = swept[1][swept[1]["method"] != "all_labels"]
    assert again["value"].tolist() == first["value"].tolist()


@pytest.mark.parametrize(
    "change",
    [
        {"config": replace(TINY, lr=2e-2)},
        {"options": {"ua_mt": {"passes": 2}}},
        {"draw": False},
        {"cohort": 9},
    ],
)
def test_another_configuration_does_not_reuse_rows(swept, change, monkeypatch):
    class Trained(BaseException):
        pass

    def stop(*args, **options):
        raise Trained

    monkeypatch.setattr(ssltut.training.loop, "train", stop)
    settings = {"config": TINY} | {k: v for k, v in change.items() if k != "cohort"}
    with pytest.raises(Trained):
        compare(
            toy_cohort(change.get("cohort", 8)),
            ["ua_mt"],
            swept[0],
            budgets=[2],
            seeds=[1],
            log=lambda s: None,
            **settings,
        )


def test_scans_are_drawn_or_taken_in_the_published_order(tmp_path, monkeypatch):
    seen = {}

    def look(method, cohort, config, folder, **options):
        seen.setdefault(method.name, []).append(cohort.split.labelled)
        raise TrainingError("only looking")

    monkeypatch.setattr(ssltut.training.loop, "train", look)
    for draw in (True, False):
        seen.clear()
        compare(
            toy_cohort(12),
            ["labels_only", "ua_mt"],
            tmp_path / str(draw),
            config=TINY,
            budgets=[3],
            draw=draw,
            log=lambda s: None,
        )
        assert seen["labels_only"] == seen["ua_mt"]
        assert len(set(seen["ua_mt"])) == (3 if draw else 1)
        assert draw or seen["ua_mt"][0] == ("case0", "case1", "case2")


def test_a_larger_budget_keeps_the_scans_of_a_smaller_one():
    drawn = {
        (n, seed): toy_cohort(12).with_budget(n, seed).split.labelled
        for n in (2, 4)
        for seed in range(3)
    }
    assert all(drawn[4, seed][:2] == drawn[2, seed] for seed in range(3))
    assert len({drawn[4, seed] for seed in range(3)}) == 3


# The workers divide the threads of torch: one each, as in this process.
KILLED_SWEEP = """
import sys
import torch
from toy import toy_cohort
from ssltut.evaluation.compare import compare, is_done
from ssltut.training.config import TrainConfig

if __name__ == "__main__":
    torch.set_num_threads(max(1, {workers}))
    methods = ["labels_only", "ua_mt"]
    compare(toy_cohort(), methods, sys.argv[1], workers={workers}, **{settings!r})
"""


LONGER = {
    "config": replace(TINY, steps=4, validate_every=2, precision="32-true"),
    "budgets": [2],
    "seeds": [0, 1],
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The rows of a comparison that nothing stopped, made with one thread."""
    threads, folder = torch.get_num_threads(), tmp_path_factory.mktemp("sweeps") / "whole"
    torch.set_num_threads(1)
    yield compare(toy_cohort(), ["labels_only", "ua_mt"], folder, log=lambda s: None, **LONGER)
    torch.set_num_threads(threads)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_killed_sweep_goes_on_where_it_was(tmp_path, workers, whole):
    script = tmp_path / "sweep.py"
    script.write_text(KILLED_SWEEP.format(workers=workers, settings=LONGER))
    sweep = subprocess.Popen(
        [sys.executable, script, tmp_path / "killed"],
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    records = []
    while not records and sweep.poll() is None:
        time.sleep(0.02)
        records = sorted((tmp_path / "killed").glob("rows/[!.]*.csv"))
    sweep.kill()
    assert sweep.wait() != 0
    assert 1 <= len(records) < 4
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in records}
    went_on = compare(
        toy_cohort(), ["labels_only", "ua_mt"], tmp_path / "killed", log=lambda s: None, **LONGER
    )
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in records} == before
    assert went_on["value"].tolist() == whole["value"].tolist()
    assert len(went_on) == 4 * 4 * len(METRICS)


def test_a_comparison_stopped_in_its_first_run_goes_on(tmp_path, monkeypatch):
    def stopped(method, cohort, config, folder, **options):
        (folder / "run.json").parent.mkdir(parents=True)
        raise KeyboardInterrupt

    arguments = (toy_cohort(), ["labels_only"], tmp_path / "s")
    settings = {"config": TINY, "budgets": [2], "seeds": [0]}
    monkeypatch.setattr(ssltut.training.loop, "train", stopped)
    with pytest.raises(KeyboardInterrupt):
        compare(*arguments, **settings)
    monkeypatch.undo()
    assert len(compare(*arguments, **settings))


def test_impossible_comparisons_are_refused_before_training(tmp_path, monkeypatch):
    monkeypatch.setattr(
        ssltut.training.loop, "train", lambda *args, **options: pytest.fail("trained")
    )
    for methods, budgets, words in (
        (["ua_mt", "ua_tm"], [2], "did you mean ua_mt"),
        (["ua_mt"], [2, 60], "a budget of 60"),
    ):
        with pytest.raises(ConfigError, match=words):
            compare(toy_cohort(), methods, tmp_path / "s", config=TINY, budgets=budgets)
    assert not (tmp_path / "s").exists()
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "results.csv").write_text("mine")
    with pytest.raises(ConfigError, match="not a comparison"):
        compare(toy_cohort(), ["ua_mt"], tmp_path / "s", config=TINY, budgets=[2])
    assert (tmp_path / "s" / "results.csv").read_text() == "mine"


@pytest.mark.parametrize("progress", [True, False])
def test_a_comparison_shows_a_bar_only_where_somebody_watches(tmp_path, monkeypatch, progress):
    monkeypatch.setattr("ssltut.progress.watched", lambda: True)
    monkeypatch.setattr(sys, "stderr", terminal := io.StringIO())
    lines = []
    settings = {"config": TINY, "budgets": [2], "seeds": [0], "log": lines.append}
    compare(toy_cohort(), ["labels_only"], tmp_path / "s", progress=progress, **settings)
    assert ("run" in terminal.getvalue()) == progress
    assert len(lines) == 1
    compare(toy_cohort(), ["labels_only"], tmp_path / "s", progress=progress, **settings)
    assert len(lines) == 2  # found again
