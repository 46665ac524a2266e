"""Which DICOM files make one volume: rounded headers, several passes, frames of one file."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from toy_dicom import HU, SPACING, write_series
from toy_formats import enhanced, save_contours

from ssltut.errors import DataError, DataWarning
from ssltut.io.dicom import read_series
from ssltut.io.dicom_series import Series, find_series
from ssltut.io.volume import strict


def series_in(folder: Path, **options: object) -> tuple[list[Series], list]:
    findings: list = []
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return find_series(files, findings.append, **options), findings


def turned(degrees: float, noise: float = 0.0):
    """Slices turned about x; every other one ``noise`` further in sine and back."""

    def change(k: int, data: pydicom.Dataset) -> None:
        angle = np.radians(degrees)
        cos, sin = np.cos(angle), np.sin(angle) + (noise if k % 2 else -noise)
        data.ImageOrientationPatient = [1, 0, 0, 0, f"{cos:.7f}", f"{sin:.7f}"]
        normal = np.array([0, -np.sin(angle), np.cos(angle)])
        place = np.array([-20, -30, 100]) + SPACING[2] * k * normal
        data.ImagePositionPatient = [f"{mm:.6f}" for mm in place]

    return change


def test_noise_of_rounding_makes_no_second_scan(tmp_path: Path) -> None:
    sine = 0.0345  # so that rounding to three digits tells its neighbours apart
    write_series(tmp_path, change=turned(np.degrees(np.arcsin(sine)), 1e-6))
    (one,), findings = series_in(tmp_path)
    assert not findings
    volume = read_series(one, strict)
    assert sorted(volume.values.shape) == sorted(HU.shape)
    assert sorted(np.linalg.norm(volume.affine[:3, :3], axis=0)) == pytest.approx(sorted(SPACING))


def test_slices_turned_a_little_against_each_other_are_refused(tmp_path: Path) -> None:
    write_series(tmp_path, change=turned(0, 0.02))
    series, findings = series_in(tmp_path)
    assert not series
    assert len(findings) == 1
    assert isinstance(findings[0], DataError)
    assert "4 and 4 slices, turned by 1.6 degrees, that lie between" in str(findings[0])


def test_two_reconstructions_at_one_place_are_both_taken_with_a_word(tmp_path: Path) -> None:
    write_series(write_series(tmp_path), name="fine_{}.dcm", PixelSpacing=[0.25, 0.375])
    series, findings = series_in(tmp_path)
    assert len(series) == 2
    assert len(findings) == 1
    assert isinstance(findings[0], DataWarning)
    assert "of unlike pixels at one place" in str(findings[0])


def own_series(k: int, data: pydicom.Dataset) -> None:
    data.SeriesInstanceUID = f"1.2.3.{k}"


def test_slices_that_each_claim_a_series_are_one_finding(tmp_path: Path) -> None:
    write_series(tmp_path / "a", change=own_series)
    write_series(tmp_path / "b", series="9.9", StudyInstanceUID="9")
    series, findings = series_in(tmp_path)
    assert [len(one.slices) for one in series] == [8]
    assert len(findings) == 1
    assert "8 slices of one study each claim to be a series of their own" in str(findings[0])


def test_two_single_slices_are_judged_by_themselves(tmp_path: Path) -> None:
    write_series(tmp_path, HU[..., :2], change=own_series)
    series, findings = series_in(tmp_path)
    assert len(series) == 2
    assert not findings


def test_passes_that_make_no_one_volume_are_named(tmp_path: Path) -> None:
    def second(k: int, data: pydicom.Dataset) -> None:
        data.ImagePositionPatient = [-20, -30, 109 + SPACING[2] * k]

    write_series(tmp_path, AcquisitionNumber=1)
    write_series(tmp_path, HU[..., :4], name="b{}.dcm", AcquisitionNumber=2, change=second)
    (one,), _ = series_in(tmp_path)
    with pytest.raises(DataError, match=r"2 acquisitions \(1: 8 slices, 2: 4 slices\)") as caught:
        read_series(one, strict)
    assert "each acquisition as a series of its own" in str(caught.value.fix)


def test_passes_that_make_one_volume_are_read(tmp_path: Path) -> None:
    write_series(tmp_path, change=lambda k, data: setattr(data, "AcquisitionNumber", k // 4))
    (one,), findings = series_in(tmp_path)
    assert np.array_equal(read_series(one, strict).values, HU[::-1, ::-1])
    assert not findings


def test_many_files_left_out_for_one_reason_are_one_line(tmp_path: Path) -> None:
    write_series(tmp_path / "mr", series="2", Modality="MR")
    write_series(tmp_path / "ct")
    series, findings = series_in(tmp_path)
    assert len(series) == 1
    assert [str(f).partition("left out: ")[2] for f in findings] == [
        "its modality is MR, not CT (in 8 files, this is the first)"
    ]


def test_an_enhanced_file_is_read_frame_by_frame(tmp_path: Path) -> None:
    enhanced(tmp_path / "one.dcm", order=[3, 1, 0, 2, 7, 5, 6, 4])
    (one,), findings = series_in(tmp_path)
    assert not findings
    assert one.files == {tmp_path / "one.dcm"}
    volume = read_series(one, strict)
    write_series(tmp_path / "plain")
    plain, _ = series_in(tmp_path / "plain")
    expected = read_series(plain[0], strict)
    assert np.array_equal(volume.values, expected.values)
    assert np.allclose(volume.affine, expected.affine)


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ([0, 1, 2, 5, 6, 7], "about 2 slices are missing"),
        ([0, 1, 2, 2, 3], None),
    ],
)
def test_frames_are_judged_as_slices_are(
    tmp_path: Path, order: list[int], words: str | None
) -> None:
    enhanced(tmp_path / "one.dcm", order=order)
    (one,), _ = series_in(tmp_path)
    findings: list = []
    volume = read_series(one, findings.append)
    if words:
        assert words in str(findings[0])
    else:
        assert volume.values.shape[2] == 4
        assert "1 slices are there twice" in str(findings[0])


def test_frames_that_do_not_say_where_they_lie_are_left_out(tmp_path: Path) -> None:
    path = enhanced(tmp_path / "one.dcm")
    data = pydicom.dcmread(path)
    del data.PerFrameFunctionalGroupsSequence
    data.save_as(path)
    series, findings = series_in(tmp_path)
    assert not series
    assert "multi-frame file of 8 slices without positions; convert" in str(findings[0])


def test_frames_that_cannot_be_read_are_refused_by_name(tmp_path: Path) -> None:
    path = enhanced(tmp_path / "one.dcm")
    place = path.read_bytes().rindex(b"DS", 0, path.stat().st_size - HU.size * 2)
    path.write_bytes(path.read_bytes()[:place] + b"XX" + path.read_bytes()[place + 2 :])
    series, findings = series_in(tmp_path)
    assert not series
    assert "the frames' headers cannot be read" in str(findings[0])


def test_a_transfer_syntax_that_is_none(tmp_path: Path) -> None:
    for path in write_series(tmp_path).iterdir():
        data = path.read_bytes()
        path.write_bytes(data.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.7\0"))
    (one,), _ = series_in(tmp_path)
    with pytest.raises(DataError, match="pixels cannot be read"):
        read_series(one, strict)


def test_labels_in_dicom_are_handed_on_where_they_are_asked_for(tmp_path: Path) -> None:
    path = save_contours(write_series(tmp_path) / "rt.dcm", {}, "1.2.3.4")
    labels: list[Path] = []
    series, findings = series_in(tmp_path, labels=labels)
    assert len(series) == 1
    assert labels == [path]
    assert not findings
    assert "its modality is RTSTRUCT, not CT" in str(series_in(tmp_path)[1][0])


@pytest.mark.parametrize("said", ["CT\x10\x00PN Muster^Erika", "Muster^Erika", "M" * 17])
def test_a_modality_that_is_no_code_is_never_shown(tmp_path: Path, said: str) -> None:
    def damage(k: int, data: object) -> None:
        data.Modality = said

    write_series(tmp_path, change=damage)
    found = str(series_in(tmp_path)[1][0])
    assert "its modality is unreadable, not CT" in found
    assert "Erika" not in found
