"""Verify: all findings of a file at once, cohorts by pairs, silence about what is sound."""

import json
from pathlib import Path

import numpy as np
import pytest
from toy_nifti import AFFINE, BAD_FILES, BAD_LABELS, HU, LABEL, holed, save, shifted
from toy_terminal import open_terminal

from ssltut.cli.main import main
from ssltut.data.labels import HIP
from ssltut.errors import DataError, DataWarning
from ssltut.io._nifti_header import read_header
from ssltut.io.verify import Report, verify_paths, verify_scan

SPLIT = {
    "labelled": ["a"],
    "unlabelled": ["b"],
    "validation": ["c"],
    "test": ["d"],
    "patients": {"a": "1", "b": "1", "c": "2", "d": "3"},
}


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """A sound cohort of four scans; b has no label."""
    for name in ("images", "labels"):
        (tmp_path / "cohort" / name).mkdir(parents=True)
    for i, name in enumerate("abcd"):
        save(tmp_path / "cohort" / "images" / f"{name}.nii.gz", HU + np.int16(i))
    for name in "acd":
        save(tmp_path / "cohort" / "labels" / f"{name}.nii.gz", LABEL)
    (tmp_path / "cohort" / "split.json").write_text(json.dumps(SPLIT))
    return tmp_path / "cohort"


def errors_of(reports: list[Report]) -> str:
    return "\n".join(str(error) for report in reports for error in report.errors)


@pytest.mark.parametrize("name", BAD_FILES)
def test_what_read_case_refuses_is_reported(tmp_path: Path, name: str) -> None:
    make, words = BAD_FILES[name]
    report = verify_scan(make(tmp_path))
    assert not report.ok
    assert len(report.errors) == 1
    assert "ERROR" in str(report)
    assert "Next: " in str(report)
    with pytest.raises(DataError, match=words):
        raise report.errors[0]


@pytest.mark.parametrize("name", BAD_LABELS)
def test_what_read_case_refuses_of_a_label_is_reported(tmp_path: Path, name: str) -> None:
    how, words = BAD_LABELS[name]
    report = verify_scan(
        save(tmp_path / "i.nii"), save(tmp_path / "l.nii", **{"values": LABEL, **how}), HIP
    )
    assert len(report.errors) == 1
    with pytest.raises(DataError, match=words):
        raise report.errors[0]


def test_all_findings_of_a_pair_come_together(tmp_path: Path) -> None:
    image = save(tmp_path / "i.nii", holed(HU), qform=AFFINE @ np.diag([0.5, 1, 1, 1]))
    report = verify_scan(
        image, save(tmp_path / "l.nii", LABEL * 5, affine=AFFINE, scl_slope=np.nan), HIP
    )
    assert [e.found.split()[0] for e in report.errors] == ["qform", "2", "2"]
    assert len(report.warnings) == 1
    assert isinstance(report.warnings[0], DataWarning)
    assert "spacing (mm)" not in report.facts
    report = verify_scan(
        save(tmp_path / "i.nii", holed(HU)), save(tmp_path / "l.nii", LABEL * 5, shifted(1)), HIP
    )
    assert [e.found.split()[0] for e in report.errors] == ["2", "2", "label"]
    assert len(verify_scan(tmp_path / "none.nii", tmp_path / "neither.nii").errors) == 2


def test_facts_of_a_sound_pair(tmp_path: Path) -> None:
    report = verify_scan(save(tmp_path / "i.nii.gz"), save(tmp_path / "l.nii.gz", LABEL), HIP)
    assert report.ok
    assert not report.warnings
    assert report.facts == {
        "shape": [5, 6, 7],
        "spacing (mm)": [2, 1.5, 3],
        "axes in the file": "RAS",
        "values (HU for CT)": f"{HU.min()} to {HU.max()}",
        "classes (voxels)": {"background": 70, "hip bone": 70, "femur": 70},
    }
    assert "2 x 1.5 x 3" in str(report)
    assert "hip bone 70" in str(report)
    assert json.loads(json.dumps(report.to_dict()))["ok"]


