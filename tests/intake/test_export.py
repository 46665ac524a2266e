"""Export: predictions for an ingested cohort go back onto the grids of the original files."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import binary_erosion, distance_transform_edt
from toy_intake import draw_no_pictures, folder_of
from toy_nifti import LABEL, save
from toy_pelvis import pelvis

from ssltut.data.labels import LABEL_MAPS, LabelMap
from ssltut.data.resample import onto_grid
from ssltut.errors import ConfigError, DataError
from ssltut.intake.ingest import IntakeOptions, export, ingest
from ssltut.io.nifti import write_image, write_label


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """They have tests of their own, in test_ingest.py."""
    draw_no_pictures(monkeypatch)


def surface(mask: np.ndarray) -> np.ndarray:
    return mask & ~binary_erosion(mask)


def _cropped(cohort: Path, shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    """Where the crops of a cohort lie on the original grid."""
    images = [nib.load(path) for path in sorted((cohort / "images").iterdir())]
    return np.any(
        [onto_grid(np.ones(i.shape, np.uint8), i.affine, shape, affine) > 0 for i in images], axis=0
    )


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
    ingest(tmp_path / "in", tmp_path / "out", IntakeOptions(LABEL_MAPS["hip"], **options), log=None)
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


def test_a_folder_of_predictions_is_as_good_as_its_files(tmp_path: Path) -> None:
    (folder := tmp_path / "in").mkdir()
    scan = save(folder / "a.nii.gz")
    ingest(folder, tmp_path / "out", log=None)
    (predictions := tmp_path / "predictions").mkdir()
    save(predictions / "case001_prediction.nii.gz", LABEL)
    (predictions / "predictions.json").write_text("{}")
    for i, given in enumerate(([predictions], sorted(predictions.iterdir()))):
        (back,) = export(tmp_path / "out", given, tmp_path / f"back{i}")
        assert nib.load(back).shape == nib.load(scan).shape


def test_the_centre_of_a_ball_comes_back(tmp_path: Path) -> None:
    """The centre of mass, which does not round, moves by less than half a voxel."""
    case = pelvis()
    (tmp_path / "in" / "labels").mkdir(parents=True)
    write_image(case, tmp_path / "in" / "a.nii.gz")
    write_label(case.label, case.affine, tmp_path / "in" / "labels" / "a.nii.gz")
    ingest(
        tmp_path / "in", tmp_path / "out", IntakeOptions(LABEL_MAPS["hip"], spacing=2.2), log=None
    )
    back = nib.load(
        export(
            tmp_path / "out", [tmp_path / "out" / "labels" / "case001.nii.gz"], tmp_path / "back"
        )[0]
    )
    for value in (1, 2):
        assert np.argwhere(np.asarray(back.dataobj) == value).mean(0) == pytest.approx(
            np.argwhere(case.label == value).mean(0), abs=0.1
        )


@pytest.mark.parametrize(
    ("name", "words"), [("case009", "case009 is not a case"), ("lost", "lost is not a case")]
)
def test_export_of_what_was_not_ingested(tmp_path: Path, name: str, words: str) -> None:
    ingest(
        folder_of(tmp_path / "in", 1), tmp_path / "out", IntakeOptions(LABEL_MAPS["hip"]), log=None
    )
    with pytest.raises(DataError, match=words):
        export(tmp_path / "out", [save(tmp_path / f"{name}.nii.gz", LABEL)], tmp_path / "back")
    with pytest.raises(DataError, match="not whole"):
        export(tmp_path / "out", [save(tmp_path / "case001.nii.gz", LABEL / 3)], tmp_path / "back")
    with pytest.raises(DataError, match=r"cases\.json: there is no such file"):
        export(tmp_path, [], tmp_path / "back")


def test_real_pelvis_with_labels(shared: Path, tmp_path: Path) -> None:
    source = shared / "totalsegmentator_example"
    mapping = LabelMap(
        **{**LABEL_MAPS["totalsegmentator"].__dict__, "files": ("example_seg*.nii.gz",)}
    )
    intake = ingest(source, tmp_path / "out", IntakeOptions(mapping), log=None)
    assert [row["case"] for row in intake.rows] == ["case001", "case002"]
    assert not intake.errors
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
