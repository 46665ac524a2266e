"""Commands that cannot work, and disks that fail: one line with the next step, nothing lost."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from toy_intake import command, contents, draw_no_pictures, predict_bone_above_zero
from toy_nifti import save, written


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Prediction and pictures have tests of their own."""
    predict_bone_above_zero(monkeypatch, tmp_path_factory.mktemp("run"))
    draw_no_pictures(monkeypatch)


def test_nothing_to_take_in(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").write_text("no scan")
    for folder, words in (
        (tmp_path / "in", "no scan is left of 0"),
        (tmp_path / "nowhere", "no such folder"),
    ):
        code, out, err = command("ingest", folder, "--out", tmp_path / "out")
        assert code == 2
        assert not out
        assert len(err) == 1
        assert words in err[0]
        assert "Next: " in err[0]
        assert not (tmp_path / "out").exists()


def test_all_bad_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in "ab":
        written(tmp_path / "in" / f"{name}.nii", b"")
    code, out, err = command("ingest", tmp_path / "in", "--out", tmp_path / "out")
    assert code == 2
    assert not out
    assert len(err) == 1
    assert "a.nii: the file is empty (0 bytes) (the first of 2 findings)" in err[0]
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--labels", "nowhere.yaml"], "no label mapping"),
        (["--label-files", "x"], "--label-files without --labels"),
        (["--spacing", 0], "--spacing 0"),
        (["--hips", -5], "--hips -5"),
        (["--assume-spacing", "nan"], "--assume-spacing nan"),
        (["--hips"], "no hip joint was found"),
    ],
)
def test_options_that_cannot_work(tmp_path: Path, words: list, message: str) -> None:
    (tmp_path / "in").mkdir()
    save(tmp_path / "in" / "s.nii.gz")
    code, out, err = command("ingest", tmp_path / "in", "--out", tmp_path / "out", *words)
    assert code == 2
    assert not out
    assert len(err) == 1
    assert message in err[0]
    assert "Next: " in err[0]
    assert not (tmp_path / "out").exists()


def test_an_existing_cohort_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years of work")
    save(tmp_path / "s.nii.gz")
    code, _, err = command("ingest", tmp_path / "s.nii.gz", "--out", tmp_path / "out")
    assert code == 2
    assert "not empty" in err[0]
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["thesis.txt"]


def read_only(folder: Path) -> Path:
    """A place nobody can write to, not even root."""
    if os.geteuid() == 0:
        return Path("/proc/ssltut")
    (folder / "locked").mkdir(mode=0o500)
    return folder / "locked" / "out"


COMMANDS = {
    "ingest": lambda d: ["ingest", d / "s.nii.gz"],
    "predict": lambda d: ["predict", "run", d / "s.nii.gz", "--workers", 0],
    "export": lambda d: ["export", d / "cohort", d / "case001.nii.gz"],
}


@pytest.fixture
def material(tmp_path: Path) -> Path:
    """A scan, a cohort made of it, and a prediction for that."""
    # Random, so that a label of these voxels is more than 4 KiB of gzip.
    values = np.random.default_rng(1).integers(-1000, 2000, (40, 40, 32)).astype(np.int16)
    save(tmp_path / "s.nii.gz", values)
    assert command("ingest", tmp_path / "s.nii.gz", "--out", tmp_path / "cohort")[0] == 0
    save(tmp_path / "case001.nii.gz", (values % 2).astype(np.uint8))
    return tmp_path


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a folder that root cannot write to")
def test_a_read_only_disk(material: Path, name: str) -> None:
    out, before = read_only(material), contents(material)
    code, stdout, err = command(*COMMANDS[name](material), "--out", out)
    assert (
        code == 2 and not stdout and len(err) == 1 and str(out) in err[0] and "Next: " in err[0]
    ), err
    assert contents(material) == before
    assert not out.exists()


@pytest.mark.parametrize("name", COMMANDS)
def test_a_full_disk(material: Path, name: str) -> None:
    """The kernel writes no more than 4 KiB into any file, as a full disk in the middle of one."""
    resource = pytest.importorskip("resource")
    before, limits = contents(material), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        code, stdout, err = command(*COMMANDS[name](material), "--out", material / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (
        code == 2
        and not stdout
        and len(err) == 1
        and str(material / "out") in err[0]
        and os.strerror(errno.EFBIG) in err[0]
    ), err
    assert "Next: " in err[0]
    assert contents(material) == before


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ["pipe", "pipe.dcm", "pipe.nii.gz", "notes.txt"])
def test_a_fifo_in_a_folder_is_named_and_never_waited_for(tmp_path: Path, name: str) -> None:
    (tmp_path / "in").mkdir()
    save(tmp_path / "in" / "a.nii.gz")
    os.mkfifo(tmp_path / "in" / name)
    for words in (
        ["ingest", tmp_path / "in", "--out", tmp_path / "out"],
        ["verify", tmp_path / "in"],
    ):
        code, out, err = command(*words)
        assert code == 1
        assert f"{name}: this is a FIFO, not a file" in out + "\n".join(err)
    assert len(list((tmp_path / "out" / "images").iterdir())) == 1
    code, _, err = command("predict", "run", tmp_path / "in" / name, "--out", tmp_path / "p")
    assert code == 2
    assert "this is a FIFO" in err[-1]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("place", ["labels/a.nii.gz", "images/a.nii.gz", "split.json"])
def test_a_fifo_in_a_cohort_is_named_and_never_waited_for(tmp_path: Path, place: str) -> None:
    for kind in ("images", "labels"):
        (tmp_path / "in" / kind).mkdir(parents=True)
        for i in "abc":
            save(tmp_path / "in" / kind / f"{i}.nii.gz", np.full((4, 4, 4), ord(i), np.int16))
    (tmp_path / "in" / place).unlink(missing_ok=True)
    os.mkfifo(tmp_path / "in" / place)
    for words in (["verify", tmp_path / "in"], ["train", tmp_path / "in", "--out", tmp_path / "r"]):
        code, out, err = command(*words)
        assert code in (1, 2)
        assert f"{place}: this is a FIFO, not a file" in out + "\n".join(err)
