"""Labels with names: folders of masks, 3D Slicer's segmentations, DICOM SEG and RTSTRUCT."""

import builtins
from pathlib import Path

import numpy as np
import pytest
from toy_dicom import SPACING, write_series
from toy_formats import save_contours, save_seg, save_seg_nrrd
from toy_nifti import AFFINE, HU, save

from ssltut.data.labels import HIP, LABEL_MAPS, LabelMap
from ssltut.errors import DataError, DataWarning
from ssltut.io.dicom import read_series
from ssltut.io.dicom_series import find_series
from ssltut.io.formats import INSTALL, read_volume
from ssltut.io.structures import read_label, referenced_series
from ssltut.io.volume import Volume, strict

HIPS, TOTAL = LABEL_MAPS["hip"], LABEL_MAPS["totalsegmentator"]
BONE, FEMUR = (np.zeros(HU.shape, bool) for _ in range(2))
BONE[1:3, 1:4, 2:5] = FEMUR[3:5, 2:5, 1:4] = True
WANTED = BONE + 2 * FEMUR.astype(np.uint8)


@pytest.fixture
def scan(tmp_path: Path) -> Volume:
    return read_volume(save(tmp_path / "ct.nii", HU), strict)


def layers(*masks: np.ndarray) -> np.ndarray:
    return np.stack(masks).astype(np.uint8)


SEGMENTS = {  # layers (each part of the grid), segments, mapping
    "by the names of the table": (layers(WANTED)[0], {"Hip bone": (0, 1), "femur": (0, 2)}, HIPS),
    "by their numbers": (layers(WANTED)[0], {"Segment_1": (0, 1), "Segment_2": (0, 2)}, HIPS),
    "in layers": (layers(BONE, FEMUR), {"hip_bone": (0, 1), "Femur": (1, 1)}, HIPS),
    "by the names of the mapping": (
        layers(WANTED)[0],
        {"L": (0, 1), "R": (0, 2), "air": (0, 3)},
        LabelMap(HIP, {}, masks={"l": 1, "r": 2}),
    ),
}


@pytest.mark.parametrize("name", SEGMENTS)
def test_segments_of_3d_slicer(tmp_path: Path, scan: Volume, name: str) -> None:
    values, segments, mapping = SEGMENTS[name]
    path = save_seg_nrrd(tmp_path / "s.seg.nrrd", values, AFFINE, segments)
    assert np.array_equal(read_label(path, scan, mapping, strict), WANTED)


def test_a_part_of_the_grid_is_put_in_its_place(tmp_path: Path, scan: Volume) -> None:
    part = AFFINE @ np.array([[1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 1, 1], [0, 0, 0, 1.0]])
    names = {"hip bone": (0, 1), "femur": (0, 2)}
    path = save_seg_nrrd(tmp_path / "s.seg.nrrd", layers(WANTED)[0][1:, 1:6, 1:6], part, names)
    assert np.array_equal(read_label(path, scan, HIPS, strict), WANTED)


def test_what_does_not_lie_on_the_scan_is_refused(tmp_path: Path, scan: Volume) -> None:
    names = {"hip bone": (0, 1), "femur": (0, 2)}
    half, far = AFFINE.copy(), AFFINE.copy()
    half[0, 3] += 0.8
    far[0, 3] += 6
    for affine, words in ((half, "by up to 0.4 voxels"), (far, "lie outside the scan")):
        path = save_seg_nrrd(tmp_path / "s.seg.nrrd", layers(WANTED)[0], affine, names)
        with pytest.raises(DataError, match=words):
            read_label(path, scan, HIPS, strict)


def test_segments_without_a_known_name(tmp_path: Path, scan: Volume) -> None:
    segments = {"left": (0, 1), "right": (1, 1)}
    path = save_seg_nrrd(tmp_path / "s.seg.nrrd", layers(BONE, FEMUR), AFFINE, segments)
    with pytest.raises(DataError, match=r"none of its structures \(left, right\) has a name"):
        read_label(path, scan, HIPS, strict)
    path = save_seg_nrrd(tmp_path / "s.seg.nrrd", layers(BONE), AFFINE, {"femur": (7, 1)})
    with pytest.raises(DataError, match="make no sense"):
        read_label(path, scan, HIPS, strict)


def test_overlap_is_told_with_its_size(tmp_path: Path, scan: Volume) -> None:
    both = FEMUR.copy()
    both[1, 1, 2:5] = True
    masks = {"hip_left": BONE, "hip_right": BONE, "femur_left": both, "femur_right": FEMUR}
    (tmp_path / "seg").mkdir()
    for name, mask in masks.items():
        save(tmp_path / "seg" / f"{name}.nii", mask.astype(np.uint8))
    findings: list = []
    label = read_label(tmp_path / "seg", scan, TOTAL, findings.append)
    assert [type(finding) for finding in findings] == [DataWarning]
    assert "3 voxels of hip_left are in a mask of another class too" in str(findings[0])
    assert label[1, 1, 2] == 1
    save(tmp_path / "seg" / "femur_left.nii", FEMUR.astype(np.uint8))
    assert np.array_equal(read_label(tmp_path / "seg", scan, TOTAL, strict), WANTED)


