"""Every command with good input, and with the bad input users have: one line, an exit code, nothing
overwritten or lost.
"""

import json
import shutil
import subprocess
import sys

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from toy import toy_cohort
from toy_cli import QUICK, ssltut

from ssltut import __version__
from ssltut.cli.main import COMMANDS
from ssltut.errors import TrainingError
from ssltut.io.cohort_folder import read_cohort, write_cohort
from ssltut.methods.registry import METHODS
from ssltut.training import loop as training

METHOD = ["--method", "mean_teacher", "--option", "weight=0.5"]


def everything(folder):
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A cohort and a run trained on it by the command line."""
    folder = tmp_path_factory.mktemp("cli")
    write_cohort(toy_cohort(), folder / "cohort")
    code, out, err = ssltut(
        "train", folder / "cohort", *METHOD, "--out", folder / "run", "--json", *QUICK
    )
    assert code == 0, err
    return folder, json.loads(out), err


# Good input


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
    assert out.startswith("mean teacher: weights of step 2 (rule: dice")
    assert everything(made[0] / "run") == before


def test_train_from_a_teacher_on_bone(made, tmp_path):
    words = ["--bone", "--labelled", 3, "--seed", 5, *QUICK]
    assert (
        ssltut(
            "train",
            made[0] / "cohort",
            "--method",
            "labels_only",
            "--out",
            tmp_path / "teacher",
            *words,
        )[0]
        == 0
    )
    code, _, err = ssltut(
        "train",
        made[0] / "cohort",
        "--init",
        tmp_path / "teacher",
        "--out",
        tmp_path / "student",
        "--option",
        "use=UA,NN",
        *words,
    )
    found = json.loads((tmp_path / "student" / "run.json").read_text())
    assert code == 0, err
    assert found["table"]["name"] == "bone"
    assert found["options"]["use"] == ["UA", "NN"]
    assert found["init"]
    assert found["config"]["seed"] == 5


def test_predictions_lie_on_the_grid_of_their_scan(made, tmp_path):
    scan = nib.load(made[0] / "cohort" / "images" / "case0.nii.gz")
    flipped = nib.as_closest_canonical(scan).slicer[::-1]  # runs to the left
    nib.save(flipped, tmp_path / "flipped.nii.gz")
    code, out, err = ssltut(
        "predict",
        made[0] / "run",
        made[0] / "cohort" / "images" / "case0.nii.gz",
        tmp_path / "flipped.nii.gz",
        "--out",
        tmp_path / "out",
        "--json",
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
    code, out, err = ssltut(
        "evaluate",
        made[0] / "run",
        made[0] / "cohort",
        "--part",
        "test",
        "--csv",
        tmp_path / "new" / "s.csv",
        "--json",
    )
    assert code == 0, err
    rows, saved = json.loads(out)["rows"], pd.read_csv(tmp_path / "new" / "s.csv")
    assert len(rows) == len(saved) == 2 * 2 * 5
    assert {row["case"] for row in rows} == {
        "case6",
        "case7",
    }
    code, out, _ = ssltut("evaluate", made[0] / "run", made[0] / "cohort")
    assert code == 0
    assert "1 scans scored" in out
    assert "femur" in out
    assert "hd95" in out


def test_answers_hold_no_nan(made):
    code, out, _ = ssltut("evaluate", made[0] / "run", made[0] / "cohort", "--json")
    json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert code == 0


def test_compare(made, tmp_path):
    words = [
        "compare",
        made[0] / "cohort",
        "--methods",
        "labels_only",
        "ua_mt",
        "--budgets",
        2,
        "--seeds",
        0,
        "--published-split",
        "--out",
        tmp_path / "c",
        *QUICK,
    ]
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
    assert "No difference to the baseline holds" in out
    code, out, _ = ssltut(*words, "--largest-component", "--json")
    assert code == 0
    assert set(pd.read_csv(json.loads(out)["csv"])["kept"]) == {"largest piece"}


def test_a_patch_may_have_three_sides(made, tmp_path):
    code, _, err = ssltut(
        "train",
        made[0] / "cohort",
        "--method",
        "labels_only",
        *QUICK[:4],
        "--patch",
        8,
        16,
        4,
        "--out",
        tmp_path / "r",
    )
    assert code == 0, err
    assert json.loads((tmp_path / "r" / "run.json").read_text())["config"]["patch"] == [8, 16, 4]


def test_methods_and_doctor(monkeypatch):
    code, out, _ = ssltut("methods", "--json")
    assert code == 0
    assert [m["name"] for m in json.loads(out)] == list(METHODS)
    assert {"paper", "year", "kind"} <= set(json.loads(out)[0])
    assert all(name in ssltut("methods")[1] for name in METHODS)
    code, out, _ = ssltut("doctor", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["ssltut"] == __version__
    assert {"python", "device", "precision", "frontend", "torch"} <= set(found)
    assert "precision" in ssltut("doctor")[1]


def test_synthetic_and_verify(tmp_path):
    code, out, err = ssltut(
        "synthetic",
        "--n",
        3,
        "--size",
        24,
        "--labelled",
        1,
        "--validation",
        1,
        "--test",
        1,
        "--out",
        tmp_path / "p",
        "--json",
    )
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
    code, out, err = ssltut(
        *("phantom", "--n", 14, "--size", 24, "--validation", 0, "--out", tmp_path / "p")
    )
    assert (code, out) == (2, "")
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
    assert found.stdout.strip() == __version__


# Bad input

BAD = {
    "no command": ([], "required: COMMAND"),
    "unknown command": (["trian", "{cohort}"], "invalid choice: 'trian'"),
    "synthetic: too few": (
        ["synthetic", "--n", "3", "--out", "{new}"],
        "3 scans leave none to train on beside 12 held out",
    ),
    "synthetic: folder in use": (["synthetic", "--n", "14", "--out", "{used}"], "not empty"),
    "synthetic: out is a file": (["synthetic", "--n", "14", "--out", "{file}"], "Not a directory"),
    "synthetic: no labels": (
        ["synthetic", "--n", "14", "--labelled", "0", "--out", "{new}"],
        "cannot give 0 labelled",
    ),
    "synthetic: no validation": (
        ["synthetic", "--n", "14", "--validation", "0", "--out", "{new}"],
        "part validation of the split is empty",
    ),
    "synthetic: too small": (
        ["synthetic", "--n", "14", "--size", "4", "--out", "{new}"],
        "4 voxels a side",
    ),
    "synthetic: not a number": (
        ["synthetic", "--n", "many", "--out", "{new}"],
        "invalid int value: 'many'",
    ),
    "train: no out": (["train", "{cohort}"], "required: --out"),
    "train: no cohort": (["train", "{missing}", "--out", "{new}"], "there are no scans"),
    "train: cohort is a file": (["train", "{file}", "--out", "{new}"], "there are no scans"),
    "train: unknown method": (
        ["train", "{cohort}", "--method", "mean_techer", "--out", "{new}"],
        "did you mean mean_teacher?",
    ),
    "train: unknown option": (
        ["train", "{cohort}", "--option", "kernle=1", "--out", "{new}"],
        "no option 'kernle'",
    ),
    "train: option of no value": (
        ["train", "{cohort}", "--option", "kernel", "--out", "{new}"],
        "the option 'kernel' has no value",
    ),
    "train: option of another type": (
        ["train", "{cohort}", "--option", "passes=few", "--out", "{new}"],
        'option passes is "few"',
    ),
    "train: option out of range": (
        ["train", "{cohort}", "--option", "threshold=2.5", "--out", "{new}"],
        "threshold is 2.5",
    ),
    "train: word for a threshold": (
        ["train", "{cohort}", "--option", "threshold=high", "--out", "{new}"],
        "threshold is 'high'",
    ),
    "train: no passes": (
        ["train", "{cohort}", "--option", "passes=0", "--out", "{new}"],
        "passes is 0",
    ),
    "train: unknown profile": (
        ["train", "{cohort}", "--profile", "huge", "--out", "{new}"],
        "no profile 'huge'",
    ),
    "train: no steps": (["train", "{cohort}", "--steps", "0", "--out", "{new}"], "steps is 0"),
    "train: odd patch": (
        ["train", "{cohort}", "--patch", "17", "--out", "{new}"],
        "multiples of 4",
    ),
    "train: no patch": (["train", "{cohort}", "--patch", "0", "--out", "{new}"], "multiples of 4"),
    "train: a patch of two sides": (
        ["train", "{cohort}", "--patch", "16", "16", "--out", "{new}"],
        "--patch has 2 sides",
    ),
    "train: a test list of other scans": (
        ["train", "{cohort}", "--test-list", "{cohort}", "--out", "{new}"],
        "belongs to the left-atrium scans",
    ),
    "train: unknown network": (
        ["train", "{cohort}", "--arch", "densenet", "--out", "{new}"],
        "no network 'densenet'",
    ),
    "train: unknown precision": (
        ["train", "{cohort}", "--precision", "half", "--out", "{new}"],
        "precision is 'half'",
    ),
    "train: too many labels": (
        ["train", "{cohort}", "--labelled", "50", "--out", "{new}"],
        "budget of 50",
    ),
    "train: no labels": (["train", "{cohort}", "--labelled", "0", "--out", "{new}"], "budget of 0"),
    "train: no voxel size": (
        ["train", "{cohort}", "--spacing", "0", "--out", "{new}"],
        "voxel size of 0.0 mm",
    ),
    "train: init is no run": (
        ["train", "{cohort}", "--init", "{used}", "--out", "{new}"],
        "no run here",
    ),
    "train: folder in use": (["train", "{cohort}", "--out", "{used}"], "holds no run"),
    "train: another run": (
        ["train", "{cohort}", "--method", "ua_mt", "--out", "{run}"],
        "another run (mean_teacher",
    ),
    "predict: no run": (["predict", "{missing}", "{scan}", "--out", "{new}"], "no run here"),
    "predict: folder is no run": (["predict", "{used}", "{scan}", "--out", "{new}"], "no run here"),
    "predict: damaged checkpoint": (
        ["predict", "{broken}", "{scan}", "--out", "{new}"],
        "best.safetensors: the checkpoint cannot be read",
    ),
    "predict: damaged run.json": (
        ["predict", "{garbled}", "{scan}", "--out", "{new}"],
        "run.json is damaged",
    ),
    "predict: no scan": (["predict", "{run}", "{missing}", "--out", "{new}"], "nothing"),
    "predict: unreadable scan": (["predict", "{run}", "{file}", "--out", "{new}"], "mine.nii"),
    "predict: twice the same": (
        ["predict", "{run}", "{scan}", "{scan2}", "--out", "{new}"],
        "exists already",
    ),
    "predict: out is a file": (["predict", "{run}", "{scan}", "--out", "{file}"], "mine.nii"),
    "evaluate: no run": (["evaluate", "{missing}", "{cohort}"], "no run here"),
    "evaluate: no cohort": (["evaluate", "{run}", "{missing}"], "there are no scans"),
    "evaluate: unknown part": (
        ["evaluate", "{run}", "{cohort}", "--part", "exam"],
        "invalid choice: 'exam'",
    ),
    "evaluate: other classes": (
        ["evaluate", "{run}", "{cohort}", "--bone"],
        "the run knows the classes",
    ),
    "evaluate: csv exists": (
        ["evaluate", "{run}", "{cohort}", "--csv", "{file}"],
        "the file exists already",
    ),
    "evaluate: csv in a file": (
        ["evaluate", "{run}", "{cohort}", "--csv", "{file}/s.csv"],
        "mine.nii: File exists",
    ),
    "compare: no cohort": (["compare", "{missing}", "--out", "{new}"], "there are no scans"),
    "compare: unknown method": (
        ["compare", "{cohort}", "--methods", "labels_only", "ua_tm", "--out", "{new}"],
        "did you mean ua_mt?",
    ),
    "compare: unknown metric": (
        ["compare", "{cohort}", "--metric", "dise", "--out", "{new}"],
        "the metric is dise",
    ),
    "compare: absent baseline": (
        ["compare", "{cohort}", "--methods", "ua_mt", "--out", "{new}"],
        "the baseline labels_only",
    ),
    "compare: too many labels": (
        ["compare", "{cohort}", "--budgets", "2", "99", "--out", "{new}"],
        "budget of 99",
    ),
    "compare: folder in use": (
        ["compare", "{cohort}", "--budgets", "2", "--out", "{used}"],
        "holds no comparison",
    ),
}


@pytest.fixture(scope="module")
def places(made, tmp_path_factory):
    """Names for what the bad commands below point at."""
    folder = tmp_path_factory.mktemp("bad")
    (folder / "used").mkdir()
    (folder / "used" / "thesis.txt").write_text("years of work")
    (folder / "mine.nii").write_text("not a scan")
    for name in ("broken", "garbled"):
        shutil.copytree(made[0] / "run", folder / name)
    data = (folder / "broken" / "best.safetensors").read_bytes()
    (folder / "broken" / "best.safetensors").write_bytes(data[: len(data) // 2])
    (folder / "garbled" / "run.json").write_text("{]")
    (folder / "copy").mkdir()
    shutil.copytree(made[0] / "cohort", folder / "cohort")
    shutil.copytree(made[0] / "run", folder / "run")
    scan = folder / "cohort" / "images" / "case0.nii.gz"
    shutil.copy(scan, folder / "copy" / "case0.nii.gz")
    names = {name: folder / name for name in ("used", "broken", "garbled", "cohort", "run", "new")}
    return folder, names | {
        "missing": folder / "nothing",
        "file": folder / "mine.nii",
        "scan": scan,
        "scan2": folder / "copy" / "case0.nii.gz",
    }


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_and_loses_nothing(places, name):
    folder, names = places
    words, message = BAD[name]
    before = everything(folder)
    code, out, err = ssltut(*(word.format(**names) for word in words))
    assert code == 2 and out == "", (code, out, err)
    assert (
        len(err) == 1 and err[0].startswith("ssltut") and message in err[0] and "Next: " in err[0]
    ), err
    assert everything(folder) == before
    assert not names["new"].exists()


def test_an_existing_prediction_is_kept(made, tmp_path):
    (tmp_path / "case1_prediction.nii.gz").write_text("corrected by hand")
    scans = [made[0] / "cohort" / "images" / f"case{i}.nii.gz" for i in (0, 1)]
    code, _, err = ssltut("predict", made[0] / "run", *scans, "--out", tmp_path)
    assert code == 2
    assert "exists already" in err[0]
    assert [p.name for p in tmp_path.iterdir()] == ["case1_prediction.nii.gz"]


def test_a_failed_run_of_a_comparison_is_told(made, tmp_path, monkeypatch):
    real = training.train

    def fail(method, *args, **options):
        if method.name == "ua_mt":
            raise TrainingError("loss term consistency is not finite")
        return real(method, *args, **options)

    monkeypatch.setattr(training, "train", fail)
    code, _, err = ssltut(
        "compare",
        made[0] / "cohort",
        "--methods",
        "labels_only",
        "ua_mt",
        "--budgets",
        2,
        "--seeds",
        0,
        "--out",
        tmp_path / "c",
        "--workers",
        0,
        *QUICK,
    )
    assert code == 1
    assert "failed: loss term consistency" in "\n".join(err)


@pytest.mark.parametrize("path", ["{missing}", "{file}", "{used}"])
def test_verify_of_what_is_no_scan(places, path):
    code, out, err = ssltut("verify", path.format(**places[1]))
    assert code == 1
    assert err == []
    assert "ERROR" in out
    assert "Next: " in out
