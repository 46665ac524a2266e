"""results/gpu.sh and what it calls, at toy size on the CPU."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import gpu
import pandas as pd
import pytest
import studies
import torch

from ssltut.evaluation.record import recorded
from ssltut.training.steps import Training

ROOT = Path(__file__).resolve().parents[2]


def gpu_sh(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    own = {"PYTHON": sys.executable, "OUT": str(folder / "out"), "RUNS": str(folder / "runs")}
    return subprocess.run(
        ["bash", "results/gpu.sh", *arguments],
        cwd=ROOT,
        env=os.environ | own | variables,
        capture_output=True,
        text=True,
        timeout=800,
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.mark.timeout(1800)
def test_all_parts_at_toy_size_and_a_second_call_that_changes_nothing(tmp_path):
    # Time enough on a machine that is ten times as slow: the parts end when they are done.
    first = gpu_sh(tmp_path, "--tiny", MINUTES="60")
    assert first.returncode == 0, first.stdout + first.stderr
    assert "checks: 4 ok of 4 done, 4 in all" in first.stdout
    out = tmp_path / "out"
    before = contents(out)
    assert set(before) == {"checks.csv", "speed.csv", "cpu.csv", "toy.csv", "toy_runs.csv"}
    speed = pd.read_csv(out / "speed.csv")
    assert speed["precision"].tolist() == ["32-true"] * 2 + ["bf16-mixed"] * 2
    assert (speed["seconds a step"] > 0).all()
    assert pd.read_csv(out / "cpu.csv")["method"].tolist() == ["labels_only", "embedding_matching"]
    rows = recorded("toy", out)
    assert rows.groupby("method")["case"].nunique().to_dict() == {
        "labels_only": 2,
        "embedding_matching": 2,
    }
    assert rows["status"].ne("failed").all()

    second = gpu_sh(tmp_path, "--tiny", MINUTES="60")
    assert second.returncode == 0, second.stdout + second.stderr
    assert contents(out) == before


def test_without_time_no_part_begins(tmp_path):
    found = gpu_sh(tmp_path, "--tiny", MINUTES="0.5")
    assert found.returncode == 0, found.stderr
    for part in ("checks", "speed", "study"):
        assert f"{part}: no time, the same command goes on" in found.stdout
    assert not (tmp_path / "out").exists()


def test_what_is_missing_is_said_in_one_line(tmp_path):
    found = gpu_sh(tmp_path, "--tiny", PARTS="holidays")
    assert found.returncode == 1
    assert "there is no part holidays" in found.stdout
    if not torch.cuda.is_available():
        found = gpu_sh(tmp_path)
        assert found.returncode == 1
        assert "sees no CUDA GPU" in found.stderr
        assert len(found.stderr.splitlines()) == 1


def test_every_form_that_a_study_trains_is_checked():
    assert {"same_batch", "vote_beside", "vote_beside host=medl by=place"} <= set(gpu.FORMS)
    assert {"all_labels norm=group", "embedding_matching arch=vnet"} <= set(gpu.FORMS)
    assert not any("lr=" in name for name in gpu.FORMS)


def here(monkeypatch: pytest.MonkeyPatch, machine: str, code: str) -> None:
    monkeypatch.setattr(gpu, "provenance_of_code", lambda: {"machine": machine, "code": code})


def test_a_row_holds_for_its_machine_and_code(tmp_path, monkeypatch):
    file, later = tmp_path / "speed.csv", time.monotonic() + 1000.0
    keys = [{"method": name} for name in ("labels_only", "ua_mt")]

    def fill(value: float, until: float = later) -> list[dict[str, Any]]:
        return gpu.fill(file, keys, lambda method: {"seconds": value}, until)

    here(monkeypatch, "one", "a")
    fill(1.0)
    assert [row["seconds"] for row in fill(2.0)] == [1.0, 1.0]
    here(monkeypatch, "two", "a")
    fill(3.0)
    here(monkeypatch, "one", "b")
    assert fill(4.0, until=0.0) == []
    assert [row["seconds"] for row in fill(4.0)] == [4.0, 4.0]
    assert pd.read_csv(file)["seconds"].tolist() == [4.0, 4.0, 3.0, 3.0]


def test_a_method_that_fails_is_a_row(tmp_path, monkeypatch):
    here(monkeypatch, "one", "a")

    def measure(method: str) -> dict[str, Any]:
        raise RuntimeError(f"{method} is out of memory\nmore")

    found = gpu.fill(tmp_path / "speed.csv", [{"method": "ua_mt"}], measure, float("inf"))
    assert found[0]["error"] == "RuntimeError: ua_mt is out of memory"
    monkeypatch.setattr(gpu, "check", lambda **key: {"status": "failed"})
    assert gpu.fill_checks(tmp_path, ["ua_mt"], float("inf")) == [
        "ua_mt in 32-true",
        "ua_mt in bf16-mixed",
    ]


def test_a_lost_gpu_ends_the_process_and_spoils_one_row(tmp_path, monkeypatch):
    here(monkeypatch, "one", "a")
    keys = [{"method": name} for name in ("labels_only", "ua_mt")]
    assert not gpu.gpu_is_lost()
    with monkeypatch.context() as patched:
        patched.setattr(gpu, "gpu_is_lost", lambda: True)
        with pytest.raises(SystemExit, match="the same command goes on"):
            gpu.fill(tmp_path / "a.csv", keys, lambda method: {"seconds": 1.0}, float("inf"))
    assert len(pd.read_csv(tmp_path / "a.csv")) == 1
    assert len(gpu.fill(tmp_path / "a.csv", keys, lambda method: {}, float("inf"))) == 2


def test_a_run_that_is_stopped_goes_on(tmp_path, monkeypatch, one_thread):
    toy, stopped = studies.STUDIES["toy"], tmp_path / "stopped"
    toy.run(tmp_path / "whole", 0, "labels_only")
    step = Training.step

    def out_of_time(training: Training, batch: Any) -> Any:
        if training.done == 3:
            raise SystemExit(0)
        return step(training, batch)

    with monkeypatch.context() as patched:
        patched.setattr(Training, "step", out_of_time)
        with pytest.raises(SystemExit):
            toy.run(stopped, 0, "labels_only")
    assert not list(stopped.glob("*/rows/*.csv"))
    toy.run(stopped, 0, "labels_only")
    same = ["case", "class", "metric", "value"]
    pd.testing.assert_frame_equal(
        toy.rows(stopped)[same], toy.rows(tmp_path / "whole")[same], check_exact=True
    )


def test_a_study_stops_in_time(tmp_path):
    found = subprocess.run(
        [sys.executable, "results/studies.py", "toy", "--minutes", "0", "--folder", tmp_path],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert found.returncode == 0, found.stderr
    assert "the same command goes on" in found.stdout
    assert not list(tmp_path.rglob("rows/*.csv"))
