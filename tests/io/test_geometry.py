"""Geometry and values that cannot be: refused or warned of, and their near relatives silent."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from nibabel.affines import from_matvec
from nibabel.eulerangles import euler2mat
from toy_dicom import SPACING, write_series
from toy_nifti import AFFINE, HU, LABEL, save

from ssltut.data.split import Split
from ssltut.errors import DataError, DataWarning
from ssltut.io.cohort_folder import check_doubles, read_cohort
from ssltut.io.dicom import read_series
from ssltut.io.dicom_series import find_series
from ssltut.io.nifti import read_case
from ssltut.io.verify import verify_paths
from ssltut.io.volume import as_ras, check_values, flaw_of

SHAPE = (5, 6, 7)


def affine(spacing: float = 2.0, tilt: float = 0.0, origin: float = 0.0) -> np.ndarray:
    """Cubic voxels whose third axis leans by ``tilt`` degrees."""
    matrix = np.diag([spacing] * 3 + [1.0])
    matrix[1, 2] = spacing * np.tan(np.radians(tilt))
    matrix[0, 3] = origin
    return matrix


def near(matrix: np.ndarray) -> np.ndarray:
    """The second axis 0.3 degrees beside the first one."""
    matrix[:3, 1] = np.array([np.cos(0.005), np.sin(0.005), 0]) * 2
    return matrix


FLAWS = {
    "not finite": (affine(np.nan), SHAPE, "has [0-9]+ numbers that are not finite"),
    "no extent": (np.diag([2.0, 0, 2, 1]), SHAPE, "is singular: voxels of 2 x 0 x 2 mm"),
    "an axis that nibabel drops": (near(affine()), SHAPE, "sheared: .* at 0.2865 degrees"),
    "tilted by 12 degrees": (affine(tilt=12), SHAPE, "sheared: .* at 78 degrees, not at 90"),
    "tilted by 1.1 degrees": (affine(tilt=1.1), SHAPE, "sheared: .* at 88.9 degrees"),
    "voxels of a kilometre": (affine(1e6), SHAPE, r"voxels of 1e\+06 x .* have 0.01 to 50 mm"),
    "voxels of a nanometre": (affine(1e-6), SHAPE, "voxels of 1e-06 x"),
    "voxels of 51 mm": (affine(51), SHAPE, "voxels of 51 x 51 x 51 mm"),
    "six metres long": (affine(2), (5, 6, 3000), "says a scan of 6 m; the limit is 5 m"),
    "on the moon": (affine(origin=-1e30), SHAPE, "puts the scan 1e"),
    "11 m away": (affine(origin=11_000), SHAPE, "puts the scan 11 m away; the limit is 10 m"),
}
SOUND = {
    "straight": (affine(), SHAPE),
    "rounded": (affine(tilt=1e-3), SHAPE),
    "tilted by 0.9 degrees": (affine(tilt=0.9), SHAPE),
    "turned": (from_matvec(euler2mat(0.3, 0.2, 1.1)) @ AFFINE, SHAPE),
    "a microscope": (affine(0.011), SHAPE),
    "voxels of 49 mm": (affine(49), SHAPE),
    "five metres": (affine(2), (5, 6, 2500)),
    "9 m away": (affine(origin=-9_000), SHAPE),
}


@pytest.mark.parametrize("name", FLAWS)
def test_an_affine_that_cannot_be_has_a_flaw(name: str) -> None:
    matrix, shape, words = FLAWS[name]
    with pytest.raises(DataError, match=f"the geometry .*{words}"):
        as_ras(np.broadcast_to(np.int16(0), shape), matrix)


@pytest.mark.parametrize("name", SOUND)
def test_an_affine_that_can_be_has_none(name: str) -> None:
    assert flaw_of(*SOUND[name]) is None


@pytest.mark.parametrize("name", ["sform", "qform"])
def test_a_file_with_such_a_geometry_is_refused(tmp_path: Path, name: str) -> None:
    codes = {f"{form}_code": int(form == name) for form in ("sform", "qform")}
    path = save(tmp_path / "a.nii", affine=affine(60), **codes)
    with pytest.raises(DataError, match=f"the {name} says voxels of 60 x 60 x 60 mm") as found:
        read_case(path)
    assert found.value.where == path
    assert "dcm2niix" in str(found.value)


@pytest.mark.parametrize(("code", "unit", "factor"), [(1, "metres", 1e-3), (3, "micrometres", 1e3)])
def test_lengths_in_another_unit_become_millimetres_and_it_is_said(
    tmp_path: Path, code: int, unit: str, factor: float
) -> None:
    matrix = np.diag([factor, factor, factor, 1]) @ AFFINE
    path = save(tmp_path / "a.nii", affine=matrix, qform=matrix, xyzt_units=code)
    with pytest.warns(DataWarning, match=f"header counts in {unit}: its voxels are 2 x 1.5 x 3 mm"):
        case = read_case(path)
    assert case.affine == pytest.approx(AFFINE, rel=1e-5)
    bad = save(
        tmp_path / "b.nii", affine=AFFINE @ np.diag([1e3 / factor] * 3 + [1]), xyzt_units=code
    )
    with pytest.raises(DataError, match=rf"says voxels of .* \(the header counts in {unit}\)"):
        read_case(bad)


@pytest.mark.parametrize("code", [0, 2, 10, 5])
def test_millimetres_and_no_unit_are_silent(
    tmp_path: Path, code: int, recwarn: pytest.WarningsRecorder
) -> None:
    assert read_case(save(tmp_path / "a.nii", xyzt_units=code)).spacing == (2, 1.5, 3)
    assert not recwarn.list


def test_slices_that_lie_too_far_apart_are_refused(tmp_path: Path) -> None:
    def apart(k: int, data: object) -> None:
        data.ImagePositionPatient = [0, 0, 60 * k]

    findings: list = []
    (series,) = find_series(sorted(write_series(tmp_path, change=apart).iterdir()), findings.append)
    assert read_series(series, findings.append) is None
    assert f"the geometry says voxels of {SPACING[0]:g} x {SPACING[1]:g} x 60 mm" in str(
        findings[0]
    )


VALUES = {
    "one value": (np.zeros(SHAPE, np.int16), "CT", "all 210 voxels are 0"),
    "one value in MR": (np.ones(SHAPE, np.float32), "MR", "all 210 voxels are 1"),
    "no HU: never rescaled": ((HU + 1024).clip(0), "CT", "no voxel is below -500 HU .*32 to 3015"),
    "no HU: 0 to 1": (np.linspace(0, 1, 210).reshape(SHAPE), "CT", "no voxel is below -500"),
    "far too low": (HU * 10.0, "CT", "are hardly HU, which lie between -5000 and 32767"),
    "far too high": (
        np.where(HU > 1900, 1e30, HU),
        "CT",
        r"values from -992 to 1e\+30 are hardly",
    ),
}


@pytest.mark.parametrize("name", VALUES)
def test_values_that_are_hardly_those_of_a_scan_are_warned_of(name: str) -> None:
    values, modality, words = VALUES[name]
    findings: list = []
    check_values(values, Path("scan"), findings.append, modality)
    with pytest.raises(DataWarning, match=f"scan: .*{words}"):
        raise findings[0]
    assert len(findings) == 1


@pytest.mark.parametrize(
    ("values", "modality", "is_crop"),
    [
        (HU, "CT", False),
        ((HU + 1024).clip(0), "MR", False),
        (HU * 10.0, "MR", False),
        (HU.clip(-499), "CT", True),
        (np.where(HU > 1900, np.nan, HU), "CT", False),  # an error of its own
    ],
)
def test_values_of_a_scan_are_silent(values: np.ndarray, modality: str, is_crop: bool) -> None:
    check_values(values, Path("scan"), pytest.fail, modality, is_crop=is_crop)


def warnings_of(path: Path) -> list[str]:
    reports = verify_paths(path, show_bar=False)
    return [warning.found for report in reports for warning in report.warnings]


def test_verify_warns_of_a_file_that_holds_no_hu_but_not_of_a_label(tmp_path: Path) -> None:
    save(tmp_path / "a.nii.gz", HU + np.int16(1024))
    save(tmp_path / "b.nii.gz", LABEL)
    save(tmp_path / "c.nii.gz")
    (found,) = warnings_of(tmp_path)
    assert "no voxel is below -500 HU" in found


def test_verify_warns_of_a_series_that_holds_no_hu(tmp_path: Path) -> None:
    write_series(tmp_path / "a", RescaleIntercept=5000)
    write_series(tmp_path / "b", series="7.7")
    (found,) = warnings_of(tmp_path)
    assert "no voxel is below -500 HU" in found


def cohort(folder: Path, twins: str = "", **split: object) -> Path:
    """Four scans a, b (unlabelled), c (validation), d (test); ``twins`` hold the same."""
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
        for i, name in enumerate("abcd"):
            image = HU + np.int16(0 if name in twins else 1 + i)
            save(folder / kind / f"{name}.nii.gz", image if kind == "images" else LABEL)
    parts = {"labelled": ["a"], "unlabelled": ["b"], "validation": ["c"], "test": ["d"]}
    (folder / "split.json").write_text(json.dumps(parts | split))
    return folder


def test_a_cohort_of_crops_or_of_mr_holds_no_air_in_silence(tmp_path: Path) -> None:
    def tissue(folder: Path) -> Path:
        for i, path in enumerate((folder / "images").iterdir()):
            save(path, HU.clip(-400) + np.int16(i))
        return folder

    whole = tissue(cohort(tmp_path / "whole"))
    assert len(warnings_of(whole)) == 4
    assert not warnings_of(tissue(cohort(tmp_path / "mr", modality="MR")))
    (whole / "cases.json").write_text(json.dumps({name: {"side": "left"} for name in "abcd"}))
    assert not warnings_of(whole)


Read = Callable[[Path], list[str]]


def test_one_scan_under_two_names_in_two_parts_is_refused(tmp_path: Path) -> None:
    leaking = cohort(tmp_path / "leaking", "ad")
    words = r"1 scans are in two parts under two names, .* are a \(training\) and d \(test\)"
    with pytest.raises(DataError, match=words):
        read_cohort(leaking)
    report = verify_paths(leaking)[0]
    with pytest.raises(DataError, match=words):
        raise report.errors[0]


def test_one_scan_twice_in_a_part_is_warned_of(tmp_path: Path) -> None:
    double = cohort(tmp_path / "double", "ab")
    words = r"1 scans are there twice, the first are a \(training\) and b \(training\)"
    with pytest.warns(DataWarning, match=words):
        read_cohort(double)
    report = verify_paths(double)[0]
    assert report.ok
    with pytest.raises(DataWarning, match=words):
        raise report.warnings[0]


def test_different_scans_are_silent(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    read_cohort(cohort(tmp_path / "sound"))
    assert all(report.ok and not report.warnings for report in verify_paths(tmp_path / "sound"))
    check_doubles({}, Split(("a",), (), ("b",), ()), tmp_path, pytest.fail)
    assert not recwarn.list
