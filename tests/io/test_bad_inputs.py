"""The table of bad inputs, through the command line.

One clear line names file, finding and next step. Every flawed file lies beside a good one, as it
does in practice: the good one is verified, taken in and predicted all the same.
"""

import gzip
import json
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from toy_dicom import BAD_SERIES, LEFT_OUT, write_series
from toy_dicom import HU as SLICES
from toy_intake import command, contents, draw_no_pictures, predict_bone_above_zero
from toy_nifti import AFFINE, BAD_FILES, BAD_LABELS, HU, LABEL, holed, save, written


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Prediction and pictures have tests of their own."""
    predict_bone_above_zero(monkeypatch, tmp_path_factory.mktemp("run"))
    draw_no_pictures(monkeypatch)


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
    "cannot be opened": (looped, "this is a link to nothing .Too many levels"),
}


@pytest.mark.parametrize("name", IMAGES)
def test_a_bad_scan_is_one_line_and_the_good_one_beside_it_is_used(
    tmp_path: Path, name: str
) -> None:
    make, words = IMAGES[name]
    (folder := tmp_path / "in").mkdir()
    good, bad = save(folder / "good.nii.gz"), make(folder)
    before = contents(folder)
    code, out, err = command("ingest", folder, "--out", tmp_path / "out")
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
    code, out, _ = command("verify", folder, "--json")
    flawed = [report for report in json.loads(out) if not report["ok"]]
    assert code == 1
    assert len(flawed) == 1
    assert flawed[0]["path"] == str(bad)
    assert re.search(words, f"{flawed[0]['errors'][0]['found']} {flawed[0]['errors'][0]['next']}")
    code, out, err = command(
        "predict", "run", bad, good, "--out", tmp_path / "predictions", "--workers", 0
    )
    assert code == 1
    assert len(err) == 3
    assert str(bad) in err[-1]
    assert "Next: " in err[-1]
    written = sorted(path.name for path in (tmp_path / "predictions").iterdir())
    assert written == ["good_prediction.nii.gz", "predictions.json"]
    assert contents(folder) == before


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
    code, _, err = command("ingest", tmp_path / "in", "--labels", "hip", "--out", tmp_path / "out")
    assert (
        code == 1
        and len(err) == 1
        and str(tmp_path / "in" / "labels" / "a.nii.gz") in err[0]
        and re.search(words, err[0])
    ), err
    assert [p.name for p in (tmp_path / "out" / "labels").iterdir()] == ["case002.nii.gz"]
    code, out, _ = command("verify", tmp_path / "in", "--json")
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
    before = contents(tmp_path / "in")
    code, _, err = command("ingest", tmp_path / "in", "--out", tmp_path / "out")
    assert (
        code == 1
        and len(err) == 1
        and f"refused: {tmp_path / 'in' / 'bad'}" in err[0]
        and "Next: " in err[0]
        and re.search(words, err[0])
    ), err
    assert len(list((tmp_path / "out" / "images").iterdir())) == 1
    code, out, _ = command("verify", tmp_path / "in", "--json")
    assert code == 1
    assert [report["ok"] for report in json.loads(out)].count(False) == 1
    assert contents(tmp_path / "in") == before


@pytest.mark.parametrize("name", LEFT_OUT)
def test_scouts_and_mixed_series_are_left_out_by_name(tmp_path: Path, name: str) -> None:
    tags, words = LEFT_OUT[name]
    write_series(write_series(tmp_path / "in"), SLICES[..., :1], name="odd.dcm", **tags)
    code, _, err = command("ingest", tmp_path / "in", "--out", tmp_path / "out")
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
    code, _, err = command("ingest", tmp_path / "in", "--out", tmp_path / "out")
    assert code == 1
    assert len(err) == 2
    assert "Muster_05.dcm: this is not a DICOM file" in "\n".join(err)
    assert any("1 slices are missing" in line for line in err)
    assert len(list((tmp_path / "out" / "images").iterdir())) == 1
