"""The table of bad inputs, through the command line: one clear line that names file, finding and
next step, or a correct result; nothing
lost.

Every flawed file lies beside a good one, as it does in practice: the good one is verified, taken in
and predicted all the same.
"""

import contextlib
import errno
import gzip
import io
import json
import os
import re
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
from toy_dicom import BAD_SERIES, LEFT_OUT, write_series
from toy_dicom import HU as SLICES
from toy_nifti import AFFINE, BAD_FILES, BAD_LABELS, HU, LABEL, holed, oriented, save, written

from ssltut.cli.main import main


def ssltut(*words: object) -> tuple[int, str, list[str]]:
    """Exit code, stdout and the lines of stderr of one command, progress lines left out."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main([str(word) for word in words])
        except SystemExit as stop:
            code = stop.code
    return (
        code,
        out.getvalue(),
        [line for line in err.getvalue().splitlines() if not re.match(r"\d+/\d+ ", line)],
    )


def everything(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that predicts bone above 0 HU, and reports without their pictures: both have tests of
    their own.
    """
    from ssltut import show
    from ssltut.training import run

    monkeypatch.setattr(
        run,
        "load_run",
        lambda path: SimpleNamespace(
            nets={}, predict=lambda case, min_component, progress: (case.image > 0).astype(np.uint8)
        ),
    )
    monkeypatch.setattr(
        show,
        "planes",
        lambda *a, **k: SimpleNamespace(save=lambda path: path.touch()),
        raising=False,
    )


def bomb(folder: Path) -> Path:
    """1 MB of gzip that unpacks to 1 GiB of voxels."""
    header = nib.Nifti1Image(np.zeros((1, 1, 1), np.uint8), AFFINE).header.copy()
    header["dim"][1:4], header["vox_offset"], header["magic"], header["sform_code"] = (
        1024,
        352,
        b"n+1",
        1,
    )
    header["srow_x"], header["srow_y"], header["srow_z"] = AFFINE[:3]
    header["scl_slope"], header["scl_inter"] = 1, 0
    zeros = gzip.compress(bytes(1 << 24), 9)  # a gzip file may be made of many
    return written(
        folder / "bomb.nii.gz", gzip.compress(header.binaryblock + bytes(4)) + zeros * 64
    )


def looped(folder: Path) -> Path:
    (folder / "loop.nii").symlink_to(folder / "loop.nii")
    return folder / "loop.nii"


IN_A_FOLDER = {name: how for name, how in BAD_FILES.items() if name not in ("missing", "folder")}
IMAGES = IN_A_FOLDER | {
    "gzip bomb of 1 MB for 1 GiB": (
        bomb,
        "1024 x 1024 x 1024 voxels of uint8, 1.07e\\+09 in all; the limit is 1e\\+09",
    ),
    "pixdim NaN": (
        lambda d: save(
            d / "s.nii", qform=AFFINE, sform_code=0, pixdim=[1, np.nan, 1, 1, 0, 0, 0, 0]
        ),
        "qform has",
    ),
    "single slice": (
        lambda d: save(d / "s.nii", HU[..., :1]),
        "3D image of .5, 6, 1. voxels.*single slice",
    ),
    "colour": (lambda d: save(d / "s.nii", datatype=128, bitpix=24), "data type 128"),
    "cannot be opened": (looped, "no such file"),
}


