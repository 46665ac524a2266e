"""Every command with good input."""

import json
import subprocess
import sys

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from toy_cli import METHOD, QUICK, everything, ssltut

from ssltut import __version__
from ssltut.cli.doctor import version
from ssltut.cli.main import COMMANDS
from ssltut.io.cohort_folder import read_cohort
from ssltut.methods.registry import METHODS


def test_train_answers_and_reports(made):
    folder, answer, err = made
    assert answer["folder"] == str(folder / "run")
    assert answer["method"] == "mean_teacher"
    assert answer["selected"]["step"] == 2
    assert [line for line in err if line.startswith("mean teacher: step 2/2, loss ")]
    found = json.loads((folder / "run" / "run.json").read_text())
    assert found["options"]["weight"] == 0.5
    assert found["config"]["patch"] == [8, 8, 8]
    assert found["finished"]


def test_the_same_train_command_finds_its_run(made):
    before = everything(made[0] / "run")
    code, out, err = ssltut("train", made[0] / "cohort", *METHOD, "--out", made[0] / "run", *QUICK)
    assert code == 0
    assert "found the finished run" in err[-1]
    assert out.startswith("mean teacher: weights of step 2 (rule: last")
    assert everything(made[0] / "run") == before


def test_train_from_a_teacher_on_bone(made, tmp_path):
    words = ["--bone", "--labelled", 3, "--seed", 5, *QUICK]
    teacher, student = tmp_path / "teacher", tmp_path / "student"
    train = ["train", made[0] / "cohort", *words]
    assert ssltut(*train, "--method labels_only --out", teacher)[0] == 0
    code, _, err = ssltut(*train, "--option use=UA,NN --init", teacher, "--out", student)
    found = json.loads((student / "run.json").read_text())
    assert code == 0, err
    assert found["table"]["name"] == "bone"
    assert found["options"]["use"] == ["UA", "NN"]
    assert found["init"]
    assert found["config"]["seed"] == 5
    code, out, err = ssltut("evaluate", student, made[0] / "cohort", "--bone --json")
    assert code == 0, err
    assert {row["class"] for row in json.loads(out)["rows"]} == {"bone"}


def test_compare_on_bone(made, tmp_path):
    setting = "--bone --methods labels_only --budgets 2 --seeds 0 --workers 0 --json --out"
    code, out, err = ssltut("compare", made[0] / "cohort", setting, tmp_path / "c", *QUICK)
    assert code == 0, err
    assert [row["class"] for row in json.loads(out)["classes"]] == ["bone"]


def test_predictions_lie_on_the_grid_of_their_scan(made, tmp_path):
    scan = nib.load(made[0] / "cohort" / "images" / "case0.nii.gz")
    flipped = nib.as_closest_canonical(scan).slicer[::-1]  # runs to the left
    nib.save(flipped, tmp_path / "flipped.nii.gz")
    code, out, err = ssltut(
        *("predict --json", made[0] / "run", "--out", tmp_path / "out"),
        *(made[0] / "cohort" / "images" / "case0.nii.gz", tmp_path / "flipped.nii.gz"),
    )
    assert code == 0, err
    files = json.loads(out)
    assert [f.rsplit("/", 1)[1] for f in files] == [
        "case0_prediction.nii.gz",
        "flipped_prediction.nii.gz",
    ]
    straight, turned = (nib.load(f) for f in files)
    assert np.allclose(turned.affine, flipped.affine)
    assert turned.shape == flipped.shape
    assert np.allclose(straight.affine, scan.affine)
    assert np.array_equal(np.asarray(straight.dataobj), np.asarray(turned.dataobj)[::-1])
    assert set(np.unique(straight.dataobj)) <= {0, 1, 2}


def test_evaluate(made, tmp_path):
    csv = tmp_path / "new" / "s.csv"
    evaluate = ["evaluate", made[0] / "run", made[0] / "cohort"]
    code, out, err = ssltut(*evaluate, "--part test --json --csv", csv)
    assert code == 0, err
    rows, saved = json.loads(out)["rows"], pd.read_csv(csv)
    assert len(rows) == len(saved) == 2 * 2 * 5
    assert {row["case"] for row in rows} == {"case6", "case7"}
    code, out, _ = ssltut(*evaluate)
    assert code == 0
    assert "1 scans scored" in out
    assert "femur" in out
    assert "hd95" in out


