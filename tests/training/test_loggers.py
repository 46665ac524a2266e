"""Loggers beside a training: they get the history, and change nothing."""

import dataclasses
import json
from pathlib import Path

import pandas as pd
import pytest
from lightning_fabric.loggers import CSVLogger
from lightning_fabric.loggers.logger import Logger
from toy import SMALL, toy_cohort
from toy_cli import METHOD, QUICK, everything, ssltut
from toy_run import run_of, same_weights

from ssltut.errors import ConfigError
from ssltut.evaluation.compare import compare
from ssltut.io.cohort_folder import write_cohort
from ssltut.training import callbacks
from ssltut.training.callbacks import logger_named, panel_of

ROOT = Path(__file__).resolve().parents[2]
CSV = "lightning_fabric.loggers:CSVLogger"
WRITTEN = "lightning_logs/version_0/metrics.csv"
TINY = dataclasses.replace(SMALL, steps=1, validate_every=1)


class Kept(Logger):
    """A logger that keeps what it gets."""

    name = version = "kept"

    def __init__(self):
        self.rows, self.saved, self.end = [], 0, None

    def log_metrics(self, metrics, step=None):
        self.rows.append((step, dict(metrics)))

    def log_hyperparams(self, params, *args, **kwargs):
        pytest.fail("nothing but the history is logged")

    def save(self):
        self.saved = len(self.rows)

    def finalize(self, status):
        self.end = status


def logged(history: pd.DataFrame) -> list[tuple[int, dict[str, float]]]:
    """What a logger gets of a history."""
    found = []
    for row in history.to_dict("records"):
        step = row.pop("step")
        values = {name: value for name, value in row.items() if value == value}
        scores = {name: values.pop(name) for name in list(values) if name.startswith("validation ")}
        found.append((step, {panel_of(name): value for name, value in values.items()}))
        if scores:
            found.append((step, {name.replace(" ", "/"): scores[name] for name in scores}))
    return found


def on_disk(name: str, tmp_path) -> dict[str, bytes]:
    """The checkpoints and run.json of a run."""
    return {path.name: path.read_bytes() for path in (tmp_path / name).iterdir() if path.is_file()}


def test_a_logger_gets_the_history_and_changes_nothing(tmp_path):
    kept = Kept()
    plain = run_of("embedding_matching", tmp_path / "plain")
    run = run_of("embedding_matching", tmp_path / "kept", loggers=[kept, CSV])
    assert kept.rows == logged(plain.history)
    assert (kept.saved, kept.end) == (len(kept.rows), "success")
    assert {name.split("/")[0] for _, row in kept.rows for name in row} == {
        *("loss", "weight", "share", "validation")
    }
    assert on_disk("plain", tmp_path) == on_disk("kept", tmp_path)
    assert same_weights(plain.nets["student"], run.nets["student"])
    table = pd.read_csv(tmp_path / "kept" / WRITTEN)
    assert list(table["loss/total"].dropna()) == pytest.approx(list(plain.history["total"]))
    # Without a logger there is nothing beside the run.
    assert set(everything(tmp_path / "plain")) == set(on_disk("plain", tmp_path))


def test_terms_and_scores_whose_names_have_a_space_keep_their_panel():
    columns = ["total", "mirror halves", "mirror halves weight", "slices supervised", "match share"]
    assert list(map(panel_of, columns)) == [
        *("loss/total", "loss/mirror halves", "weight/mirror halves"),
        *("loss/slices supervised", "share/match"),
    ]


def test_a_run_that_was_stopped_goes_on_without_a_gap_and_a_finished_one_is_not_logged(
    plain, tmp_path
):
    first, second, third = Kept(), Kept(), Kept()
    run_of(folder=tmp_path, loggers=[first], stop_after=3)
    assert first.end is None
    assert first.saved == len(first.rows)  # all that happened before the stop
    run_of(folder=tmp_path, loggers=[second])
    seen = first.rows + [row for row in second.rows if row not in first.rows]
    assert sorted(seen, key=lambda row: row[0]) == logged(plain.history)
    run_of(folder=tmp_path, loggers=[third])
    assert (third.rows, third.end) == ([], None)


