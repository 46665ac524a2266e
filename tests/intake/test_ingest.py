"""Ingest: somebody's folder becomes a cohort that verifies and names nobody."""

import csv
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from toy_dicom import PERSON, write_series
from toy_intake import everything, folder_of
from toy_nifti import AFFINE, HU, LABEL, save
from toy_pelvis import pelvis

from ssltut.data.labels import HIP, LABEL_MAPS
from ssltut.errors import ConfigError, DataError
from ssltut.intake.ingest import IntakeOptions, ingest
from ssltut.io.cohort_folder import read_cohort
from ssltut.io.nifti import write_image, write_label
from ssltut.io.verify import verify_paths

QUIET = {"log": lambda line: None}


def test_a_folder_becomes_a_cohort(tmp_path: Path) -> None:
    intake = ingest(
        folder_of(tmp_path / "in"), tmp_path / "out", IntakeOptions(LABEL_MAPS["hip"]), **QUIET
    )
    assert not intake.refused
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
    assert b"ller" not in everything(tmp_path / "out")
    page = (tmp_path / "out" / "reports" / "case002.html").read_text()
    assert "2 x 1.5 x 3" in page
    assert "10 x 9 x 21" in page
    assert "femur 0.6 ml" in page
    assert 'alt="case002 in axial' in page
    assert (tmp_path / "out" / "reports" / "case002.png").stat().st_size > 1000
    assert "case004.html" in (tmp_path / "out" / "reports" / "index.html").read_text()


def test_without_labels_the_split_waits(tmp_path: Path) -> None:
    ingest(folder_of(tmp_path / "in", labels=False), tmp_path / "out", **QUIET)
    assert all(report.ok for report in verify_paths(tmp_path / "out"))
    with pytest.raises(DataError, match="0 patients have labels"):
        read_cohort(tmp_path / "out")
    for i in (1, 2, 3):
        write_label(LABEL, AFFINE, tmp_path / "out" / "labels" / f"case00{i}.nii.gz")
    assert len(read_cohort(tmp_path / "out").split.all) == 4
    assert read_cohort(tmp_path / "out").split.unlabelled == ("case004",)


def test_the_same_scan_twice_is_taken_once(tmp_path: Path) -> None:
    folder_of(tmp_path / "in", 2)
    save(tmp_path / "in" / "images" / "copy.nii.gz", HU)
    intake = ingest(tmp_path / "in", tmp_path / "out", IntakeOptions(LABEL_MAPS["hip"]), **QUIET)
    assert len(intake.rows) == 2
    assert "same voxels as" in str(intake.warnings[0])


def test_the_key_is_written_only_on_request_and_outside(tmp_path: Path) -> None:
    folder_of(tmp_path / "in", 2)
    for key in (tmp_path / "out" / "key.csv", tmp_path / "in" / "images" / "Müller 0.nii.gz"):
        with pytest.raises(ConfigError, match="outside the cohort"):
            ingest(tmp_path / "in", tmp_path / "out", key=key, **QUIET)
    ingest(
        tmp_path / "in",
        tmp_path / "out",
        IntakeOptions(LABEL_MAPS["hip"]),
        key=tmp_path / "key.csv",
        **QUIET,
    )
    rows = list(csv.reader((tmp_path / "key.csv").open(encoding="utf-8")))
    assert rows[1] == ["case001", str(tmp_path / "in" / "images" / "Müller 0.nii.gz")]
    assert len(rows) == 3


def test_other_modalities_keep_their_values(tmp_path: Path) -> None:
    write_series(tmp_path / "in", Modality="MR", RescaleSlope=None, RescaleIntercept=None)
    with pytest.raises(DataError, match=r"no scan is left.*modality is MR, not CT.*--modality"):
        ingest(tmp_path / "in", tmp_path / "out", **QUIET)
    assert not (tmp_path / "out").exists()
    assert (
        len(ingest(tmp_path / "in", tmp_path / "out", IntakeOptions(modality="MR"), **QUIET).rows)
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
    intake = ingest(tmp_path / "Muster Erika 1940", tmp_path / "out", **QUIET)
    assert len(intake.rows) == 2 == len(list((tmp_path / "out" / "images").iterdir()))
    assert {row["patient"] for row in intake.rows} == {"p001"}
    data = everything(tmp_path / "out").lower()
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
    ingest(tmp_path / "in", tmp_path / "out", **QUIET)
    data, header = everything(tmp_path / "out"), pydicom.dcmread(files[0], stop_before_pixels=True)
    words = {
        str(e.value)
        for e in header
        if e.VR in ("PN", "LO", "SH", "DA", "TM", "UI", "AS", "LT") and len(str(e.value)) > 4
    }
    assert "TCGA-09-2043" in words
    assert len(words) > 20
    assert not [word for word in words if word.encode() in data]


def test_resampling_keeps_volumes_or_says_so(tmp_path: Path) -> None:
    (tmp_path / "in" / "labels").mkdir(parents=True)
    case = pelvis()
    case.label[0, :3, :3] = 0
    write_image(case, tmp_path / "in" / "a.nii.gz")
    write_label(case.label, case.affine, tmp_path / "in" / "labels" / "a.nii.gz")
    fine = ingest(
        tmp_path / "in", tmp_path / "fine", IntakeOptions(LABEL_MAPS["hip"], spacing=2), **QUIET
    )
    assert not fine.warnings
    assert fine.rows[0]["spacing (mm)"] == "1.99 x 1.99 x 2"
    coarse = ingest(
        tmp_path / "in", tmp_path / "coarse", IntakeOptions(LABEL_MAPS["hip"], spacing=14), **QUIET
    )
    assert coarse.warnings
    assert "changed its volume by" in str(coarse.warnings[0])
    assert "changed its volume" in coarse.rows[0]["warnings"]