@pytest.mark.parametrize("name", IMAGES)
def test_a_bad_scan_is_one_line_and_the_good_one_beside_it_is_used(
    tmp_path: Path, name: str
) -> None:
    make, words = IMAGES[name]
    (folder := tmp_path / "in").mkdir()
    good, bad = save(folder / "good.nii.gz"), make(folder)
    before = everything(folder)
    code, out, err = ssltut("ingest", folder, "--out", tmp_path / "out")
    assert (
        code == 1
        and len(err) == 1
        and err[0].startswith(f"refused: {bad}: ")
        and "Next: " in err[0]
        and re.search(words, err[0])
    ), (code, err)
    assert [p.name for p in (tmp_path / "out" / "images").iterdir()] == [
        f"case00{1 + (bad < good)}.nii.gz"
    ], out
    code, out, _ = ssltut("verify", folder, "--json")
    flawed = [report for report in json.loads(out) if not report["ok"]]
    assert code == 1
    assert len(flawed) == 1
    assert flawed[0]["path"] == str(bad)
    assert re.search(words, f"{flawed[0]['errors'][0]['found']} {flawed[0]['errors'][0]['next']}")
    code, out, err = ssltut(
        "predict", "run", bad, good, "--out", tmp_path / "predictions", "--workers", 0
    )
    assert code == 1
    assert len(err) == 3
    assert str(bad) in err[-1]
    assert "Next: " in err[-1]
    assert [p.name for p in (tmp_path / "predictions").iterdir()] == ["good_prediction.nii.gz"]
    assert everything(folder) == before


LABELS = BAD_LABELS | {
    "300 in uint8": (
        {"values": np.array([0, 4, 255], np.uint8)[LABEL], "scl_slope": 300 / 255},
        r"70 label voxels are not whole numbers \(4\.70588",
    ),
    "rotated": ({"affine": AFFINE @ np.diag([-1, 1, 1, 1])}, "different grids"),
    "NaN": ({"values": holed(LABEL)}, "NaN or infinite"),
    "no affine": ({"values": LABEL, "sform_code": 0, "qform_code": 0}, "neither how large"),
    "float as label": (
        {"values": np.linspace(0, 2, LABEL.size, dtype=np.float32).reshape(LABEL.shape)},
        "not whole",
    ),
}


@pytest.mark.parametrize("name", LABELS)
def test_a_bad_label_is_one_line_and_the_good_case_is_used(tmp_path: Path, name: str) -> None:
    how, words = LABELS[name]
    for kind in ("images", "labels"):
        (tmp_path / "in" / kind).mkdir(parents=True)
    for case, label in (("a", {"values": LABEL, **how}), ("b", {"values": LABEL})):
        save(tmp_path / "in" / "images" / f"{case}.nii.gz", HU + np.int16(case == "b"))
        save(tmp_path / "in" / "labels" / f"{case}.nii.gz", **label)
    words = words.replace("not in the table", "not in the (table|mapping)").replace(
        "2 femur", "femur"
    )
    code, _, err = ssltut("ingest", tmp_path / "in", "--labels", "hip", "--out", tmp_path / "out")
    assert (
        code == 1
        and len(err) == 1
        and str(tmp_path / "in" / "labels" / "a.nii.gz") in err[0]
        and re.search(words, err[0])
    ), err
    assert [p.name for p in (tmp_path / "out" / "labels").iterdir()] == ["case002.nii.gz"]
    code, out, _ = ssltut("verify", tmp_path / "in", "--json")
    errors = [error for report in json.loads(out) for error in report["errors"]]
    assert code == 1
    assert 1 <= len(errors) <= 2
    assert re.search(words, f"{errors[0]['found']} {errors[0]['next']}")


@pytest.mark.parametrize("name", BAD_SERIES)
def test_a_bad_series_is_one_line_and_the_good_one_beside_it_is_used(
    tmp_path: Path, name: str
) -> None:
    make, words = BAD_SERIES[name]
    make(tmp_path / "in" / "bad")
    write_series(tmp_path / "in" / "good", series="7.7")
    before = everything(tmp_path / "in")
    code, _, err = ssltut("ingest", tmp_path / "in", "--out", tmp_path / "out")
    assert (
        code == 1
        and len(err) == 1
        and f"refused: {tmp_path / 'in' / 'bad'}" in err[0]
        and "Next: " in err[0]
        and re.search(words, err[0])
    ), err
    assert len(list((tmp_path / "out" / "images").iterdir())) == 1
    code, out, _ = ssltut("verify", tmp_path / "in", "--json")
    assert code == 1
    assert [report["ok"] for report in json.loads(out)].count(False) == 1
    assert everything(tmp_path / "in") == before


