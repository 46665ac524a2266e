"""What is odd but can be read is read right, through the command line."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from toy_dicom import HU as SLICES
from toy_dicom import write_series
from toy_intake import command, draw_no_pictures, predict_bone_above_zero
from toy_nifti import AFFINE, HU, LABEL, holed, oriented, save


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Prediction and pictures have tests of their own."""
    predict_bone_above_zero(monkeypatch, tmp_path_factory.mktemp("run"))
    draw_no_pictures(monkeypatch)


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
    "no affine, but a spacing": (
        {"sform_code": 0, "qform_code": 0},
        ["--assume-spacing", 2],
        HU,
        None,
    ),
    "NaN, but a number to fill in": (
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
    code, _, err = command("ingest", tmp_path / "in", "--out", tmp_path / "out", *options)
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
    assert command("ingest", tmp_path / "in", "--labels", "hip", "--out", tmp_path / "out")[0] == 0
    label = nib.load(tmp_path / "out" / "labels" / "case001.nii.gz")
    assert label.get_data_dtype() == np.uint8
    assert np.array_equal(np.asarray(label.dataobj), LABEL)


def test_duplicate_slices_are_used_once(tmp_path: Path) -> None:
    write_series(write_series(tmp_path / "in"), SLICES[..., :3], name="copy_{}.dcm")
    code, _, err = command("ingest", tmp_path / "in", "--out", tmp_path / "out")
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
    assert command("verify", base / "in")[0] == 0
    code, _, err = command(
        "ingest", base / "in", "--labels", "hip", "--out", base / "out", "--key", base / "key.csv"
    )
    assert code == 0
    assert not err
    assert len(list((base / "out" / "images").iterdir())) == 2
    assert len(list((base / "out" / "labels").iterdir())) == 1
    assert (
        command(
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
    code, out, _ = command(
        "export", base / "out", *sorted((base / "p").iterdir()), "--out", base / "back", "--json"
    )
    assert code == 0
    assert len(json.loads(out)) == 2
