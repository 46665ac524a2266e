"""DICOM: sound series give the exact volume, and what is wrong in a folder is named."""

from pathlib import Path

import numpy as np
import pytest
from nibabel.affines import apply_affine
from toy_dicom import (
    BAD_SERIES,
    HU,
    LEFT_OUT,
    PERSON,
    SPACING,
    compress,
    one_slice,
    shift,
    write_series,
)

from ssltut.errors import DataError, DataWarning
from ssltut.io.dicom import read_series
from ssltut.io.dicom_series import Series, find_series, is_dicom
from ssltut.io.volume import Volume


def series_in(folder: Path) -> tuple[list[Series], list]:
    findings: list = []
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return find_series([p for p in files if is_dicom(p)], findings.append), findings


def read(folder: Path) -> tuple[Volume | None, list]:
    found, findings = series_in(folder)
    if not found:
        return None, findings
    series, *rest = found
    assert not rest
    return read_series(series, findings.append), findings


def test_a_sound_series_is_read_exactly(tmp_path: Path) -> None:
    volume, findings = read(write_series(tmp_path))
    assert not findings
    assert volume.values.dtype == np.int16
    assert volume.orientation == ("L", "P", "S")
    assert volume.padding == 0
    assert np.array_equal(
        volume.values, HU[::-1, ::-1]
    )  # columns ran to the left, rows to the back
    assert np.linalg.norm(volume.affine[:3, :3], axis=0) == pytest.approx(SPACING)
    # DICOM: the centre of row 0, column 0 of slice k lies at (-20, -30, 100 + 2 k) mm in LPS, so at
    # (20, 30, ...) in RAS
    assert apply_affine(volume.affine, (5, 4, 3)) == pytest.approx((20, 30, 106))


def test_oblique_series(tmp_path: Path) -> None:
    c, s = 0.8, 0.6
    volume, findings = read(
        write_series(
            tmp_path,
            ImageOrientationPatient=[c, s, 0, 0, 0, -1],
            change=lambda k, data: setattr(
                data, "ImagePositionPatient", [10 - 2 * s * k, 5 + 2 * c * k, 7]
            ),
        )
    )
    assert not findings
    assert sorted(volume.values.shape) == sorted(HU.shape)
    assert sorted(np.linalg.norm(volume.affine[:3, :3], axis=0)) == pytest.approx([0.5, 0.75, 2])
    at = np.linalg.solve(volume.affine, [-10, -5, 7, 1])[
        :3
    ]  # the centre of row 0, column 0, slice 0
    assert at == pytest.approx(np.rint(at), abs=1e-9)
    assert volume.values[tuple(np.rint(at).astype(int))] == HU[0, 0, 0]
    at = np.linalg.solve(
        volume.affine, [-10 + 2 * s * 3 - 0.75 * c * 2, -5 - 2 * c * 3 - 0.75 * s * 2, 7 - 0.5, 1]
    )[:3]
    assert volume.values[tuple(np.rint(at).astype(int))] == HU[2, 1, 3]


def test_rle_is_decoded(tmp_path: Path) -> None:
    volume, findings = read(write_series(tmp_path, change=lambda k, data: compress(data)))
    assert not findings
    assert np.array_equal(volume.values, HU[::-1, ::-1])


def test_slices_with_their_own_scaling(tmp_path: Path) -> None:
    def scale(k: int, data: object) -> None:
        data.RescaleIntercept = -24 + k

    volume, _ = read(write_series(tmp_path, change=scale))
    assert np.array_equal(volume.values, (HU + np.arange(8))[::-1, ::-1])
    volume, _ = read(write_series(tmp_path / "half", RescaleSlope=0.5, RescaleIntercept=0))
    assert volume.values.dtype == np.float32
    assert np.array_equal(volume.values, ((HU + 24) / 2).astype(np.float32)[::-1, ::-1])


@pytest.mark.parametrize(
    "tags",
    [
        {"PixelPaddingValue": -2000},
        {"PixelPaddingValue": -2000, "PixelPaddingRangeLimit": -1990},
        {},
    ],
    ids=["named", "a range", "below -1024 HU"],
)
def test_padding_becomes_air(tmp_path: Path, tags: dict) -> None:
    hu = HU.copy()
    hu[:2] = -2024  # stored -2000
    volume, findings = read(write_series(tmp_path, hu, **tags))
    assert not findings
    assert volume.padding == 80
    assert volume.values.min() == -1024
    assert (volume.values[-2:] == -1024).all()
    assert np.array_equal(volume.values[:-2], HU[:1:-1, ::-1])


def test_padding_written_unsigned_beside_signed_pixels(tmp_path: Path) -> None:
    hu = np.where(np.arange(6)[:, None, None] < 1, -900, HU)

    def unsigned(k: int, data: object) -> None:
        data.add_new("PixelPaddingValue", "US", 2**16 - 876)

    volume, _ = read(write_series(tmp_path, hu, change=unsigned))
    assert volume.padding == np.count_nonzero(hu == -900)
    assert (volume.values[-1] == -1024).all()


def test_doubles_are_used_once_with_a_warning(tmp_path: Path) -> None:
    write_series(write_series(tmp_path), HU[..., :3], name="copy_{}.dcm")
    volume, findings = read(tmp_path)
    assert np.array_equal(volume.values, HU[::-1, ::-1])
    assert len(findings) == 1
    assert isinstance(findings[0], DataWarning)
    assert "3 slices are there twice" in str(findings[0])