@pytest.mark.parametrize("name", LEFT_OUT)
def test_scouts_and_mixed_series_are_left_out_by_name(tmp_path: Path, name: str) -> None:
    tags, words = LEFT_OUT[name]
    write_series(write_series(tmp_path / "in"), SLICES[..., :1], name="odd.dcm", **tags)
    code, _, err = ssltut("ingest", tmp_path / "in", "--out", tmp_path / "out")
    assert code == 0
    assert len(err) == 1
    assert err[0].startswith(f"note: {tmp_path / 'in' / 'odd.dcm'}: left out")
    assert re.search(words, err[0])
    assert np.array_equal(
        np.asarray(nib.load(tmp_path / "out" / "images" / "case001.nii.gz").dataobj),
        SLICES[::-1, ::-1],
    )


def test_an_unreadable_slice_is_named_and_the_gap_it_leaves_too(tmp_path: Path) -> None:
    write_series(tmp_path / "in" / "bad")
    write_series(tmp_path / "in" / "good", series="7.7")
    written(tmp_path / "in" / "bad" / "Muster_05.dcm", b"garbage" * 50)
    code, _, err = ssltut("ingest", tmp_path / "in", "--out", tmp_path / "out")
    assert code == 1
    assert len(err) == 2
    assert "Muster_05.dcm: this is not a DICOM file" in "\n".join(err)
    assert any("1 slices are missing" in line for line in err)
    assert len(list((tmp_path / "out" / "images").iterdir())) == 1


# What is odd, and right

# Values and header, options, what the cohort must hold, the words of the note (None: silence).
ODD = {
    "slope NaN": ({"scl_slope": np.nan}, [], HU, "slope nan"),
    "wrong orientation": (
        dict(zip(("values", "affine"), oriented(HU, ("P", "I", "R")), strict=True)),
        [],
        HU,
        None,
    ),
    "extreme anisotropy": (
        {"affine": AFFINE @ np.diag([0.1, 1, 7, 1])},
        [],
        HU,
        "105 times longer one way than another",
    ),
    "no affine, told": ({"sform_code": 0, "qform_code": 0}, ["--assume-spacing", 2], HU, None),
    "NaN, told": (
        {"values": holed(HU)},
        ["--fill", -1024],
        np.where(np.isnan(holed(HU)), -1024, HU),
        None,
    ),
    "broken qform beside a sound sform": (
        {"qform": AFFINE, "pixdim": [1, 0, -1, np.nan, 0, 0, 0, 0]},
        [],
        HU,
        None,
    ),
    "4D with one volume": ({"values": HU[..., None]}, [], HU, None),
}


@pytest.mark.parametrize("name", ODD)
def test_what_is_odd_but_can_be_read_is_read_right(tmp_path: Path, name: str) -> None:
    how, options, expected, words = ODD[name]
    (tmp_path / "in").mkdir()
    save(tmp_path / "in" / "s.nii.gz", **{"values": HU, **how})
    code, _, err = ssltut("ingest", tmp_path / "in", "--out", tmp_path / "out", *options)
    assert code == 0 and len(err) == (words is not None) and (not words or words in err[0]), err
    assert np.array_equal(
        np.asarray(nib.load(tmp_path / "out" / "images" / "case001.nii.gz").dataobj), expected
    )


def test_int64_labels_are_kept_as_uint8(tmp_path: Path) -> None:
    (tmp_path / "in" / "labels").mkdir(parents=True)
    save(tmp_path / "in" / "a.nii.gz")
    nib.save(
        nib.Nifti1Image(LABEL.astype(np.int64), AFFINE, dtype=np.int64),
        tmp_path / "in" / "labels" / "a.nii.gz",
    )
    assert ssltut("ingest", tmp_path / "in", "--labels", "hip", "--out", tmp_path / "out")[0] == 0
    label = nib.load(tmp_path / "out" / "labels" / "case001.nii.gz")
    assert label.get_data_dtype() == np.uint8
    assert np.array_equal(np.asarray(label.dataobj), LABEL)