def test_answers_hold_no_nan(made):
    code, out, _ = ssltut("evaluate", made[0] / "run", made[0] / "cohort", "--json")
    json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert code == 0


def test_compare(made, tmp_path):
    setting = (
        "--methods labels_only ua_mt --budgets 2 --seeds 0 --workers 0 --published-split --out"
    )
    words = ["compare", made[0] / "cohort", setting, tmp_path / "c", *QUICK]
    code, out, err = ssltut(*words, "--json")
    assert code == 0, err
    answer = json.loads(out)
    assert [row["method"] for row in answer["summary"]] == ["labels_only", "ua_mt"]
    assert answer["paired"][0]["method"] == "ua_mt"
    assert len(pd.read_csv(answer["csv"])) == 2 * 2 * 2 * 5
    assert len([line for line in err if line.startswith("[")]) == 2
    runs = [json.loads(file.read_text()) for file in (tmp_path / "c" / "runs").glob("*/run.json")]
    assert {run["cohort"] for run in runs} == {
        read_cohort(made[0] / "cohort").with_budget(2).hash
    }  # the first two of the split
    code, out, _ = ssltut(*words)
    assert code == 0
    assert "There is one label draw: its intervals hold for it alone" in out
    code, out, _ = ssltut(*words, "--largest-component", "--json")
    assert code == 0
    assert set(pd.read_csv(json.loads(out)["csv"])["kept"]) == {"largest piece"}


def test_a_patch_may_have_three_sides(made, tmp_path):
    words = ["--method labels_only --patch 8 16 4", *QUICK[:4]]
    code, _, err = ssltut("train", made[0] / "cohort", "--out", tmp_path / "r", *words)
    assert code == 0, err
    assert json.loads((tmp_path / "r" / "run.json").read_text())["config"]["patch"] == [8, 16, 4]


def test_methods_and_doctor(monkeypatch):
    code, out, _ = ssltut("methods", "--json")
    assert code == 0
    assert [m["name"] for m in json.loads(out)] == list(METHODS)
    assert {"paper", "year", "fidelity"} <= set(json.loads(out)[0])
    assert all(name in ssltut("methods")[1] for name in METHODS)
    code, out, _ = ssltut("doctor", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["ssltut"] == version()
    assert {"python", "device", "precision", "frontend", "torch"} <= set(found)
    assert "precision" in ssltut("doctor")[1]


def test_synthetic_and_verify(tmp_path):
    words = "synthetic --n 3 --size 24 --labelled 1 --validation 1 --test 1 --json --out"
    code, out, err = ssltut(words, tmp_path / "p")
    assert code == 0, err
    cohort = read_cohort(tmp_path / "p")
    assert json.loads(out) == {
        "folder": str(tmp_path / "p"),
        "scans": 3,
        "split": cohort.split.hash,
    }
    assert cohort.case("hip000").image.shape == (24, 24, 24)
    assert set(np.unique(cohort.case("hip000").label)) == {0, 1, 2}
    code, out, err = ssltut("verify", tmp_path / "p", "--json")
    assert code == 0 and all(report["ok"] for report in json.loads(out)), out
    (tmp_path / "p" / "images" / "hip001.nii.gz").write_bytes(b"garbage")
    code, out, err = ssltut("verify", tmp_path / "p")
    assert code == 1
    assert "ERROR" in out
    assert "hip001" in out
    assert not any("Traceback" in line for line in err)


def test_phantom_is_another_name_of_synthetic(tmp_path):
    words = ("--n 14 --size 24 --validation 0 --out", tmp_path / "p")
    code, out, err = ssltut("phantom", *words)
    assert (code, out) == (2, "")
    assert err[0] == "note: ssltut phantom is now ssltut synthetic; the old word goes with 0.3"
    assert "part validation of the split is empty" in err[1]
    code, _, err = ssltut("synthetic", *words)
    assert code == 2
    assert "part validation of the split is empty" in err[0]


def test_help_names_every_command_and_its_arguments():
    code, out, _ = ssltut("--help")
    assert code == 0
    for command in COMMANDS:
        assert command in out
        code, words, _ = ssltut(command, "--help")
        assert code == 0
        assert "--json" in words


def test_the_entry_point():
    found = subprocess.run(
        [sys.executable, "-m", "ssltut.cli.main", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == f"ssltut {version()}"
    assert version().startswith(__version__)