@pytest.mark.parametrize("name", BAD_SERIES)
def test_a_series_that_is_no_volume_is_refused(tmp_path: Path, name: str) -> None:
    make, words = BAD_SERIES[name]
    volume, findings = read(make(tmp_path))
    assert volume is None
    assert len(findings) == 1
    assert isinstance(findings[0], DataError)
    assert str(tmp_path) in str(findings[0])
    with pytest.raises(DataError, match=words):
        raise findings[0]
    assert "\n" not in str(findings[0])
    assert "Next: " in str(findings[0])
    assert not any(str(value) in findings[0].found for value in PERSON.values())


def test_what_is_within_tolerance_is_silent(tmp_path: Path) -> None:
    volume, findings = read(write_series(tmp_path, change=shift(0.003)))
    assert volume is not None
    assert not findings


def test_too_many_voxels_are_refused_before_they_are_read(tmp_path: Path) -> None:
    def huge(k: int, data: object) -> None:
        data.Rows = data.Columns = 60_000

    volume, findings = read(write_series(tmp_path, change=huge))
    assert volume is None
    assert "60000 x 60000 x 8 voxels" in str(findings[0])


def test_a_header_that_lies_about_its_pixels(tmp_path: Path) -> None:
    volume, findings = read(
        write_series(tmp_path, change=lambda k, data: setattr(data, "Rows", 50))
    )
    assert volume is None
    assert "cannot be read" in str(findings[0])


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_is_no_slice_is_left_out_and_the_scan_read(tmp_path: Path, name: str) -> None:
    tags, words = LEFT_OUT[name]
    write_series(write_series(tmp_path), HU[..., :1], name="odd.dcm", **tags)
    volume, findings = read(tmp_path)
    assert np.array_equal(volume.values, HU[::-1, ::-1])
    assert len(findings) == 1
    assert isinstance(findings[0], DataWarning)
    assert findings[0].where == tmp_path / "odd.dcm"
    with pytest.raises(DataWarning, match=words):
        raise findings[0]


def test_many_series_in_one_folder_and_one_in_many(tmp_path: Path) -> None:
    write_series(tmp_path)
    write_series(tmp_path, HU[..., :4], series="1.2.3.5", name="b{}.dcm", PatientID="other")
    write_series(
        tmp_path,
        HU[..., :3],
        series="1.2.3.5",
        name="c{}.dcm",
        PatientID="other",
        ImageOrientationPatient=[0, 1, 0, 0, 0, -1],
        change=lambda k, data: setattr(data, "ImagePositionPatient", [k, 0, 0]),
    )  # a coronal reformat under the same number
    series, findings = series_in(tmp_path)
    assert not findings
    assert sorted(len(s.slices) for s in series) == [3, 4, 8]
    assert {s.patient for s in series} == {"GEHEIM-4711", "other"}
    assert all(read_series(s, findings.append) is not None for s in series)
    assert not findings
    split = tmp_path / "split"
    for i in (0, 1):
        write_series(split / str(i), skip=tuple(range(i, 8, 2)))
    volume, _ = read(split)
    assert np.array_equal(volume.values, HU[::-1, ::-1])


def test_series_without_numbers_and_names_are_separated_by_folder(tmp_path: Path) -> None:
    blank = {
        "PatientID": "",
        "PatientName": "",
        "StudyInstanceUID": None,
        "SeriesInstanceUID": None,
    }
    for name in "ab":
        write_series(tmp_path / name, **blank)
    series, _ = series_in(tmp_path)
    assert len(series) == 2 == len({s.patient for s in series})


def test_files_that_are_no_dicom(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(b"")
    (tmp_path / "b.dcm").write_bytes(b"not a slice " * 40)
    (tmp_path / "c.txt").write_text("notes")
    one_slice(0, HU[..., 0].T, "1.2").save_as(tmp_path / "d.dcm", enforce_file_format=True)
    (tmp_path / "d.dcm").write_bytes((tmp_path / "d.dcm").read_bytes()[:200])
    series, findings = series_in(tmp_path)
    assert not series
    assert [f.where.name for f in findings] == ["a.dcm", "b.dcm", "d.dcm"]
    assert all("\n" not in str(f) for f in findings)
    assert sum(isinstance(f, DataError) for f in findings) >= 2


def test_real_series(shared: Path) -> None:
    volume, findings = read(shared / "tcga_ov_hip")
    assert not findings
    assert volume.values.shape == (512, 512, 80)
    assert volume.padding == 7_356_314
    assert (volume.values.min(), volume.values.max()) == (-1024, 1478)
    assert np.linalg.norm(volume.affine[:3, :3], axis=0) == pytest.approx((1.03, 1.03, 3))
    assert volume.orientation == ("L", "P", "S")
    assert apply_affine(volume.affine, (511, 511, 79)) == pytest.approx((276.3671, 263.6718, 1292))


def test_real_series_in_jpeg_2000(shared: Path) -> None:
    volume, findings = read(shared / "totalsegmentator_example" / "example_ct_dicom")
    assert not findings
    assert volume.values.shape == (512, 512, 20)
    assert (volume.values.min(), volume.values.max()) == (-1024, 1839)
    assert np.linalg.norm(volume.affine[:3, :3], axis=0) == pytest.approx((0.9765625, 0.9765625, 2))
