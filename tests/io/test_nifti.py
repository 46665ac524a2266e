"""NIfTI: geometry survives a round trip exactly, and what is wrong in a file is named.

Each flaw has a sound twin.
"""

import gzip
import tracemalloc
import warnings
from contextlib import nullcontext
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from toy_nifti import AFFINE, BAD_FILES, BAD_LABELS, HU, LABEL, NAN, holed, oriented, save, shifted

from ssltut.data.case import Case
from ssltut.data.labels import HIP
from ssltut.errors import ConfigError, DataError, DataWarning
from ssltut.io import _nifti_header
from ssltut.io.nifti import read_case, write_image, write_label, write_like_source

AXES = [("R", "A", "S"), ("L", "P", "S"), ("P", "I", "R"), ("S", "L", "A")]


@pytest.fixture(autouse=True)
def silence() -> None:
    """Any warning that a test does not ask for fails it: the silent twin of every warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.parametrize("codes", AXES)
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_axes_turn_to_ras_and_back(tmp_path: Path, codes: tuple[str, ...], suffix: str) -> None:
    image, mask = (
        save(tmp_path / f"{name}{suffix}", *oriented(values, codes))
        for name, values in (("scan", HU), ("mask", LABEL))
    )
    case = read_case(image, mask, table=HIP)
    assert (case.orientation, case.id, case.patient, case.source) == (codes, "scan", "scan", image)
    assert case.image.dtype == np.int16
    assert np.array_equal(case.image, HU)
    assert np.array_equal(case.label, LABEL)
    assert np.array_equal(case.affine, AFFINE)
    assert case.spacing == (2, 1.5, 3)
    write_like_source(case.label, case, tmp_path / "back.nii.gz")
    back = nib.load(tmp_path / "back.nii.gz")
    assert np.array_equal(np.asanyarray(back.dataobj), oriented(LABEL, codes)[0])
    assert back.get_data_dtype() == np.uint8
    assert np.array_equal(back.affine, nib.load(image).affine)


def test_label_with_other_axes_is_on_the_same_grid(tmp_path: Path) -> None:
    case = read_case(
        save(tmp_path / "i.nii", *oriented(HU, ("L", "P", "S"))),
        save(tmp_path / "l.nii", *oriented(LABEL, ("S", "L", "A"))),
    )
    assert np.array_equal(case.image, HU)
    assert np.array_equal(case.label, LABEL)


def test_image_written_and_read(tmp_path: Path) -> None:
    for values in (HU, HU + np.float32(0.5)):
        case = Case("a", "p", values, None, AFFINE)
        write_image(case, tmp_path / f"{values.dtype}.nii.gz")
        again = read_case(tmp_path / f"{values.dtype}.nii.gz", case_id="a", patient="q")
        assert again.image.dtype == values.dtype
        assert np.array_equal(again.image, values)
        assert np.array_equal(again.affine, AFFINE)
        assert (again.id, again.patient) == ("a", "q")
    assert read_case(tmp_path / "int16.nii.gz", modality="MR").image.dtype == np.float32


@pytest.mark.parametrize(
    ("values", "fields", "expected"),
    [
        (HU, {"scl_slope": 1, "scl_inter": -1024}, (HU.astype(int) - 1024).astype(np.int16)),
        (HU, {"scl_slope": 0, "scl_inter": 9}, HU),
        (HU, {"scl_slope": 0.5, "scl_inter": 0}, HU.astype(np.float32) / 2),
        (HU, {"scl_slope": 100, "scl_inter": 0}, HU.astype(np.float32) * 100),
        (HU.astype(np.int32), {}, HU),
        (HU.astype(">i2"), {}, HU),
        (HU.astype(np.float64), {}, HU),
        (HU.astype(np.int32) + 40_000, {}, HU.astype(np.float32) + 40_000),
        (HU[..., None], {}, HU),
    ],
    ids=[
        "intercept",
        "no slope",
        "half",
        "large",
        "int32",
        "big endian",
        "float64",
        "beyond int16",
        "4D with one",
    ],
)
def test_hu_stay_whole_where_they_are(
    tmp_path: Path, values: np.ndarray, fields: dict[str, float], expected: np.ndarray
) -> None:
    path = save(tmp_path / "scan.nii", values, **fields)
    hardly_hu = expected.min() > -500 or expected.max() > 32767
    with pytest.warns(DataWarning, match="hardly HU") if hardly_hu else nullcontext():
        image = read_case(path).image
    assert image.dtype == expected.dtype
    assert np.array_equal(image, expected)


def test_nifti2_and_real_scan(tmp_path: Path, shared: Path) -> None:
    nib.save(nib.Nifti2Image(HU, AFFINE), tmp_path / "two.nii.gz")
    assert np.array_equal(read_case(tmp_path / "two.nii.gz").image, HU)
    real = read_case(shared / "totalsegmentator_example" / "example_ct.nii.gz")
    assert real.image.dtype == np.int16
    assert real.image.shape == (122, 101, 112)
    assert (real.image.min(), real.image.max()) == (-1207, 3382)
    assert real.spacing == (3, 3, 3)


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_file_is_named_without_allocating(tmp_path: Path, name: str) -> None:
    make, words = BAD_FILES[name]
    path = make(tmp_path)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=words) as caught:
            read_case(path)
        assert tracemalloc.get_traced_memory()[1] < 8e6
    finally:
        tracemalloc.stop()
    assert str(path) in str(caught.value)
    assert "Next: " in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "make",
    [
        lambda d: save(d / "s.nii", qform=AFFINE),
        lambda d: save(d / "s.nii", qform=AFFINE, sform_code=0),
        lambda d: save(d / "s.nii", qform=AFFINE, sform_code=0, pixdim=[0, 2, 1.5, 3, 0, 0, 0, 0]),
        lambda d: save(d / "s.nii", qform=AFFINE, pixdim=[1, 0, -1, np.nan, 0, 0, 0, 0]),
        lambda d: save(d / "s.nii", qform=shifted(4e-4)),
    ],
    ids=["both", "qform", "qfac 0", "broken qform beside a sound sform", "within the tolerance"],
)
def test_sound_geometry_is_silent(tmp_path: Path, make) -> None:
    case = read_case(make(tmp_path))
    assert np.allclose(case.affine, AFFINE, atol=1e-3)
    assert np.array_equal(case.image, HU)


def test_bomb_within_the_gzip_ratio_is_read(tmp_path: Path) -> None:
    flat = save(tmp_path / "flat.nii.gz", np.full((100, 100, 100), -1000, np.int16))
    with pytest.warns(DataWarning, match="all 1000000 voxels are -1000"):
        flat = read_case(flat)
    assert flat.image.shape == (100, 100, 100)


@pytest.mark.parametrize("reader", ["gzip", "isal.igzip"])
def test_scans_and_damage_are_the_same_with_isal(monkeypatch, tmp_path: Path, reader: str) -> None:
    monkeypatch.setattr(_nifti_header, "quick_gzip", pytest.importorskip(reader))
    whole = save(tmp_path / "whole.nii.gz")
    assert np.array_equal(read_case(whole).image, read_case(save(tmp_path / "plain.nii")).image)
    content = bytearray(whole.read_bytes())
    content[-8] ^= 1  # the checksum
    whole.write_bytes(bytes(content))
    with pytest.raises(DataError, match="are cut off or damaged"):
        read_case(whole)


def test_what_the_caller_may_decide(tmp_path: Path) -> None:
    bare = save(tmp_path / "bare.nii", sform_code=0, qform_code=0)
    assert read_case(bare, assume_spacing=0.7).spacing == (0.7,) * 3
    assert read_case(bare, assume_spacing=(1, 2, 3)).spacing == (1, 2, 3)
    for spacing in (0, -1, np.nan, (1, 2)):
        with pytest.raises(ConfigError, match="one number or three"):
            read_case(bare, assume_spacing=spacing)
    filled = read_case(save(tmp_path / "nan.nii", holed(HU)), fill=-1024).image
    assert filled.dtype == np.int16
    assert filled[1, 2, 3] == filled[4, 5, 6] == -1024
    assert np.count_nonzero(filled != HU) == 2


@pytest.mark.parametrize("slope", [np.nan, np.inf])
def test_scaling_that_is_no_number_is_warned_of(tmp_path: Path, slope: float) -> None:
    path = save(tmp_path / "s.nii", scl_slope=slope)
    with pytest.warns(DataWarning, match="slope (nan|inf).*Next: "):
        assert np.array_equal(read_case(path).image, HU)


@pytest.mark.parametrize("name", BAD_LABELS)
def test_bad_label_is_named(tmp_path: Path, name: str) -> None:
    how, words = BAD_LABELS[name]
    with pytest.raises(DataError, match=words):
        read_case(
            save(tmp_path / "i.nii"),
            save(tmp_path / "l.nii", **{"values": LABEL, **how}),
            table=HIP,
        )


@pytest.mark.parametrize(
    "how",
    [
        {"affine": shifted(0.09)},
        {"values": LABEL.astype(np.float64)},
        {"values": LABEL.astype(np.int32)},
    ],
)
def test_good_label_is_silent(tmp_path: Path, how: dict[str, object]) -> None:
    case = read_case(
        save(tmp_path / "i.nii"), save(tmp_path / "l.nii", **{"values": LABEL, **how}), table=HIP
    )
    assert case.label.dtype == np.uint8
    assert np.array_equal(case.label, LABEL)


def test_label_without_a_table_and_with_one_class(tmp_path: Path) -> None:
    image = save(tmp_path / "i.nii")
    assert (
        read_case(image, save(tmp_path / "l.nii", LABEL.astype(np.uint16) * 300)).label.max() == 600
    )
    with pytest.raises(DataError, match="not in the table: 65536 "):
        read_case(image, save(tmp_path / "l.nii", LABEL.astype(np.int32) * 2**15))
    with pytest.warns(DataWarning, match="one class only: 0 in all 210"):
        read_case(image, save(tmp_path / "l.nii", LABEL * 0), table=HIP)


@pytest.mark.parametrize("top", [1, 2, 255, 256, 300, 65535])
def test_label_written_is_the_label_read(tmp_path: Path, top: int) -> None:
    label = np.where(LABEL == 1, top, 0).astype(np.int64)
    write_label(label, AFFINE, tmp_path / "l.nii.gz")
    written = nib.load(tmp_path / "l.nii.gz")
    header = nib.Nifti1Header(
        gzip.decompress((tmp_path / "l.nii.gz").read_bytes())[:348], check=False
    )
    assert written.get_data_dtype() == (np.uint8 if top < 256 else np.uint16)
    assert header["scl_slope"] in (0, 1)
    assert np.array_equal(np.asanyarray(written.dataobj), label)
    assert np.array_equal(written.affine, AFFINE)
    assert [p.name for p in tmp_path.iterdir()] == ["l.nii.gz"]


@pytest.mark.parametrize(
    ("label", "affine", "name", "error", "words"),
    [
        (LABEL.astype(int) * 40_000, AFFINE, "l.nii.gz", DataError, "80000"),
        (LABEL / 2, AFFINE, "l.nii.gz", DataError, "not whole"),
        (holed(LABEL), AFFINE, "l.nii.gz", DataError, "not whole"),
        (holed(LABEL, np.inf), AFFINE, "l.nii.gz", DataError, r"inf \(2 voxels\)"),
        (LABEL, NAN, "l.nii.gz", DataError, "affine has 4 numbers"),
        (LABEL, np.zeros((4, 4)), "l.nii.gz", DataError, "singular"),
        (LABEL, AFFINE, "l.png", ConfigError, "NIfTI"),
    ],
)
def test_bad_label_is_not_written(tmp_path: Path, label, affine, name, error, words: str) -> None:
    with pytest.raises(error, match=words):
        write_label(label, affine, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten_by_default(tmp_path: Path) -> None:
    path = tmp_path / "l.nii.gz"
    write_label(LABEL, AFFINE, path)
    before = path.read_bytes()
    for write in (
        lambda: write_label(LABEL, AFFINE, path),
        lambda: write_image(Case("a", "a", HU, None, AFFINE), path),
    ):
        with pytest.raises(ConfigError, match="exists already"):
            write()
    assert path.read_bytes() == before
    write_label(2 - LABEL, AFFINE, path, overwrite=True)
    assert np.array_equal(np.asanyarray(nib.load(path).dataobj), 2 - LABEL)


def test_a_disk_that_lies_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, honest = tmp_path / "l.nii.gz", nib.save
    write_label(LABEL, AFFINE, path)
    before = path.read_bytes()
    monkeypatch.setattr(
        nib,
        "save",
        lambda image, part: honest(
            nib.Nifti1Image(np.zeros(image.shape, np.uint8), image.affine), part
        ),
    )
    with pytest.raises(DataError, match="read back differs"):
        write_label(2 - LABEL, AFFINE, path, overwrite=True)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_prediction_of_another_shape_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="predict on the case"):
        write_like_source(LABEL[1:], Case("a", "a", HU, None, AFFINE), tmp_path / "p.nii.gz")
