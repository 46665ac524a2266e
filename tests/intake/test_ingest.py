"""Ingest and export: somebody's folder becomes a cohort that verifies, names nobody, and can be
undone on the original grid.
"""

import csv
import gzip
import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.affines import apply_affine
from scipy.ndimage import binary_erosion, distance_transform_edt
from toy_dicom import PERSON, write_series
from toy_nifti import AFFINE, HU, LABEL, save

from ssltut.data import crop_hips as hips
from ssltut.data.case import Case
from ssltut.data.crop_hips import crop_hips
from ssltut.data.labels import HIP, LABEL_MAPS, LabelMap, label_map
from ssltut.data.resample import onto_grid
from ssltut.errors import ConfigError, DataError
from ssltut.intake.ingest import Options, export, ingest
from ssltut.io.cohort_folder import read_cohort
from ssltut.io.nifti import write_image, write_label
from ssltut.io.verify import verify_paths

QUIET = {"log": lambda line: None}


def ball(
    shape: tuple[int, ...], spacing: np.ndarray, centre: tuple[float, ...], radius: float
) -> np.ndarray:
    place = (np.indices(shape).T * spacing - centre).T
    return (place**2).sum(0) <= radius**2


def pelvis(spacing: tuple[float, float, float] = (3.0, 3.0, 3.0)) -> Case:
    """280 x 160 x 150 mm with two hips: a femur (head of 23 mm, shaft) under a hip bone each,
    cortical bone around spongy bone; a
    vertebra in the middle.
    """
    mm = np.array(spacing)
    shape = tuple(np.rint(np.array([280, 160, 150]) / mm).astype(int))
    label, image = np.zeros(shape, np.uint8), np.full(shape, 40, np.int16)
    image[ball(shape, mm, (140, 100, 120), 18)] = 220
    for x, out in ((55.0, -1), (225.0, 1)):
        femur = ball(shape, mm, (x, 90, 70), 23)
        for step in range(0, 60, 3):
            femur |= ball(shape, mm, (x + out * min(step, 35), 88, 70 - step), 13)
        hip = (
            ball(shape, mm, (x - out * 8, 92, 88), 34) | ball(shape, mm, (x - out * 5, 95, 120), 22)
        ) & ~ball(shape, mm, (x, 90, 70), 25)
        label[hip], label[femur] = 1, 2
    for value, hu in ((1, 450), (2, 350)):
        image[label == value] = hu
        image[(label == value) & ~binary_erosion(label == value)] = 900
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = (-140, -80, 900)
    return Case("pelvis", "p", image, label, affine, {"modality": "CT"})


def folder_of(path: Path, n: int = 4, labels: bool = True) -> Path:
    """images/ and labels/ with ``n`` different scans."""
    for i in range(n):
        for kind in ("images", "labels"):
            (path / kind).mkdir(parents=True, exist_ok=True)
        save(path / "images" / f"Müller {i}.nii.gz", HU + np.int16(i))
        if labels:
            save(path / "labels" / f"Müller {i}.nii.gz", LABEL)
    return path


def everything(folder: Path) -> bytes:
    """All names and bytes below a folder, also those inside gzip and PNG streams."""
    data = b""
    for path in sorted(folder.rglob("*")):
        data += str(path.relative_to(folder)).encode()
        if path.is_file():
            raw = path.read_bytes()
            data += raw + (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else b"")
    return data


# NIfTI folders