def test_a_folder_of_masks_needs_a_mapping_that_names_them(tmp_path: Path, scan: Volume) -> None:
    save((tmp_path / "seg").mkdir() or tmp_path / "seg" / "liver.nii", BONE.astype(np.uint8))
    with pytest.raises(DataError, match=r"\(liver\) has a name of the mapping"):
        read_label(tmp_path / "seg", scan, HIPS, strict)


@pytest.fixture
def series(tmp_path: Path) -> Volume:
    """A DICOM series with the voxels of the masks above, and its folder."""
    write_series(tmp_path / "s", np.ascontiguousarray(HU))
    (one,) = find_series(sorted((tmp_path / "s").iterdir()), strict)
    return read_series(one, strict)


def test_dicom_seg(tmp_path: Path, series: Volume) -> None:
    pytest.importorskip("highdicom", reason="the extra formats is not installed")
    masks = {"Hip bone": BONE, "Femur": FEMUR}
    path = save_seg(tmp_path / "s" / "seg.dcm", tmp_path / "s", masks)
    assert referenced_series(path) == "1.2.3.4"
    label = read_label(path, series, HIPS, strict)
    assert np.array_equal(label, WANTED[::-1, ::-1])  # columns ran to the left, rows to the back
    path = save_seg(tmp_path / "s" / "seg.dcm", tmp_path / "s", {"a": BONE, "b": FEMUR})
    assert np.array_equal(read_label(path, series, HIPS, strict), WANTED[::-1, ::-1])


def test_dicom_seg_without_the_extra(
    tmp_path: Path, series: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("highdicom", reason="the extra formats is not installed")
    path = save_seg(tmp_path / "s" / "seg.dcm", tmp_path / "s", {"femur": FEMUR})
    real = builtins.__import__

    def without(name: str, *given: object) -> object:
        if name == "highdicom":
            raise ModuleNotFoundError(name)
        return real(name, *given)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(DataError) as caught:
        read_label(path, series, HIPS, strict)
    assert caught.value.fix == INSTALL


def outline(x: tuple[float, float], y: tuple[float, float], k: float) -> np.ndarray:
    """A box around whole voxels of columns ``x`` and rows ``y`` on slice ``k``, mm in LPS."""
    corners = [(x[0], y[0]), (x[1], y[0]), (x[1], y[1]), (x[0], y[1])]
    points = [
        (-20 + SPACING[0] * i, -30 + SPACING[1] * j, 100 + SPACING[2] * k) for i, j in corners
    ]
    return np.array(points)


def test_contours(tmp_path: Path, series: Volume) -> None:
    bone = [outline((0.5, 2.5), (0.5, 3.5), k) for k in (2, 3, 4)]
    femur = [outline((2.5, 4.5), (1.5, 4.5), k) for k in (1, 2, 3)]
    hole = outline((0.9, 1.1), (0.9, 1.1), 2)
    body = [outline((-0.5, 4.5), (-0.5, 5.5), 3)]
    path = tmp_path / "rt.dcm"
    save_contours(path, {"HIP BONE": [*bone, hole], "femur": femur, "BODY": body}, "1.2.3.4")
    assert referenced_series(path) == "1.2.3.4"
    wanted = WANTED.copy()
    wanted[1, 1, 2] = 0
    assert np.array_equal(read_label(path, series, HIPS, strict), wanted[::-1, ::-1])


@pytest.mark.parametrize("k", [2.5, 30, np.nan])
def test_contours_between_slices_or_outside_are_refused(
    tmp_path: Path, series: Volume, k: float
) -> None:
    boxes = [outline((0.5, 2.5), (0.5, 3.5), k)]
    path = save_contours(tmp_path / "rt.dcm", {"hip bone": boxes, "femur": boxes}, "1.2.3.4")
    with pytest.raises(DataError, match="does not lie in one slice"):
        read_label(path, series, HIPS, strict)


def test_a_dicom_label_that_lacks_what_it_needs(tmp_path: Path, series: Volume) -> None:
    path = save_contours(tmp_path / "rt.dcm", {}, "1.2.3.4")
    with pytest.raises(DataError, match=r"none of its structures \(none\)"):
        read_label(path, series, HIPS, strict)
    assert referenced_series(tmp_path / "s" / "Muster_00.dcm") is None
    with pytest.raises(DataError, match="cannot be read"):
        read_label(tmp_path / "s" / "Muster_00.dcm", series, HIPS, strict)


def test_a_seg_with_damaged_positions(tmp_path: Path, series: Volume) -> None:
    pytest.importorskip("highdicom", reason="the extra formats is not installed")
    path = save_seg(tmp_path / "s" / "seg.dcm", tmp_path / "s", {"hip bone": BONE, "femur": FEMUR})
    path.write_bytes(path.read_bytes().replace(b"-20.0", b"x20.0"))
    with pytest.raises(DataError, match="cannot be read"):
        read_label(path, series, HIPS, strict)
