"""Progress bars: drawn where somebody watches, silent everywhere else."""

import io
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from toy import SMALL, toy_cohort

from ssltut.io.cohort_folder import write_cohort
from ssltut.methods.registry import make_method
from ssltut.progress import progress_bar, watched
from ssltut.training.loop import train
from ssltut.training.predict import predict_files
from ssltut.training.windows import n_windows, sliding_window


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def open_terminal(monkeypatch: pytest.MonkeyPatch, stderr: io.StringIO) -> io.StringIO:
    """Put ``stderr`` in the place of stderr, outside any notebook."""
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    monkeypatch.setattr(sys, "stderr", stderr)
    return stderr


def test_a_bar_in_a_terminal_counts_and_names_its_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = open_terminal(monkeypatch, Terminal())
    assert list(progress_bar(range(3), "training", unit="step")) == [0, 1, 2]
    assert "training: 100%" in terminal.getvalue()
    assert "3/3" in terminal.getvalue()
    assert "step" in terminal.getvalue()


def test_a_bar_that_is_not_asked_for_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = open_terminal(monkeypatch, Terminal())
    bar = progress_bar(range(3), show=False)
    assert list(bar) == [0, 1, 2]
    assert bar.disable
    assert terminal.getvalue() == ""


def test_tqdms_own_switch_turns_bars_off(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = open_terminal(monkeypatch, Terminal())
    monkeypatch.setenv("TQDM_DISABLE", "1")
    assert list(progress_bar(range(3))) == [0, 1, 2]
    assert terminal.getvalue() == ""
    monkeypatch.setenv("TQDM_DISABLE", "0")
    assert watched()


def test_a_bar_is_silent_where_stderr_is_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    file = open_terminal(monkeypatch, io.StringIO())
    with progress_bar(total=2) as bar:
        bar.update()
    assert file.getvalue() == ""
    monkeypatch.setattr(sys, "stderr", None)  # pythonw and some services have none
    assert not watched()


def test_the_kernel_of_an_open_notebook_is_watched_and_that_of_papermill_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    open_terminal(monkeypatch, Terminal())
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    monkeypatch.delitem(sys.modules, "google.colab", raising=False)
    assert not watched()
    monkeypatch.setenv("JPY_SESSION_NAME", "notebook.ipynb")
    assert watched()
    monkeypatch.delenv("JPY_SESSION_NAME")
    monkeypatch.setitem(sys.modules, "google.colab", sys)
    assert watched()


def test_training_and_prediction_draw_bars_in_place_of_their_lines(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lines: list[str] = []
    method, cohort = make_method("labels_only"), toy_cohort()
    write_cohort(cohort, tmp_path / "cohort")
    scans = sorted((tmp_path / "cohort" / "images").iterdir())[:2]

    terminal = open_terminal(monkeypatch, Terminal())
    run = train(method, cohort, SMALL, tmp_path / "watched", log=lines.append)
    predict_files(run, {scan: tmp_path / scan.name for scan in scans}, log=lines.append)
    drawn = terminal.getvalue()
    assert not lines
    assert f"{method.title}: 100%" in drawn
    assert f"Dice={run.history['validation dice'].iloc[-1]:.3f}" in drawn
    assert "2/2" in drawn
    assert "window/s" in drawn

    terminal = open_terminal(monkeypatch, Terminal())
    run = train(method, cohort, SMALL, tmp_path / "quiet", log=lines.append, progress=False)
    assert len(lines) == 2  # one a validation
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    predict_files(run, {scan: tmp_path / f"b-{scan.name}" for scan in scans}, log=lines.append)
    assert terminal.getvalue() == sys.stderr.getvalue() == ""
    assert [line.endswith("done") for line in lines] == [False, False, True, True]


@pytest.mark.parametrize("shape", [(16, 16, 16), (21, 8, 5), (4, 4, 30)])
def test_a_bar_of_windows_knows_how_many_there_are(shape: tuple[int, int, int]) -> None:
    seen = []

    def forward(windows: torch.Tensor) -> torch.Tensor:
        seen.append(len(windows))
        return windows

    sliding_window(forward, np.zeros(shape, np.float32), (8, 8, 6), torch.device("cpu"))
    assert sum(seen) == n_windows(shape, (8, 8, 6))
