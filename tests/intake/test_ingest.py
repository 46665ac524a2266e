"""Ingest: somebody's folder becomes a cohort that verifies and names nobody."""

import csv
import shutil
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from toy_dicom import PERSON, write_series
from toy_intake import all_bytes, draw_no_pictures, folder_of
from toy_nifti import AFFINE, HU, LABEL, save
from toy_pelvis import pelvis
from toy_terminal import open_terminal

from ssltut.data.labels import HIP, LABEL_MAPS, LabelMap, LabelTable
from ssltut.errors import ConfigError, DataError
from ssltut.intake.ingest import IntakeOptions, ingest
from ssltut.intake.report import facts_of, write_index, write_report
from ssltut.io.cohort_folder import read_cohort
from ssltut.io.nifti import write_image, write_label
from ssltut.io.verify import verify_paths


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    draw_no_pictures(monkeypatch)


def test_a_folder_becomes_a_cohort(tmp_path: Path) -> None:
    intake = ingest(
        folder_of(tmp_path / "in"), tmp_path / "out", IntakeOptions(LABEL_MAPS["hip"]), log=None
    )
    assert not intake.errors
    assert not intake.warnings
    assert [row["case"] for row in intake.rows] == [f"case00{i}" for i in (1, 2, 3, 4)]
    cohort = read_cohort(tmp_path / "out")
    assert len(cohort.split.labelled) == 2
    assert len(cohort.split.validation) == len(cohort.split.test) == 1
    assert cohort.table == HIP
    case = cohort.case("case002")
    assert np.array_equal(case.image, HU + 1)
    assert np.array_equal(case.label, LABEL)
    assert np.array_equal(case.affine, AFFINE)
    assert case.patient == "p002"
    assert all(report.ok for report in verify_paths(tmp_path / "out"))
    assert b"ller" not in all_bytes(tmp_path / "out")
    page = (tmp_path / "out" / "reports" / "case002.html").read_text()
    assert "2 x 1.5 x 3" in page
    assert "10 x 9 x 21" in page
    assert "femur 0.6 ml" in page
    assert 'alt="case002 in axial' in page
    assert (tmp_path / "out" / "reports" / "case002.png").stat().st_size > 1000
    assert "case004.html" in (tmp_path / "out" / "reports" / "index.html").read_text()


@pytest.mark.usefixtures("no_pictures")
def test_without_labels_the_split_waits(tmp_path: Path) -> None:
    ingest(folder_of(tmp_path / "in", labels=False), tmp_path / "out", log=None)
    assert all(report.ok for report in verify_paths(tmp_path / "out"))
    with pytest.raises(DataError, match="0 patients have labels"):
        read_cohort(tmp_path / "out")
    for i in (1, 2, 3):
        write_label(LABEL, AFFINE, tmp_path / "out" / "labels" / f"case00{i}.nii.gz")
    assert len(read_cohort(tmp_path / "out").split.all) == 4
    assert read_cohort(tmp_path / "out").split.unlabelled == ("case004",)


@pytest.mark.usefixtures("no_pictures")
def test_the_same_scan_twice_is_taken_once(tmp_path: Path) -> None:
    folder_of(tmp_path / "in", 2)
    save(tmp_path / "in" / "images" / "copy.nii.gz", HU)
    intake = ingest(tmp_path / "in", tmp_path / "out", IntakeOptions(LABEL_MAPS["hip"]), log=None)
    assert len(intake.rows) == 2
    assert "same voxels as" in str(intake.warnings[0])


@pytest.mark.usefixtures("no_pictures")
def test_the_key_is_written_only_on_request_and_outside(tmp_path: Path) -> None:
    folder_of(tmp_path / "in", 2)
    for key in (tmp_path / "out" / "key.csv", tmp_path / "in" / "images" / "Müller 0.nii.gz"):
        with pytest.raises(ConfigError, match="outside the cohort"):
            ingest(tmp_path / "in", tmp_path / "out", key=key, log=None)
    ingest(
        tmp_path / "in",
        tmp_path / "out",
        IntakeOptions(LABEL_MAPS["hip"]),
        key=tmp_path / "key.csv",
        log=None,
    )
    rows = list(csv.reader((tmp_path / "key.csv").open(encoding="utf-8")))
    assert rows[1] == ["case001", str(tmp_path / "in" / "images" / "Müller 0.nii.gz")]
    assert len(rows) == 3


