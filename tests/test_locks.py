"""Locks on output folders, and what processes that died leave behind."""

import errno
import os
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ssltut.errors import ConfigError
from ssltut.files import locked, whole_file, whole_folder, write_atomically

HOLD = """
import sys, time
from pathlib import Path
from ssltut.files import locked
with locked(Path(sys.argv[1])):
    (Path(sys.argv[1]) / ".part-1-run.json").touch()
    print("held", flush=True)
    time.sleep(600)
"""


def enter(folder: Path) -> None:
    with locked(folder):
        pytest.fail("entered")


@pytest.fixture
def holder(tmp_path):
    """Another process that has the lock of tmp_path / "out"."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", HOLD, tmp_path / "out"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=env)
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_folder_that_another_process_writes_is_refused_by_its_name(holder, tmp_path):
    with pytest.raises(ConfigError, match=rf"out: process {holder.pid} on .* works on it") as found:
        enter(tmp_path / "out")
    assert "Next: wait" in str(found.value)
    with locked(tmp_path / "another"):
        assert (tmp_path / "another" / ".lock").exists()


def test_the_lock_and_the_parts_of_a_killed_process_are_nobodys(holder, tmp_path):
    holder.kill()
    holder.wait()
    assert sorted(os.listdir(tmp_path / "out")) == [".lock", ".part-1-run.json"]
    with locked(tmp_path / "out"):
        assert os.listdir(tmp_path / "out") == [".lock"]
    assert not (tmp_path / "out").exists() or os.listdir(tmp_path / "out") == []


def test_who_waits_is_told_once_and_comes_next(holder, tmp_path):
    told = []
    threading.Timer(0.7, holder.kill).start()
    with locked(tmp_path / "out", wait=told.append):
        assert holder.wait() != 0
    assert len(told) == 1
    assert f"waiting until process {holder.pid} on" in told[0]


def test_a_lock_is_for_one_at_a_time(tmp_path):
    inside, most = [], []

    def work():
        for _ in range(5):
            with locked(tmp_path / "f.npz", beside=True, wait=lambda line: None):
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.002)
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 15
    assert os.listdir(tmp_path) == []


def test_a_folder_that_was_not_there_goes_unless_something_is_in_it(tmp_path):
    with locked(tmp_path / "a"):
        pass
    assert not (tmp_path / "a").exists()
    with locked(tmp_path / "a"):
        (tmp_path / "a" / "run.json").touch()
    assert os.listdir(tmp_path / "a") == ["run.json"]


@pytest.mark.skipif(os.name == "nt", reason="other locks")
def test_a_file_system_without_locks_is_used_without(tmp_path, monkeypatch):
    def no_locks(*rest):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", no_locks)
    with locked(tmp_path / "a"):
        assert (tmp_path / "a" / ".lock").exists()


def test_where_nothing_can_be_written_is_known_before_the_work(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"nothing can be written here .*Not a directory"):
        enter(tmp_path / "file" / "out")

    def full(*rest):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.write", full)
    with pytest.raises(ConfigError, match=r"nothing can be written here .No space left"):
        enter(tmp_path / "out")
    assert not list(tmp_path.rglob(".lock"))


def test_a_name_that_is_not_utf_8_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"the name is not UTF-8"):
        enter(tmp_path / "caf\udce9")
    with locked(tmp_path / "café"):
        pass


def test_a_folder_is_whole_or_not_there_and_parts_of_the_dead_go(tmp_path):
    (tmp_path / ".part-1-cohort" / "images").mkdir(parents=True)
    (tmp_path / ".part-1-other").mkdir()
    with whole_folder(tmp_path / "cohort") as part:
        (part / "a").write_text("a")
        assert set(os.listdir(tmp_path)) == {".cohort.lock", part.name, ".part-1-other"}
    assert sorted(os.listdir(tmp_path)) == [".part-1-other", "cohort"]
    with pytest.raises(ConfigError, match="not empty"), whole_folder(tmp_path / "cohort"):
        pytest.fail("entered")


@pytest.mark.skipif(os.name == "nt", reason="no modes")
def test_a_private_file_is_for_its_owner_and_others_follow_the_umask(tmp_path):
    with whole_file(tmp_path / "key.csv", private=True) as part:
        part.write_text("case,file")
    write_atomically(tmp_path / "run.json", "{}")
    (tmp_path / "usual").touch()

    def mode(name: str) -> int:
        return stat.S_IMODE(Path(tmp_path / name).stat().st_mode)

    assert mode("key.csv") == 0o600
    assert mode("run.json") == mode("usual")