def test_a_folder_becomes_a_cohort(tmp_path: Path) -> None:
    intake = ingest(
        folder_of(tmp_path / "in"), tmp_path / "out", Options(LABEL_MAPS["hip"]), **QUIET
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


def test_labels_without_a_mapping_are_left_out_and_told(tmp_path: Path) -> None:
    intake = ingest(folder_of(tmp_path / "in", 2), tmp_path / "out", **QUIET)
    assert len(intake.rows) == 2
    assert len(intake.warnings) == 2
    assert "nothing says what its values mean" in str(intake.warnings[0])
    assert not (tmp_path / "out" / "labels").exists()


def test_the_same_scan_twice_is_taken_once(tmp_path: Path) -> None:
    folder_of(tmp_path / "in", 2)
    save(tmp_path / "in" / "images" / "copy.nii.gz", HU)
    intake = ingest(tmp_path / "in", tmp_path / "out", Options(LABEL_MAPS["hip"]), **QUIET)
    assert len(intake.rows) == 2
    assert "same voxels as" in str(intake.warnings[0])


def test_a_sub_folder_is_a_patient_unless_told_otherwise(tmp_path: Path) -> None:
    for i, name in enumerate(("anna/one", "anna/two", "bert/one", "top")):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        save(tmp_path / "in" / f"{name}.nii.gz", HU + np.int16(i))
    patients = [row["patient"] for row in ingest(tmp_path / "in", tmp_path / "a", **QUIET).rows]
    assert patients == ["p001", "p001", "p002", "p003"]
    assert (
        len(
            {
                row["patient"]
                for row in ingest(
                    tmp_path / "in", tmp_path / "b", Options(each_a_patient=True), **QUIET
                ).rows
            }
        )
        == 4
    )


def test_the_key_is_written_only_on_request_and_outside(tmp_path: Path) -> None:
    folder_of(tmp_path / "in", 2)
    for key in (tmp_path / "out" / "key.csv", tmp_path / "in" / "images" / "Müller 0.nii.gz"):
        with pytest.raises(ConfigError, match="outside the cohort"):
            ingest(tmp_path / "in", tmp_path / "out", key=key, **QUIET)
    ingest(
        tmp_path / "in",
        tmp_path / "out",
        Options(LABEL_MAPS["hip"]),
        key=tmp_path / "key.csv",
        **QUIET,
    )
    rows = list(csv.reader((tmp_path / "key.csv").open(encoding="utf-8")))
    assert rows[1] == ["case001", str(tmp_path / "in" / "images" / "Müller 0.nii.gz")]
    assert len(rows) == 3


def test_other_modalities_keep_their_values(tmp_path: Path) -> None:
    write_series(tmp_path / "in", Modality="MR", RescaleSlope=None, RescaleIntercept=None)
    with pytest.raises(DataError, match="no scan is left.*modality is MR, not CT.*--modality"):
        ingest(tmp_path / "in", tmp_path / "out", **QUIET)
    assert not (tmp_path / "out").exists()
    assert len(ingest(tmp_path / "in", tmp_path / "out", Options(modality="MR"), **QUIET).rows) == 1
    assert nib.load(tmp_path / "out" / "images" / "case001.nii.gz").get_data_dtype() == np.float32


# Label mappings


def test_mappings_by_name() -> None:
    total = LABEL_MAPS["totalsegmentator"](np.array([0, 25, 75, 76, 77, 78, 117], np.uint8), "x")
    assert total.tolist() == [0, 0, 2, 2, 1, 1, 0]
    assert total.dtype == np.uint8
    assert LABEL_MAPS["ctpelvic1k"](np.array([[0, 1], [2, 3], [4, 4]]), "x").tolist() == [
        [0, 0],
        [1, 1],
        [0, 0],
    ]
    with pytest.raises(
        DataError, match=r"1 label values are not in the mapping: 118 \(2 voxels\).*hip bone"
    ):
        LABEL_MAPS["totalsegmentator"](np.array([118, 118, 0]), "x")


def test_mappings_from_yaml(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(
        "table: {name: knee, names: [background, femur, tibia]}\nvalues: {5: femur, 9: 2}\nothers:"
        " [3]\nfiles: '{name}_m.nii'\n"
    )
    mine = label_map(str(tmp_path / "m.yaml"))
    assert mine.table.names[2] == "tibia"
    assert mine.files == ("{name}_m.nii",)
    assert mine(np.array([5, 9, 3, 0]), "x").tolist() == [1, 2, 0, 0]
    with pytest.raises(DataError, match="4 "):
        mine(np.array([4]), "x")
    (tmp_path / "m.yaml").write_text("values: {5: femur}\nothers: background\n")
    assert label_map(str(tmp_path / "m.yaml"))(np.array([5, 4, 300]), "x").tolist() == [2, 0, 0]
    assert label_map("hip") is LABEL_MAPS["hip"]


@pytest.mark.parametrize(
    "text",
    [
        "[1, 2]",
        "values: {5: wing}",
        "values: {five: femur}",
        "colour: red\nvalues: {5: femur}",
        "others: background",
        "a: b: c",
        "",
        "values: 5",
        "values: {5: femur}\nothers: all",
    ],
)
def test_what_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "m.yaml").write_text(text)
    with pytest.raises(ConfigError, match="no label mapping") as caught:
        label_map(str(tmp_path / "m.yaml"))
    assert "\n" not in str(caught.value)


def test_an_unknown_mapping_is_refused() -> None:
    with pytest.raises(ConfigError, match="no label mapping 'nowhere'.*totalsegmentator"):
        label_map("nowhere")


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
        tmp_path / "in", tmp_path / "out", Options(LABEL_MAPS["totalsegmentator"]), **QUIET
    )
    assert not intake.refused
    assert not intake.warnings
    assert np.array_equal(
        np.asarray(nib.load(tmp_path / "out" / "labels" / "case001.nii.gz").dataobj), LABEL
    )
    (tmp_path / "in" / "s01" / "segmentations" / "femur_left.nii.gz").unlink()
    with pytest.raises(DataError, match="1 of 4 masks are missing, the first is femur_left"):
        ingest(tmp_path / "in", tmp_path / "new", Options(LABEL_MAPS["totalsegmentator"]), **QUIET)
    save(tmp_path / "in" / "s01" / "segmentations" / "femur_left.nii.gz", LABEL[:4])
    with pytest.raises(DataError, match=r"shape \(4, 6, 7\)"):
        ingest(tmp_path / "in", tmp_path / "new", Options(LABEL_MAPS["totalsegmentator"]), **QUIET)