@pytest.mark.usefixtures("no_pictures")
def test_other_modalities_keep_their_values(tmp_path: Path) -> None:
    write_series(tmp_path / "in", Modality="MR", RescaleSlope=None, RescaleIntercept=None)
    with pytest.raises(DataError, match=r"no scan is left.*modality is MR, not CT.*--modality"):
        ingest(tmp_path / "in", tmp_path / "out", log=None)
    assert not (tmp_path / "out").exists()
    assert (
        len(ingest(tmp_path / "in", tmp_path / "out", IntakeOptions(modality="MR"), log=None).rows)
        == 1
    )
    assert nib.load(tmp_path / "out" / "images" / "case001.nii.gz").get_data_dtype() == np.float32


def test_nothing_that_identifies_a_person_reaches_the_cohort(tmp_path: Path) -> None:
    write_series(tmp_path / "Muster Erika 1940")
    write_series(
        tmp_path / "Muster Erika 1940",
        series="9.9",
        name="second_{}.dcm",
        change=lambda k, d: setattr(d, "RescaleIntercept", -30),
    )
    intake = ingest(tmp_path / "Muster Erika 1940", tmp_path / "out", log=None)
    assert len(intake.rows) == 2 == len(list((tmp_path / "out" / "images").iterdir()))
    assert {row["patient"] for row in intake.rows} == {"p001"}
    data = all_bytes(tmp_path / "out").lower()
    words = {
        word
        for value in PERSON.values()
        for word in (str(value), *str(value).replace("^", " ").split())
        if len(word) > 3 and word != "huefte"
    }
    for word in (*words, "1.2.3.4", "muster_", "9.9.", str(tmp_path)):
        assert word.lower().encode() not in data, word
    for png in (tmp_path / "out" / "reports").glob("*.png"):
        assert not any(chunk in png.read_bytes() for chunk in (b"tEXt", b"iTXt", b"eXIf"))


def test_nothing_that_identifies_a_real_patient_reaches_the_cohort(
    shared: Path, tmp_path: Path
) -> None:
    import pydicom

    files = sorted((shared / "tcga_ov_hip" / "dicom").iterdir())[40:48]
    (tmp_path / "in").mkdir()
    for file in files:
        shutil.copy(file, tmp_path / "in")
    ingest(tmp_path / "in", tmp_path / "out", log=None)
    data, header = all_bytes(tmp_path / "out"), pydicom.dcmread(files[0], stop_before_pixels=True)
    words = {
        str(e.value)
        for e in header
        if e.VR in ("PN", "LO", "SH", "DA", "TM", "UI", "AS", "LT") and len(str(e.value)) > 4
    }
    assert "TCGA-09-2043" in words
    assert len(words) > 20
    assert not [word for word in words if word.encode() in data]


@pytest.mark.usefixtures("no_pictures")
def test_resampling_keeps_volumes_or_says_so(tmp_path: Path) -> None:
    (tmp_path / "in" / "labels").mkdir(parents=True)
    case = pelvis()
    case.label[0, :3, :3], case.image[0, :3, :3] = 0, -1000  # a pelvis beside some air
    write_image(case, tmp_path / "in" / "a.nii.gz")
    write_label(case.label, case.affine, tmp_path / "in" / "labels" / "a.nii.gz")
    fine = ingest(
        tmp_path / "in", tmp_path / "fine", IntakeOptions(LABEL_MAPS["hip"], spacing=2), log=None
    )
    assert not fine.warnings
    assert fine.rows[0]["spacing (mm)"] == "1.99 x 1.99 x 2"
    coarse = ingest(
        tmp_path / "in", tmp_path / "coarse", IntakeOptions(LABEL_MAPS["hip"], spacing=14), log=None
    )
    assert coarse.warnings
    assert "changed its volume by" in str(coarse.warnings[0])
    assert "changed its volume" in coarse.rows[0]["warnings"]