@pytest.mark.parametrize("name", ["tensorbord", "no.such:module", f"{CSV}s", "", ":", ".a:b"])
def test_a_name_that_is_no_logger(tmp_path, name):
    with pytest.raises(ConfigError, match=r"there is no logger .*Next: name tensorboard or"):
        run_of(folder=tmp_path / "run", loggers=[name])
    assert not (tmp_path / "run").exists()


def test_without_tensorboard_one_line_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr(callbacks, "find_spec", lambda name: None)
    with pytest.raises(
        ConfigError, match=r"TensorBoard is not installed.*Next: pip install tensorboard$"
    ):
        run_of(folder=tmp_path / "run", loggers=["tensorboard"])
    with pytest.raises(ConfigError, match="not installed"):
        compare(toy_cohort(), ["ua_mt"], tmp_path / "c", config=TINY, loggers=["tensorboard"])
    assert not list(tmp_path.iterdir())


def test_with_tensorboard_the_name_is_enough(monkeypatch):
    monkeypatch.setattr(callbacks, "find_spec", lambda name: name)
    assert callable(logger_named("tensorboard"))
    assert logger_named(CSV) is CSVLogger


def test_tensorboard_reads_what_was_written(tmp_path):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run = run_of(folder=tmp_path / "run", loggers=["tensorboard"], stop_after=3)
    run = run_of(folder=tmp_path / "run", loggers=["tensorboard"])
    found = reader.EventAccumulator(str(tmp_path / "run"))
    found.Reload()
    total = {event.step: event.value for event in found.Scalars("loss/total")}
    assert [total[step] for step in range(SMALL.steps)] == pytest.approx(list(run.history["total"]))
    assert [event.step for event in found.Scalars("validation/dice")] == [1, 3]


def test_every_run_of_a_comparison_is_logged_and_its_rows_stay(tmp_path):
    options = {"config": TINY, "budgets": [2], "seeds": [0], "log": lambda line: None}
    methods = ["labels_only", "ua_mt"]
    plain = compare(toy_cohort(), methods, tmp_path / "plain", **options)
    rows = compare(toy_cohort(), methods, tmp_path / "logged", workers=0, loggers=[CSV], **options)
    other = ["seconds", "machine"]  # how many threads
    assert rows.drop(columns=other).equals(plain.drop(columns=other))
    assert len(list((tmp_path / "logged" / "runs").glob(f"*/{WRITTEN}"))) == 2
    assert not list((tmp_path / "plain").rglob("metrics.csv"))


def test_the_commands_take_loggers(tmp_path):
    write_cohort(toy_cohort(), tmp_path / "cohort")
    train = ["train", tmp_path / "cohort", *METHOD, *QUICK, "--out"]
    code, _, err = ssltut(*train, tmp_path / "run", "--log", CSV, "--log", CSV)
    assert code == 0, err
    assert len(list((tmp_path / "run").glob("lightning_logs/version_*/metrics.csv"))) == 2
    assert json.loads((tmp_path / "run" / "run.json").read_text())["finished"]
    code, _, err = ssltut(*train, tmp_path / "other", "--log", "wandb")
    assert code == 2
    assert len(err) == 1
    assert "there is no logger 'wandb'" in err[0]
    sweep = ["compare", tmp_path / "cohort", "--methods labels_only --budgets 2 --seeds 0"]
    code, _, err = ssltut(*sweep, "--workers 0 --log", CSV, *QUICK, "--out", tmp_path / "c")
    assert code == 0, err
    assert len(list((tmp_path / "c" / "runs").glob(f"*/{WRITTEN}"))) == 1


def test_the_curves_of_a_comparison_are_drawn_side_by_side_as_the_docs_say(tmp_path):
    text = (ROOT / "docs" / "tracking.md").read_text(encoding="utf-8")
    code = text.split("```python\n")[1].split("```")[0].replace("comparison", str(tmp_path))
    compare(toy_cohort(), ["labels_only", "ua_mt"], tmp_path, config=SMALL, budgets=[2], seeds=[0])
    *lines, last = code.strip().splitlines()
    seen: dict = {}
    exec("\n".join([*lines, f"picture = {last}"]), seen)
    assert [list(curve.index) for curve in seen["dice"].values()] == [[1, 3], [1, 3]]
    assert seen["picture"].alt == "Validation Dice of each run."
