"""One run of a comparison: scored, failed, and how its rows say they were made."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from toy import SMALL, toy_case, toy_cohort

import ssltut.training.loop
import ssltut.training.run
from ssltut.data.labels import HIP
from ssltut.errors import DataError, TrainingError
from ssltut.evaluation.compare import compare
from ssltut.evaluation.runs import Job, provenance, run_one, score_run
from ssltut.evaluation.statistics import report, summary
from ssltut.methods.registry import make_method
from ssltut.metrics import METRICS
from ssltut.training.loop import train

TINY = replace(SMALL, steps=1, validate_every=1)


def test_a_failed_run_is_a_row_and_is_tried_again(tmp_path, monkeypatch):
    real, said = ssltut.training.loop.train, []

    def fail(method, *args, **options):
        if method.name == "ua_mt":
            raise TrainingError("loss term consistency is not finite", where=tmp_path)
        return real(method, *args, **options)

    monkeypatch.setattr(ssltut.training.loop, "train", fail)
    rows = compare(
        toy_cohort(),
        ["ua_mt", "labels_only"],
        tmp_path / "s",
        config=TINY,
        budgets=[2],
        seeds=[0],
        log=said.append,
    )
    failed = rows[rows["method"] == "ua_mt"]
    assert len(failed) == 1
    assert failed["status"].iloc[0] == "failed"
    assert "consistency is not finite" in failed["error"].iloc[0]
    assert failed[["config", "command", "commit", "machine", "settings"]].notna().all().all()
    assert "failed: " in said[0]
    assert (rows["method"] == "labels_only").sum() == 4 * len(METRICS)
    assert summary(rows, "dice").set_index("method").loc["ua_mt", "failed"] == 1
    monkeypatch.undo()
    mended = compare(
        toy_cohort(),
        ["ua_mt", "labels_only"],
        tmp_path / "s",
        config=TINY,
        budgets=[2],
        seeds=[0],
        log=said.append,
    )
    assert not (mended["status"] == "failed").any()
    assert (mended["method"] == "ua_mt").sum() == 4 * len(METRICS)


@pytest.mark.parametrize(
    "error",
    [RuntimeError("CUDA out of\nmemory"), OSError(28, "No space left"), ZeroDivisionError()],
)
def test_whatever_goes_wrong_in_a_run_the_sweep_goes_on(tmp_path, monkeypatch, error):
    real = ssltut.training.loop.train

    def fail(method, *args, **options):
        if method.name == "labels_only":
            raise error
        return real(method, *args, **options)

    monkeypatch.setattr(ssltut.training.loop, "train", fail)
    rows = compare(
        toy_cohort(),
        ["labels_only", "ua_mt"],
        tmp_path,
        config=TINY,
        budgets=[2],
        seeds=[0],
        log=lambda s: None,
    )
    told = rows.loc[rows["status"] == "failed", "error"].tolist()
    assert len(told) == 1
    assert told[0].startswith(type(error).__name__)
    assert "\n" not in told[0]
    assert (rows["method"] == "ua_mt").sum() == 4 * len(METRICS)
    assert summary(rows, "dice").set_index("method")["failed"].to_dict() == {
        "labels_only": 1,
        "ua_mt": 0,
    }
    assert "UA-MT" in report(rows, "dice")
    assert "there is nothing to compare" in report(rows, "dice")


def test_a_sweep_in_which_all_fails_still_has_its_table(tmp_path, monkeypatch):
    monkeypatch.setattr(
        ssltut.training.loop,
        "train",
        lambda *args, **options: (_ for _ in ()).throw(MemoryError("no memory")),
    )
    rows = compare(
        toy_cohort(),
        ["labels_only", "ua_mt"],
        tmp_path,
        config=TINY,
        budgets=[2],
        seeds=[0],
        log=lambda s: None,
    )
    assert rows["error"].tolist() == ["MemoryError: no memory"] * 2
    assert summary(rows, "dice")["failed"].tolist() == [1, 1]
    assert "nothing to compare" in report(rows, "dice")


def test_the_largest_piece_alone_is_scored_where_asked_and_the_rows_say_so(tmp_path):
    case = toy_case(3)
    stray = case.label.copy()
    stray[0, 0, 0] = 1  # far from the rest of its class, and one voxel
    assert case.label[0, 0, 0] == 0
    assert case.label[1, 1, 1] == 0
    run = SimpleNamespace(predict=lambda case: stray, table=HIP)
    whole, largest = (
        score_run(run, [case], largest=largest).set_index(["class", "metric"])["value"]
        for largest in (False, True)
    )
    assert whole["hip bone", "dice"] < largest["hip bone", "dice"] == 1
    assert largest["hip bone", "hd95"] == 0
    settings = {"config": TINY, "budgets": [2], "seeds": [0], "log": lambda line: None}
    plain, alone = (
        compare(toy_cohort(), ["labels_only"], tmp_path / "c", largest=largest, **settings)
        for largest in (False, True)
    )
    assert set(plain["kept"]) == {"all"}
    assert set(alone["kept"]) == {"largest piece"}
    assert set(plain["config"]) == set(alone["config"])


def test_scoring_needs_labels(tmp_path):
    run = train(make_method("labels_only"), toy_cohort(), TINY, tmp_path / "run")
    with pytest.raises(DataError, match="case3: the case has no label"):
        score_run(run, [toy_case(3).without_label()])
    assert set(score_run(run, [toy_case(3)])["case"]) == {"case3"}


def test_provenance_says_how_a_row_was_made(monkeypatch):
    monkeypatch.setattr("sys.argv", ["/somewhere/ssltut", "compare", "cohort"])
    assert provenance()["command"] == "ssltut compare cohort"
    assert set(provenance()) == {"command", "commit", "machine"}
    monkeypatch.setattr(
        "subprocess.run", lambda *args, **options: (_ for _ in ()).throw(OSError("no git"))
    )
    assert provenance()["commit"] == "unknown"


class Bar:
    """What a bar was told."""

    def __init__(self):
        self.n, self.postfix = 0.0, []

    def set_postfix_str(self, text, refresh):
        self.postfix.append(text)

    def update(self, n):
        self.n += n


def test_a_bar_over_runs_moves_with_every_step_and_names_method_step_and_scores(tmp_path):
    bar, cohort = Bar(), toy_cohort()
    config = replace(SMALL, steps=4, validate_every=2)
    known = {"method": "labels_only"}
    job = Job(make_method("labels_only"), config, cohort.split, tmp_path / "r", False, known)
    rows = run_one(cohort, job, bar=bar)
    assert set(rows["method"]) == {"labels_only"}
    assert bar.n == pytest.approx(1.0)
    assert bar.postfix[1] == "labels only, step 2/4"
    assert bar.postfix[2].startswith("labels only, step 3/4, validation Dice 0.")