@pytest.mark.usefixtures("no_pictures")
def test_a_class_that_vanishes_when_resampled_is_warned_of(tmp_path: Path) -> None:
    (tmp_path / "in" / "labels").mkdir(parents=True)
    case = pelvis()
    case.label[case.label == 2] = 0
    case.label[0, 0, 0] = 2
    write_image(case, tmp_path / "in" / "a.nii.gz")
    write_label(case.label, case.affine, tmp_path / "in" / "labels" / "a.nii.gz")
    options = IntakeOptions(LABEL_MAPS["hip"], spacing=6)
    intake = ingest(tmp_path / "in", tmp_path / "out", options, log=None)
    assert "femur changed its volume by -100.0%" in str(intake.warnings[-1])


@pytest.mark.usefixtures("no_pictures")
def test_a_bar_in_a_terminal_else_a_line_for_each_scan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder_of(tmp_path / "in", 2, labels=False)
    lines: list[str] = []
    ingest(tmp_path / "in", tmp_path / "lines", log=lines.append)
    assert [line.split()[0] for line in lines] == ["1/2", "2/2"]
    terminal = open_terminal(monkeypatch)
    ingest(tmp_path / "in", tmp_path / "bar", log=lines.append)
    assert "ingest: 100%" in terminal.getvalue()
    assert len(lines) == 2


@pytest.mark.usefixtures("no_pictures")
def test_without_log_nothing_is_said_of_the_scans(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = open_terminal(monkeypatch)
    ingest(folder_of(tmp_path / "in", 2, labels=False), tmp_path / "out", log=None)
    assert terminal.getvalue() == ""


def test_names_of_classes_cannot_break_a_report(tmp_path: Path) -> None:
    table = LabelTable("mine", ("background", "<b>femur & co", "tibia"), HIP.colours)
    options = IntakeOptions(LabelMap(table, {1: 1, 2: 2}))
    folder_of(tmp_path / "in")
    with pytest.raises(DataError, match=r"names is .*<b>femur & co.*Next: give a list of text"):
        ingest(tmp_path / "in", tmp_path / "out", options, log=None)
    assert [p.name for p in tmp_path.iterdir()] == ["in"]  # it was refused before any work
    ingest(tmp_path / "in", tmp_path / "out", IntakeOptions(LABEL_MAPS["hip"]), log=None)
    case = read_cohort(tmp_path / "out").case("case001")
    facts = facts_of(case, table, "NIfTI", [])
    write_report(case, table, facts, tmp_path / "reports")
    write_index([facts], "a summary", tmp_path / "reports")
    for name in ("case001.html", "index.html"):
        page = (tmp_path / "reports" / name).read_text()
        assert "&lt;b&gt;femur &amp; co" in page
        assert "<b>" not in page


def test_patterns_say_where_labels_lie_and_two_that_fit_are_refused(tmp_path: Path) -> None:
    source = tmp_path / "in"
    for name in ("scans", "truth"):
        (source / name).mkdir(parents=True)
    for i, name in enumerate(("a_0000", "b_0000", "c_0000")):
        save(source / "scans" / f"{name}.nii.gz", HU + np.int16(i))
    for name in ("a", "b", "b_again"):
        save(source / "truth" / f"{name}.nii.gz", LABEL)
    write_series(source / "series")
    one = replace(LABEL_MAPS["hip"], files=("../truth/{name}.nii.gz", "../nowhere/{name}.nii.gz"))
    first = ingest(source, tmp_path / "one", IntakeOptions(one), log=None)
    assert not first.errors
    assert len(list((tmp_path / "one" / "images").iterdir())) == 4
    assert len(list((tmp_path / "one" / "labels").iterdir())) == 2
    both = replace(one, files=("../truth/{name}*.nii.gz",))
    second = ingest(source, tmp_path / "two", IntakeOptions(both), log=None)
    (error,) = second.errors
    assert "2 files could be its label: b.nii.gz, b_again.nii.gz" in str(error)
    assert len(list((tmp_path / "two" / "labels").iterdir())) == 1