def test_duplicate_slices_are_used_once(tmp_path: Path) -> None:
    write_series(write_series(tmp_path / "in"), SLICES[..., :3], name="copy_{}.dcm")
    code, _, err = ssltut("ingest", tmp_path / "in", "--out", tmp_path / "out")
    assert code == 0
    assert len(err) == 1
    assert "3 slices are there twice" in err[0]
    assert np.array_equal(
        np.asarray(nib.load(tmp_path / "out" / "images" / "case001.nii.gz").dataobj),
        SLICES[::-1, ::-1],
    )


@pytest.mark.parametrize("word", ["with spaces", "Ünïcode 髋 [1] {name} 100%"])
def test_paths_with_spaces_and_other_letters(tmp_path: Path, word: str) -> None:
    base = tmp_path / word
    (base / "in" / "labels").mkdir(parents=True)
    save(base / "in" / f"{word}.nii.gz")
    save(base / "in" / "labels" / f"{word}.nii.gz", LABEL)
    write_series(base / "in" / f"series {word}", name=f"{word.replace('{name}', 'x')} {{}}.dcm")
    assert ssltut("verify", base / "in")[0] == 0
    code, _, err = ssltut(
        "ingest", base / "in", "--labels", "hip", "--out", base / "out", "--key", base / "key.csv"
    )
    assert code == 0
    assert not err
    assert len(list((base / "out" / "images").iterdir())) == 2
    assert len(list((base / "out" / "labels").iterdir())) == 1
    assert (
        ssltut(
            "predict",
            "run",
            *sorted((base / "out" / "images").iterdir()),
            "--out",
            base / "p",
            "--workers",
            0,
        )[0]
        == 0
    )
    code, out, _ = ssltut(
        "export", base / "out", *sorted((base / "p").iterdir()), "--out", base / "back", "--json"
    )
    assert code == 0
    assert len(json.loads(out)) == 2


# Folders and commands


def test_nothing_to_take_in(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").write_text("no scan")
    for folder, words in (
        (tmp_path / "in", "no scan is left of 0"),
        (tmp_path / "nowhere", "no such folder"),
    ):
        code, out, err = ssltut("ingest", folder, "--out", tmp_path / "out")
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
    code, out, err = ssltut("ingest", tmp_path / "in", "--out", tmp_path / "out")
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
    code, out, err = ssltut("ingest", tmp_path / "in", "--out", tmp_path / "out", *words)
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
    code, _, err = ssltut("ingest", tmp_path / "s.nii.gz", "--out", tmp_path / "out")
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
    values = np.random.default_rng(1).integers(-1000, 2000, (64, 64, 32)).astype(np.int16)
    save(tmp_path / "s.nii.gz", values)
    assert ssltut("ingest", tmp_path / "s.nii.gz", "--out", tmp_path / "cohort")[0] == 0
    save(tmp_path / "case001.nii.gz", (values % 2).astype(np.uint8))
    return tmp_path


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a folder that root cannot write to")
def test_a_read_only_disk(material: Path, name: str) -> None:
    out, before = read_only(material), everything(material)
    code, stdout, err = ssltut(*COMMANDS[name](material), "--out", out)
    assert (
        code == 2 and not stdout and len(err) == 1 and str(out) in err[0] and "Next: " in err[0]
    ), err
    assert everything(material) == before
    assert not out.exists()


@pytest.mark.parametrize("name", COMMANDS)
def test_a_full_disk(material: Path, name: str) -> None:
    """The kernel refuses to write more than 4 KiB into any file, as a full disk would in the middle
    of one.
    """
    resource = pytest.importorskip("resource")
    before, limits = everything(material), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        code, stdout, err = ssltut(*COMMANDS[name](material), "--out", material / "out")
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
    assert everything(material) == before
