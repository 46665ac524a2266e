"""One header, one record: what cannot be is named with tag and value, and nothing else stops."""

from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import ImplicitVRLittleEndian
from toy_dicom import BAD_TAGS, HU, SPACING, raw, write_series
from toy_intake import command, draw_no_pictures

from ssltut.errors import DataError, DataWarning
from ssltut.io.dicom import read_series
from ssltut.io.dicom_header import read_headers
from ssltut.io.dicom_series import find_series


def test_a_sound_header_is_typed_and_silent(tmp_path: Path) -> None:
    write_series(tmp_path, PixelPaddingValue=-2000, PixelPaddingRangeLimit=-1990, NumberOfFrames=1)
    header = read_headers(tmp_path / "Muster_00.dcm")[0]
    assert header.findings == ()
    assert (header.rows, header.columns, header.frames, header.samples) == (5, 6, 1, 1)
    assert header.position == (-20, -30, 100)
    assert header.orientation == (1, 0, 0, 0, 1, 0)
    assert header.spacing == (SPACING[1], SPACING[0])
    assert (header.slope, header.intercept, header.unit) == (1, -24, "")
    assert header.padding == (-2000, -1990)
    assert header.patient == "GEHEIM-4711"
    assert header.image_type == ("ORIGINAL", "PRIMARY", "AXIAL")


def test_what_a_header_lacks_is_none_and_no_flaw(tmp_path: Path) -> None:
    lacking = ("ImagePositionPatient", "RescaleSlope", "Rows", "NumberOfFrames", "PatientID")
    write_series(tmp_path, **dict.fromkeys(lacking))
    header = read_headers(tmp_path / "Muster_00.dcm")[0]
    assert header.findings == ()
    assert (header.position, header.slope, header.rows, header.frames) == ((), None, None, 1)
    assert header.patient == "Muster^Erika"


@pytest.mark.parametrize("name", BAD_TAGS)
def test_a_tag_that_cannot_be_leaves_out_its_series_and_no_other(tmp_path: Path, name: str) -> None:
    tag, text, words = BAD_TAGS[name]
    write_series(tmp_path, change=raw(**{tag: text}))
    write_series(tmp_path, series="7.7", name="good_{}.dcm")
    findings: list = []
    series = find_series(sorted(tmp_path.iterdir()), findings.append)
    (finding,) = findings
    assert isinstance(finding, DataError)
    assert finding.where == tmp_path / "Muster_03.dcm"
    with pytest.raises(DataError, match=f"{tag} is {words}"):
        raise finding
    assert str(finding).isprintable()
    (good,) = series
    volume = read_series(good, findings.append)
    assert len(findings) == 1
    assert volume is not None
    assert np.array_equal(volume.values, HU[::-1, ::-1])


@pytest.mark.parametrize("in_all", [True, False])
def test_decimal_commas_are_read_with_one_warning(tmp_path: Path, in_all: bool) -> None:
    def comma(k: int, data: object) -> None:
        raw(PixelSpacing=r"0,5\0,75")(7 if in_all else k, data)

    findings: list = []
    write_series(tmp_path, change=comma)
    (series,) = find_series(sorted(tmp_path.iterdir()), findings.append)
    volume = read_series(series, findings.append)
    (finding,) = findings
    assert isinstance(finding, DataWarning)
    where = r"Muster_\d\d.dcm: PixelSpacing is '0,5.0,75', with decimal commas: .* as 0.5 and 0.75"
    with pytest.raises(DataWarning, match=where + (r" \(in 8 files" if in_all else " Next")):
        raise finding
    assert volume is not None
    assert np.linalg.norm(volume.affine[:3, :3], axis=0) == pytest.approx(SPACING)
    assert np.array_equal(volume.values, HU[::-1, ::-1])


def test_implicit_headers_give_the_same_record(tmp_path: Path) -> None:
    def implicit(k: int, data: object) -> None:
        data.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian

    write_series(tmp_path / "a", PixelPaddingValue=-2000)
    write_series(tmp_path / "b", PixelPaddingValue=-2000, change=implicit)
    one, other = (read_headers(tmp_path / name / "Muster_00.dcm")[0] for name in "ab")
    assert vars(one) | {"path": None} == vars(other) | {"path": None}


def test_ingest_names_the_file_and_takes_in_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_no_pictures(monkeypatch)
    write_series(tmp_path / "in" / "bad", change=raw(RescaleIntercept="none"))
    write_series(tmp_path / "in" / "good", series="7.7")
    code, _, err = command("ingest", tmp_path / "in", "--out", tmp_path / "out")
    assert code == 1
    assert len(err) == 1
    assert f"{tmp_path / 'in' / 'bad' / 'Muster_03.dcm'}: RescaleIntercept is 'none'" in err[0]
    assert len(list((tmp_path / "out" / "images").iterdir())) == 1
