"""The folders that people have, from ingest to a scored prediction, without options about names."""

import csv
from pathlib import Path

import numpy as np
import pytest
from toy_cli import QUICK, ssltut
from toy_dicom import SPACING, write_series
from toy_formats import LPS, enhanced, save_contours, save_nrrd, save_seg, save_seg_nrrd
from toy_intake import draw_no_pictures
from toy_nifti import AFFINE, save

from ssltut.data.labels import LABEL_MAPS
from ssltut.errors import DataWarning
from ssltut.intake.ingest import Intake, IntakeOptions, ingest
from ssltut.io.cohort_folder import read_cohort

SHAPE = (18, 16, 14)
HIPS = LABEL_MAPS["hip"]


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    draw_no_pictures(monkeypatch)


def patient(i: int) -> tuple[np.ndarray, np.ndarray]:
    """HU and label of a small CT; no two are alike."""
    x, y, z = np.indices(SHAPE)
    label = np.zeros(SHAPE, np.uint8)
    label[(x - 5) ** 2 + (y - 7) ** 2 + (z - 6) ** 2 < 12 + i] = 1
    label[(x - 13) ** 2 + (y - 8) ** 2 + (z - 7) ** 2 < 9] = 2
    noise = np.random.default_rng(i).integers(-20, 20, SHAPE)
    return (np.where(label, 700, -900) + noise).astype(np.int16), label


def total_segmentator(folder: Path, n: int = 4) -> Path:
    """A folder a patient: ct.nii.gz and segmentations/ with a mask for each structure."""
    for i in range(n):
        hu, label = patient(i)
        masks = folder / f"s{i:04d}" / "segmentations"
        masks.mkdir(parents=True)
        save(masks.parent / "ct.nii.gz", hu)
        left = np.indices(SHAPE)[0] % 2 == 0
        for name, value in {"hip": 1, "femur": 2, "liver": 3}.items():
            for side, half in (("left", left), ("right", ~left)):
                mask = ((label == value) & half).astype(np.uint8)
                save(masks / f"{name}_{side}.nii.gz", mask)
    return folder


def nnu_net(folder: Path, n: int = 4) -> Path:
    """imagesTr and labelsTr; every scan in two channels."""
    for kind in ("imagesTr", "labelsTr"):
        (folder / kind).mkdir(parents=True)
    for i in range(n):
        hu, label = patient(i)
        save(folder / "imagesTr" / f"hip_{i:03d}_0000.nii.gz", hu)
        save(folder / "imagesTr" / f"hip_{i:03d}_0001.nii.gz", hu + np.int16(7))
        save(folder / "labelsTr" / f"hip_{i:03d}.nii.gz", label)
    (folder / "dataset.json").write_text('{"channel_names": {"0": "CT", "1": "PET"}}')
    return folder


def slicer(folder: Path, n: int = 4) -> Path:
    """A folder a patient, saved by 3D Slicer: the volume and the segmentation as NRRD."""
    for i in range(n):
        hu, label = patient(i)
        place = folder / f"patient{i}"
        place.mkdir(parents=True)
        save_nrrd(place / "CT.nrrd", hu, AFFINE)
        names = {"hip bone": (0, 1), "femur": (0, 2)}
        save_seg_nrrd(place / "Segmentation.seg.nrrd", label, AFFINE, names)
    return folder