def test_names_of_other_collections_are_paired(tmp_path: Path) -> None:
    for i, (image, label) in enumerate(
        (("imagesTr/a_0000", "labelsTr/a"), ("data/b_data", "data/b_mask_4label"), ("c", "c-seg"))
    ):
        for name in (image, label):
            (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        save(tmp_path / "in" / f"{image}.nii.gz", HU + np.int16(i))
        save(tmp_path / "in" / f"{label}.nii.gz", LABEL)
    intake = ingest(tmp_path / "in", tmp_path / "out", Options(LABEL_MAPS["hip"]), **QUIET)
    assert len(intake.rows) == 3
    assert all("femur" in row["labels"] for row in intake.rows)
    assert not intake.warnings


def test_two_possible_labels_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "c.nii.gz")
    for name in ("c_seg", "c_segmentation"):
        save(tmp_path / f"{name}.nii.gz", LABEL)
    with pytest.raises(
        DataError,
        match="2 files could be its label: c_seg.nii.gz, c_segmentation.nii.gz.*--label-files",
    ):
        ingest(tmp_path, tmp_path / "out", Options(LABEL_MAPS["hip"]), **QUIET)


def test_a_label_without_a_scan_is_told(tmp_path: Path) -> None:
    save(folder_of(tmp_path / "in", 2) / "labels" / "lost.nii.gz", LABEL)
    intake = ingest(tmp_path / "in", tmp_path / "out", Options(LABEL_MAPS["hip"]), **QUIET)
    assert len(intake.warnings) == 1
    assert "no scan has its name" in str(intake.warnings[0])
    assert intake.warnings[0].where.name == "lost.nii.gz"


# Identities


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


# Hips


def test_hips_are_found_with_and_without_labels() -> None:
    case = pelvis()
    by_label, by_bone = crop_hips(case, 120), crop_hips(case.without_label(), 120)
    for side, x in (("left", 55), ("right", 225)):
        assert (by_label[side].meta["found by"], by_bone[side].meta["found by"]) == (
            "labels",
            "bone",
        )
        assert by_bone[side].label is None
        centres = [
            apply_affine(c.affine, (np.array(c.image.shape) - 1) / 2)
            for c in (by_label[side], by_bone[side])
        ]
        assert abs(centres[0][0] - (x - 140)) < 20
        assert np.linalg.norm(centres[0] - centres[1]) < 25
    assert (
        apply_affine(by_bone["right"].affine, (0, 0, 0))[0]
        > 0
        > apply_affine(by_bone["left"].affine, (0, 0, 0))[0]
    )


