"""A short form of every campaign; ``make campaign`` does thousands of trials."""

import os
import random
from pathlib import Path

import counts
import every
import kills
import pytest
import trials
from trials import Call, Campaign, Outcome

from ssltut.errors import DataError

SHORT = {"nifti": 30, "dicom": 5, "formats": 12, "text": 12, "archives": 10}
PROMISES = Path(__file__).resolve().parents[2] / "RELIABILITY.md"


@pytest.mark.parametrize("name", SHORT)
def test_changed_files_end_as_promised(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ssltut.intake.report.planes", None)  # prepare_intake puts its own here
    outcome = trials.run(every.CAMPAIGNS[name](tmp_path), SHORT[name], seed=0)
    assert outcome.tried == SHORT[name]
    assert outcome.broken == {}


@pytest.mark.parametrize("name", kills.COMMANDS)
def test_a_killed_command_gives_the_same_bytes(name: str, tmp_path: Path) -> None:
    victim = kills.victims(tmp_path / "inputs", [name])[name]
    outcome = kills.run(victim, 1, tmp_path / "kills", seed=0)
    assert (outcome.tried, outcome.broken) == (1, {})


# The guard sees what breaks a promise


def spin() -> None:
    while True:
        pass


def wait_for_ever(made: Path) -> None:
    os.mkfifo(made / "pipe")
    (made / "pipe").read_text()


def refuse() -> None:
    raise DataError("no scan", where="a", fix="give one")


def hide(made: Path) -> None:
    (made.parent / ".cohort.1.part").mkdir()


BREAKS = {
    "traceback": (lambda made: {}["a"], "KeyError"),
    "computes": (lambda made: spin(), "not done after"),
    "waits": (wait_for_ever, "not done after"),
    "memory": (lambda made: len(bytearray(300 << 20)), "MiB"),
    "exits": (lambda made: os._exit(9), "status"),
    "killed": (lambda made: os.kill(os.getpid(), 9), "status"),
    "hidden": (hide, "stays behind"),
}


def one(call: object) -> Campaign:
    def make(made: Path, rng: random.Random) -> tuple[str, list[Call]]:
        return "a file", [lambda: call(made)]

    return Campaign("toy", make, 3)


@pytest.mark.parametrize("kind", BREAKS)
def test_a_broken_promise_is_seen_and_the_campaign_goes_on(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trials, "CPU_S", 0.3)
    monkeypatch.setattr(trials, "WALL_S", 8.0)
    monkeypatch.setattr(trials, "MEMORY", 200 << 20)
    call, words = BREAKS[kind]
    outcome = trials.run(one(call), 2, keep=tmp_path)
    assert outcome.tried == 2
    assert list(outcome.broken) == [0, 1]
    assert words in outcome.broken[1]


def test_a_refusal_and_a_command_are_no_broken_promise() -> None:
    outcome = trials.run(one(lambda made: refuse()), 2)
    assert (outcome.tried, outcome.kept) == (2, 2)
    assert trials.guarded(["verify", "/nowhere"]) == ""
    assert trials.guarded(["no such command"]) == ""


def test_what_broke_is_kept(tmp_path: Path) -> None:
    trials.run(one(lambda made: (made / "x").write_text("y") and {}["a"]), 1, keep=tmp_path)
    assert (tmp_path / "toy-0" / "in" / "x").read_text() == "y"


def test_an_input_that_cannot_be_made_stops_the_campaign() -> None:
    def make(made: Path, rng: random.Random) -> tuple[str, list[Call]]:
        raise ValueError("my mistake")

    with pytest.raises(RuntimeError, match="toy: input 0 could not be made"):
        trials.run(Campaign("toy", make, 3), 1)


def test_counts_stand_between_their_marks(tmp_path: Path) -> None:
    file = tmp_path / "a.md"
    file.write_text(f"before\n{counts.MARKS[0]}old\n{counts.MARKS[1]}after\n")
    counts.write_counts([Outcome("files", 9, {3: "x"}), Outcome("kills", 2)], 5, file)
    text = file.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "| files | 9 | 8 | 1 | 5 |" in text
    assert "| kills | 2 | 2 | 0 | 5 |" in text
    assert "old" not in text
    counts.write_counts([Outcome("kills", 30)], 6, file)
    text = file.read_text()
    assert "| files | 9 | 8 | 1 | 5 |" in text
    assert "| kills | 30 | 30 | 0 | 6 |" in text
    assert text.count("| kills |") == text.count("\nOn ") == text.count("| campaign |") == 1