LAYOUTS = {
    "totalsegmentator": (total_segmentator, "totalsegmentator"),
    "nnunet": (nnu_net, "hip"),
    "slicer": (slicer, "hip"),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_from_ingest_to_a_scored_prediction_in_three_commands(tmp_path: Path, name: str) -> None:
    make, labels = LAYOUTS[name]
    if name == "slicer":
        pytest.importorskip("nrrd", reason="the extra formats is not installed")
    folder, cohort, run = make(tmp_path / "in"), tmp_path / "cohort", tmp_path / "run"
    for words in (
        ["ingest", folder, "--labels", labels, "--out", cohort],
        ["train", cohort, "--method", "labels_only", "--out", run, *QUICK],
        ["evaluate", run, cohort, "--csv", tmp_path / "scores.csv"],
    ):
        code, _, err = ssltut(*words)
        assert code == 0, err
    rows = list(csv.DictReader((tmp_path / "scores.csv").open()))
    assert {row["class"] for row in rows} >= {"hip bone", "femur"}
    cases = read_cohort(cohort)
    assert len(cases.sources) == 4
    for i, case_id in enumerate(cases.sources):
        hu, label = patient(i)
        assert np.array_equal(cases.case(case_id).image, hu)
        assert np.array_equal(cases.case(case_id).label, label)


def taken(folder: Path, **options: object) -> Intake:
    return ingest(folder, folder.parent / "out", IntakeOptions(HIPS, **options), log=None)


def test_halves_with_and_without_labels_become_the_split(tmp_path: Path) -> None:
    for i in range(6):
        hu, label = patient(i)
        half = tmp_path / "in" / ("LabeledCase50" if i < 3 else "UnlabeledCase2000")
        for kind, values in (("images", hu), ("labels", label)):
            (half / kind).mkdir(parents=True, exist_ok=True)
            save(half / kind / f"a{i}.nii.gz", values)
    intake = taken(tmp_path / "in")
    assert not intake.errors + intake.warnings
    cohort = read_cohort(tmp_path / "out")
    assert cohort.split.unlabelled == ("case004", "case005", "case006")
    assert len(cohort.split.labelled) == len(cohort.split.test) == 1
    assert len({row["patient"] for row in intake.rows}) == 6


def test_a_channel_is_chosen_by_name(tmp_path: Path) -> None:
    folder = nnu_net(tmp_path / "in", 3)
    code, _, err = ssltut("ingest", folder, "--labels hip --channel PET --out", tmp_path / "out")
    assert code == 0
    assert "channel 0000 of a scan; channel 0001 is taken (in 3 files" in "\n".join(err)
    image = read_cohort(tmp_path / "out").case("case001").image
    assert np.array_equal(image, patient(0)[0] + 7)


@pytest.mark.parametrize("place", ["seg.dcm", "rt.dcm", "segmentations.nii.gz"])
def test_a_series_with_its_label_in_one_folder(tmp_path: Path, place: str) -> None:
    hu, label = (np.ascontiguousarray(values[..., :8]) for values in patient(0))
    folder = write_series(tmp_path / "in" / "anna", hu)
    if place == "seg.dcm":
        pytest.importorskip("highdicom", reason="the extra formats is not installed")
        save_seg(folder / place, folder, {"hip bone": label == 1, "femur": label == 2})
    elif place == "rt.dcm":
        box = np.array([(0.5, 0.5), (2.5, 0.5), (2.5, 3.5), (0.5, 3.5)]) * SPACING[:2] - (20, 30)
        points = np.column_stack([box, np.full(4, 104.0)])
        save_contours(folder / place, {"hip bone": [points], "femur": [points]}, "1.2.3.4")
    else:
        affine = LPS @ np.diag([*SPACING, 1])
        affine[:3, 3] = LPS[:3, :3] @ (-20, -30, 100)
        save(folder / place, label, affine)
    intake = taken(tmp_path / "in")
    assert len(intake.rows) == 1
    assert "hip bone" in str(intake.rows[0]["labels"]) or "femur" in str(intake.rows[0]["labels"])


def test_dicom_labels_of_no_series_or_of_one_that_has_two(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "in")
    save_contours(folder / "lost.dcm", {}, "9.9")
    assert "of a series that is not here" in str(taken(folder).warnings[0])
    (folder / "lost.dcm").unlink()
    for name in ("a.dcm", "b.dcm"):
        save_contours(folder / name, {}, "1.2.3.4")
    intake = ingest(folder, tmp_path / "new", IntakeOptions(HIPS), log=None)
    assert "2 files could be its label: a.dcm, b.dcm" in str(intake.errors[0])


def test_an_enhanced_file_becomes_a_case(tmp_path: Path) -> None:
    enhanced(tmp_path / "in" / "one.dcm")
    assert taken(tmp_path / "in").rows[0]["from"] == "DICOM series of 1 files"


def test_studies_of_one_patient_are_told_and_can_be_patients(tmp_path: Path) -> None:
    for i in range(3):
        about = {"series": f"1.{i}", "StudyInstanceUID": f"2.{i}", "PatientID": "ANON"}
        write_series(tmp_path / "in" / f"s{i}", RescaleIntercept=-24 - i, **about)
    intake = taken(tmp_path / "in")
    assert len({row["patient"] for row in intake.rows}) == 1
    assert isinstance(intake.warnings[0], DataWarning)
    assert "3 studies have one patient in their headers" in str(intake.warnings[0])
    options = IntakeOptions(HIPS, each_a_patient=True)
    intake = ingest(tmp_path / "in", tmp_path / "new", options, log=None)
    assert len({row["patient"] for row in intake.rows}) == 3
    assert not intake.warnings


def test_a_label_with_a_name_that_says_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    hu, label = patient(0)
    save(tmp_path / "in" / "ct.nii.gz", hu)
    save(tmp_path / "in" / "left.nii.gz", label)
    intake = taken(tmp_path / "in")
    assert len(intake.rows) == 1
    assert "left.nii.gz: this looks like a label" in str(intake.errors[0])


def test_predict_and_train_know_a_label_among_scans(tmp_path: Path) -> None:
    for kind in ("images", "labels"):
        (tmp_path / "in" / kind).mkdir(parents=True)
    for i in range(3):
        hu, label = patient(i)
        save(tmp_path / "in" / "images" / f"a{i}.NII.GZ", hu)
        save(tmp_path / "in" / "images" / f"._a{i}.nii.gz", hu)
        save(tmp_path / "in" / "images" / f"a{i}_seg.nii.gz", label)
        save(tmp_path / "in" / "labels" / f"a{i}.nii.gz", label)
    with pytest.warns(DataWarning, match="3 files are labels by their name, not scans: a0_seg"):
        assert list(read_cohort(tmp_path / "in").sources) == ["a0", "a1", "a2"]
    run = tmp_path / "run"
    with pytest.warns(DataWarning):
        code, _, err = ssltut(
            "train", tmp_path / "in", "--out", run, *QUICK, "--method labels_only"
        )
    assert code == 0, err
    code, out, err = ssltut(
        "predict", run, tmp_path / "in" / "images", "--workers 0 --out", tmp_path / "p"
    )
    assert code == 0
    assert len(out.splitlines()) == 3
    assert "3 files are labels by their name" in "\n".join(err)


def test_the_home_folder_has_its_sign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    save(tmp_path / "ct.nii.gz", patient(0)[0])
    code, out, _ = ssltut("verify ~/ct.nii.gz")
    assert code == 0
    assert str(tmp_path / "ct.nii.gz") in out