def test_what_is_no_hip_joint_is_not_taken_for_one() -> None:
    case = pelvis()
    soft = np.where(
        ball(case.image.shape, np.array(case.spacing), (60, 80, 80), 40), 220, 40
    ).astype(np.int16)  # a kidney full of contrast medium
    soft[40:50, 20:30, 20:30] = 700
    for image in (soft, np.full(case.image.shape, -1000, np.int16)):
        with pytest.raises(DataError, match="no hip joint was found on the left side"):
            crop_hips(Case("k", "k", image, None, case.affine))


def test_real_hips_without_labels(shared: Path) -> None:
    from ssltut.io.public import EXAMPLE, read_totalsegmentator_example

    case = read_totalsegmentator_example(shared / EXAMPLE)
    by_label, by_bone = hips._by_label(case), hips._by_bone(case.without_label())
    assert all(
        np.linalg.norm((by_label[side] - by_bone[side]) * 3) < 10 for side in ("left", "right")
    )


# Other voxels, and back


def test_resampling_keeps_volumes_or_says_so(tmp_path: Path) -> None:
    (tmp_path / "in" / "labels").mkdir(parents=True)
    case = pelvis()
    case.label[0, :3, :3] = 0
    write_image(case, tmp_path / "in" / "a.nii.gz")
    write_label(case.label, case.affine, tmp_path / "in" / "labels" / "a.nii.gz")
    fine = ingest(
        tmp_path / "in", tmp_path / "fine", Options(LABEL_MAPS["hip"], spacing=2), **QUIET
    )
    assert not fine.warnings
    assert fine.rows[0]["spacing (mm)"] == "1.99 x 1.99 x 2"
    coarse = ingest(
        tmp_path / "in", tmp_path / "coarse", Options(LABEL_MAPS["hip"], spacing=14), **QUIET
    )
    assert coarse.warnings
    assert "changed its volume by" in str(coarse.warnings[0])
    assert "changed its volume" in coarse.rows[0]["warnings"]


def surface(mask: np.ndarray) -> np.ndarray:
    return mask & ~binary_erosion(mask)


@pytest.mark.parametrize(
    ("axes", "options"),
    [
        ("RAS", {}),
        ("LPS", {"spacing": 2.0}),
        ("SRP", {"hips": 130.0}),
        ("LPS", {"hips": 130.0, "spacing": 2.5}),
    ],
)
def test_export_puts_predictions_back_within_half_a_voxel(
    tmp_path: Path, axes: str, options: dict
) -> None:
    case = pelvis((2.5, 3.0, 3.5))
    turn = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(axes)
    )
    affine = case.affine @ nib.orientations.inv_ornt_aff(turn, case.image.shape)
    (tmp_path / "in" / "labels").mkdir(parents=True)
    for name, values in (("a", case.image), ("labels/a", case.label)):
        nib.save(
            nib.Nifti1Image(nib.apply_orientation(values, turn), affine),
            tmp_path / "in" / f"{name}.nii.gz",
        )
    ingest(tmp_path / "in", tmp_path / "out", Options(LABEL_MAPS["hip"], **options), **QUIET)
    labels = sorted((tmp_path / "out" / "labels").iterdir())
    predictions = [
        label.rename(tmp_path / label.name.replace(".nii", "_prediction.nii")) for label in labels
    ]
    written = export(tmp_path / "out", predictions, tmp_path / "back")
    assert [path.name for path in written] == ["case001_prediction.nii.gz"]
    back, truth = nib.load(written[0]), nib.load(tmp_path / "in" / "labels" / "a.nii.gz")
    assert np.array_equal(back.affine, truth.affine)
    assert back.shape == truth.shape
    assert back.get_data_dtype() == np.uint8
    new, old = np.asarray(back.dataobj), np.asarray(truth.dataobj)
    if not options:
        assert np.array_equal(new, old)
    inside = (
        np.ones(old.shape, bool)
        if "hips" not in options
        else _cropped(tmp_path / "out", old.shape, truth.affine)
    )
    for value in (1, 2):
        a, b = (old == value) & inside, (new == value) & inside
        off = distance_transform_edt(~surface(a), sampling=nib.affines.voxel_sizes(affine))[
            surface(b)
        ]
        assert off.mean() < 0.5 * 2.5
        assert abs(a.sum() - b.sum()) < 0.03 * a.sum()
    assert not new[~inside].any()
    with pytest.raises(ConfigError, match="exists already"):
        export(tmp_path / "out", predictions, tmp_path / "back")


