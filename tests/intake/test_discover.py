"""The scans of a folder: patients, labels that belong to them, and what is left out."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from toy_intake import draw_no_pictures, folder_of
from toy_nifti import AFFINE, HU, LABEL, save

from ssltut.data.labels import LABEL_MAPS
from ssltut.errors import DataError
from ssltut.intake.ingest import IntakeOptions, ingest


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """They have tests of their own, in test_ingest.py."""
    draw_no_pictures(monkeypatch)


def test_labels_without_a_mapping_are_left_out_with_a_warning(tmp_path: Path) -> None:
    intake = ingest(folder_of(tmp_path / "in", 2), tmp_path / "out", log=None)
    assert len(intake.rows) == 2
    assert len(intake.warnings) == 1
    assert "nothing says what its values mean (in 2 files" in str(intake.warnings[0])
    assert not (tmp_path / "out" / "labels").exists()


def test_a_sub_folder_is_a_patient_by_default(tmp_path: Path) -> None:
    for i, name in enumerate(("anna/one", "anna/two", "bert/one", "top")):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        save(tmp_path / "in" / f"{name}.nii.gz", HU + np.int16(i))
    patients = [row["patient"] for row in ingest(tmp_path / "in", tmp_path / "a", log=None).rows]
    assert patients == ["p001", "p001", "p002", "p003"]
    assert (
        len(
            {
                row["patient"]
                for row in ingest(
                    tmp_path / "in", tmp_path / "b", IntakeOptions(each_a_patient=True), log=None
                ).rows
            }
        )
        == 4
    )


def test_masks_in_a_folder_per_scan(tmp_path: Path) -> None:
    for name, value in (
        ("hip_left", 1),
        ("hip_right", 1),
        ("femur_left", 2),
        ("femur_right", 2),
        ("liver", 0),
    ):
        (tmp_path / "in" / "s01" / "segmentations").mkdir(parents=True, exist_ok=True)
        half = (
            np.arange(5)[:, None, None] < 3
            if name.endswith("left")
            else np.arange(5)[:, None, None] >= 3
        )
        save(
            tmp_path / "in" / "s01" / "segmentations" / f"{name}.nii.gz",
            ((value > 0) & (value == LABEL) & half).astype(np.uint8),
        )
    save(tmp_path / "in" / "s01" / "ct.nii.gz")
    intake = ingest(
        tmp_path / "in", tmp_path / "out", IntakeOptions(LABEL_MAPS["totalsegmentator"]), log=None
    )
    assert not intake.errors
    assert not intake.warnings
    assert np.array_equal(
        np.asarray(nib.load(tmp_path / "out" / "labels" / "case001.nii.gz").dataobj), LABEL
    )
    (tmp_path / "in" / "s01" / "segmentations" / "femur_left.nii.gz").unlink()
    with pytest.raises(DataError, match="1 of 4 masks are missing, the first is femur_left"):
        ingest(
            tmp_path / "in",
            tmp_path / "new",
            IntakeOptions(LABEL_MAPS["totalsegmentator"]),
            log=None,
        )
    save(tmp_path / "in" / "s01" / "segmentations" / "femur_left.nii.gz", LABEL[:4])
    with pytest.raises(DataError, match=r"shape \(4, 6, 7\)"):
        ingest(
            tmp_path / "in",
            tmp_path / "new",
            IntakeOptions(LABEL_MAPS["totalsegmentator"]),
            log=None,
        )


def test_names_of_other_collections_are_paired(tmp_path: Path) -> None:
    for i, (image, label) in enumerate(
        (("imagesTr/a_0000", "labelsTr/a"), ("data/b_data", "data/b_mask_4label"), ("c", "c-seg"))
    ):
        for name in (image, label):
            (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        save(tmp_path / "in" / f"{image}.nii.gz", HU + np.int16(i))
        save(tmp_path / "in" / f"{label}.nii.gz", LABEL)
    intake = ingest(tmp_path / "in", tmp_path / "out", IntakeOptions(LABEL_MAPS["hip"]), log=None)
    assert len(intake.rows) == 3
    assert all("femur" in row["labels"] for row in intake.rows)
    assert not intake.warnings


def test_two_possible_labels_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "c.nii.gz")
    for name in ("c_seg", "c_segmentation"):
        save(tmp_path / f"{name}.nii.gz", LABEL)
    with pytest.raises(
        DataError,
        match=r"2 files could be its label: c_seg\.nii\.gz, c_segmentation\.nii\.gz.*--label-files",
    ):
        ingest(tmp_path, tmp_path / "out", IntakeOptions(LABEL_MAPS["hip"]), log=None)


def test_a_label_without_a_scan_is_warned_of(tmp_path: Path) -> None:
    save(folder_of(tmp_path / "in", 2) / "labels" / "lost.nii.gz", LABEL)
    intake = ingest(tmp_path / "in", tmp_path / "out", IntakeOptions(LABEL_MAPS["hip"]), log=None)
    assert len(intake.warnings) == 1
    assert "no scan has its name" in str(intake.warnings[0])
    assert intake.warnings[0].where.name == "lost.nii.gz"


def test_a_warning_about_a_mask_does_not_cost_the_label(tmp_path: Path) -> None:
    flat = AFFINE @ np.diag([0.1, 1, 7, 1])
    (tmp_path / "in" / "segmentations").mkdir(parents=True)
    save(tmp_path / "in" / "ct.nii.gz", affine=flat)
    for name, value in LABEL_MAPS["totalsegmentator"].masks.items():
        mask = (value == LABEL).astype(np.uint8)
        save(tmp_path / "in" / "segmentations" / f"{name}.nii.gz", mask, flat)
    options = IntakeOptions(LABEL_MAPS["totalsegmentator"])
    intake = ingest(tmp_path / "in", tmp_path / "out", options, log=None)
    assert (tmp_path / "out" / "labels" / "case001.nii.gz").is_file()
    assert len(intake.warnings) == 5
    assert all("times longer one way" in str(warning) for warning in intake.warnings)