def test_sound_cohort(cohort: Path) -> None:
    reports = verify_paths(cohort)
    assert all(report.ok and not report.warnings for report in reports)
    assert [r.path.name for r in reports[1:]] == [f"{n}.nii.gz" for n in "abcd"]
    assert reports[0].facts == {
        "scans": 4,
        "labels": 3,
        "split": dict.fromkeys(("labelled", "unlabelled", "validation", "test"), 1),
    }
    (cohort / "split.json").unlink()
    assert all(report.ok for report in verify_paths([cohort]))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"test": ["d", "e"]}, "names 1 scans that are not there, the first is e"),
        ({"test": ["d.nii.gz"]}, "Next: write the names of the scans without .nii or .nii.gz"),
        ({"patients": {"a": "1", "c": "1"}}, "patient 1 is in training and in"),
        ({"test": ["a", "d"]}, "patient 1 is in training and in test"),
        ({"labelled": ["a", "b"], "unlabelled": []}, "1 scans that need a label have none"),
        ({"hash": "0"}, "do not fit their hash"),
        ({"table": "spleen"}, "no label table 'spleen'"),
        ({"labelled": 3}, "labelled is 3"),
        ({"patients": [1]}, "patients is [1]"),
        ({"table": {"names": 3}}, "names is 3"),
        (None, "not valid JSON"),
    ],
)
def test_flawed_split(cohort: Path, changes: dict[str, object] | None, words: str) -> None:
    (cohort / "split.json").write_text("{" if changes is None else json.dumps(SPLIT | changes))
    reports = verify_paths(cohort)
    assert words in errors_of(reports[:1])
    assert all(report.ok for report in reports[1:])


def test_flawed_files_of_a_cohort(cohort: Path) -> None:
    save(cohort / "labels" / "lost.nii.gz", LABEL)
    save(cohort / "labels" / "c.nii.gz", LABEL, shifted(2))
    save(cohort / "images" / "b.nii.gz", holed(HU))
    folder, _, b, c, d = verify_paths(cohort)
    assert "1 labels have no image, the first is lost.nii.gz" in errors_of([folder])
    assert "2 voxels are NaN" in errors_of([b])
    assert "different grids" in errors_of([c])
    assert d.ok
    save(cohort / "labels" / "d.nii", LABEL)
    assert "d.nii and d.nii.gz are the same scan" in errors_of(verify_paths(cohort))
    (cohort / "labels" / "d.nii").unlink()
    for image in (cohort / "images").iterdir():
        image.unlink()
    assert "no scans images/*.nii" in errors_of(verify_paths(cohort))


def test_files_and_folders(tmp_path: Path) -> None:
    (empty := tmp_path / "empty").mkdir()
    (tmp_path / "deep" / "er").mkdir(parents=True)
    files = [save(tmp_path / "a.nii"), save(tmp_path / "deep" / "er" / "b.nii.gz")]
    assert [(r.path, r.ok) for r in verify_paths(files)] == [(f, True) for f in files]
    assert [(r.path, r.ok) for r in verify_paths(tmp_path / "deep")] == [(files[1], True)]
    assert "no .nii or .nii.gz files" in errors_of(verify_paths(empty))
    assert "no such file" in errors_of(verify_paths(str(tmp_path / "none")))


def test_command(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(cohort)]) == 0
    assert "spacing (mm): 2 x 1.5 x 3" in capsys.readouterr().out
    assert main(["verify", "--json", str(cohort / "images"), str(cohort / "none")]) == 1
    assert [r["ok"] for r in json.loads(capsys.readouterr().out)] == [True] * 4 + [False]


def test_a_bar_is_drawn_in_a_terminal_and_nowhere_else(
    cohort: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    verify_paths(cohort)
    assert capsys.readouterr().err == ""
    terminal = open_terminal(monkeypatch)
    verify_paths(cohort)
    assert "verify: 100%" in terminal.getvalue()
    assert "5/5" in terminal.getvalue()


def test_real_scan(shared: Path) -> None:
    folder = shared / "totalsegmentator_example"
    report = verify_scan(
        folder / "example_ct.nii.gz", folder / "example_seg_fast_force_split.nii.gz"
    )
    assert report.ok
    assert not report.warnings
    assert report.facts["classes (voxels)"]["77"] == 13166
    assert read_header(folder / "example_ct.nii.gz")["qform_code"] == 0