def _cropped(cohort: Path, shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    """Where the crops of a cohort lie on the original grid."""
    images = [nib.load(path) for path in sorted((cohort / "images").iterdir())]
    return np.any(
        [onto_grid(np.ones(i.shape, np.uint8), i.affine, shape, affine) > 0 for i in images], axis=0
    )


def test_the_centre_of_a_ball_comes_back(tmp_path: Path) -> None:
    """The centre of mass, which does not round, moves by less than half a voxel."""
    case = pelvis()
    (tmp_path / "in" / "labels").mkdir(parents=True)
    write_image(case, tmp_path / "in" / "a.nii.gz")
    write_label(case.label, case.affine, tmp_path / "in" / "labels" / "a.nii.gz")
    ingest(tmp_path / "in", tmp_path / "out", Options(LABEL_MAPS["hip"], spacing=2.2), **QUIET)
    back = nib.load(
        export(
            tmp_path / "out", [tmp_path / "out" / "labels" / "case001.nii.gz"], tmp_path / "back"
        )[0]
    )
    for value in (1, 2):
        assert np.argwhere(np.asarray(back.dataobj) == value).mean(0) == pytest.approx(
            np.argwhere(case.label == value).mean(0), abs=0.1
        )


def test_onto_the_same_grid_nothing_changes() -> None:
    assert np.array_equal(onto_grid(LABEL, AFFINE, LABEL.shape, AFFINE), LABEL)
    half = AFFINE.copy()
    half[:3, 3] += AFFINE[:3, 0] * 0.4
    assert np.array_equal(
        onto_grid(LABEL, AFFINE, LABEL.shape, half), LABEL
    )  # also in the outermost voxels
    assert not onto_grid(
        LABEL, AFFINE, (4, 4, 4), AFFINE + np.outer([1, 0, 0, 0], [0, 0, 0, 1e4])
    ).any()


@pytest.mark.parametrize(
    ("name", "words"), [("case009", "case009 is no case"), ("lost", "lost is no case")]
)
def test_export_of_what_was_not_ingested(tmp_path: Path, name: str, words: str) -> None:
    ingest(folder_of(tmp_path / "in", 1), tmp_path / "out", Options(LABEL_MAPS["hip"]), **QUIET)
    with pytest.raises(DataError, match=words):
        export(tmp_path / "out", [save(tmp_path / f"{name}.nii.gz", LABEL)], tmp_path / "back")
    with pytest.raises(DataError, match="not whole"):
        export(tmp_path / "out", [save(tmp_path / "case001.nii.gz", LABEL / 3)], tmp_path / "back")
    with pytest.raises(DataError, match="cases.json: there is no such file"):
        export(tmp_path, [], tmp_path / "back")


def test_real_pelvis_with_labels(shared: Path, tmp_path: Path) -> None:
    source = shared / "totalsegmentator_example"
    mapping = LabelMap(
        **{**LABEL_MAPS["totalsegmentator"].__dict__, "files": ("example_seg*.nii.gz",)}
    )
    intake = ingest(source, tmp_path / "out", Options(mapping), **QUIET)
    assert [row["case"] for row in intake.rows] == ["case001", "case002"]
    assert not intake.refused
    label = np.asarray(nib.load(tmp_path / "out" / "labels" / "case001.nii.gz").dataobj)
    assert np.bincount(label.ravel()).tolist()[1:] == [26214, 8884]
    written = export(
        tmp_path / "out", [tmp_path / "out" / "labels" / "case001.nii.gz"], tmp_path / "back"
    )
    raw = nib.load(source / "example_seg_fast_force_split.nii.gz")
    assert np.array_equal(
        np.asarray(nib.load(written[0]).dataobj) > 0,
        np.isin(np.asarray(raw.dataobj), (75, 76, 77, 78)),
    )
    assert np.allclose(nib.load(written[0]).affine, raw.affine)
    assert (
        json.loads((tmp_path / "out" / "split.json").read_text())["patients"]["case002"] == "p002"
    )
