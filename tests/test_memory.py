"""What memory is left, and a refusal before more is taken."""

from pathlib import Path

import psutil
import pytest

from ssltut import memory
from ssltut.errors import ConfigError

GIB = 2**30


def group(folder: Path, limit: str, used: float, inactive: float) -> None:
    """The files of a control group."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{used:.0f}\n")
    (folder / "memory.stat").write_text(f"anon 5\ninactive_file {inactive:.0f}\n")


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(memory, "CGROUPS", tmp_path)
    monkeypatch.setattr(memory, "own_group", lambda: "job/step")
    machine = psutil.virtual_memory()._replace(available=8 * GIB)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: machine)
    return tmp_path


def test_a_machine_without_limits_has_what_it_says(groups: Path) -> None:
    assert memory.free_memory() == 8 * GIB
    group(groups / "job", "max", 3 * GIB, 0)
    assert memory.free_memory() == 8 * GIB


def test_a_container_or_a_job_has_what_its_limits_leave(groups: Path) -> None:
    group(groups / "job", str(4 * GIB), 3 * GIB, GIB)
    assert memory.free_memory() == 2 * GIB
    group(groups / "job" / "step", str(2 * GIB), 1.5 * GIB, 0)
    assert memory.free_memory() == 0.5 * GIB


def test_the_group_of_this_process_is_asked() -> None:
    assert 0 < memory.free_memory() <= psutil.virtual_memory().total
    assert not memory.own_group().startswith("/")


def test_more_than_there_is_is_refused_and_less_is_silent() -> None:
    ask = {"free": 2 * GIB, "where": "hip1", "fix": "use larger voxels"}
    words = "hip1: resampling needs about 3.0 GiB of memory, 2.0 are free Next: use larger voxels"
    with pytest.raises(ConfigError, match=words):
        memory.check_memory(3 * GIB, "resampling", **ask)
    memory.check_memory(GIB, "resampling", **ask)
