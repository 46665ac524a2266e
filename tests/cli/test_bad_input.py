"""The command line with the bad input users have: one line, exit code 2, nothing lost."""

import shutil
import warnings

import pytest
from toy_cli import QUICK, everything, ssltut

from ssltut.cli import main as main_module
from ssltut.cli.output import short_warnings
from ssltut.errors import DataWarning, TrainingError
from ssltut.training import loop as training

# A name, what is typed, and what the answer says.
BAD = {
    "no command": ("", "required: COMMAND"),
    "unknown command": ("trian {cohort}", "invalid choice: 'trian'"),
    "synthetic: too few": (
        "synthetic --n 3 --out {new}",
        "3 scans are too few: validation and test take 12 of them",
    ),
    "synthetic: folder in use": ("synthetic --n 14 --out {used}", "not empty"),
    "synthetic: out is a file": ("synthetic --n 14 --out {file}", "Not a directory"),
    "synthetic: no labels": ("synthetic --n 14 --labelled 0 --out {new}", "cannot give 0 labelled"),
    "synthetic: no validation": (
        "synthetic --n 14 --validation 0 --out {new}",
        "part validation of the split is empty",
    ),
    "synthetic: too small": ("synthetic --n 14 --size 4 --out {new}", "4 voxels a side"),
    "synthetic: not a number": ("synthetic --n many --out {new}", "invalid int value: 'many'"),
    "train: no out": ("train {cohort}", "required: --out"),
    "train: no cohort": ("train {missing} --out {new}", "there are no scans"),
    "train: cohort is a file": ("train {file} --out {new}", "there are no scans"),
    "train: unknown method": (
        "train {cohort} --method mean_techer --out {new}",
        "did you mean mean_teacher?",
    ),
    "train: unknown option": ("train {cohort} --option kernle=1 --out {new}", "no option 'kernle'"),
    "train: option of no value": (
        "train {cohort} --option kernel --out {new}",
        "the option 'kernel' has no value",
    ),
    "train: option of another type": (
        "train {cohort} --option passes=few --out {new}",
        'option passes is "few"',
    ),
    "train: option out of range": (
        "train {cohort} --option threshold=2.5 --out {new}",
        "threshold is 2.5",
    ),
    "train: word for a threshold": (
        "train {cohort} --option threshold=high --out {new}",
        "threshold is 'high'",
    ),
    "train: no passes": ("train {cohort} --option passes=0 --out {new}", "passes is 0"),
    "train: unknown profile": ("train {cohort} --profile huge --out {new}", "no profile 'huge'"),
    "train: no steps": ("train {cohort} --steps 0 --out {new}", "steps is 0"),
    "train: odd patch": ("train {cohort} --patch 17 --out {new}", "multiples of 4"),
    "train: no patch": ("train {cohort} --patch 0 --out {new}", "multiples of 4"),
    "train: a patch of two sides": (
        "train {cohort} --patch 16 16 --out {new}",
        "--patch has 2 sides",
    ),
    "train: a test list of other scans": (
        "train {cohort} --test-list {cohort} --out {new}",
        "belongs to the left-atrium scans",
    ),
    "train: unknown network": (
        "train {cohort} --arch densenet --out {new}",
        "no network 'densenet'",
    ),
    "train: unknown precision": (
        "train {cohort} --precision half --out {new}",
        "precision is 'half'",
    ),
    "train: too many labels": ("train {cohort} --labelled 50 --out {new}", "budget of 50"),
    "train: no labels": ("train {cohort} --labelled 0 --out {new}", "budget of 0"),
    "train: no voxel size": ("train {cohort} --spacing 0 --out {new}", "voxel size of 0.0 mm"),
    "train: init is no run": ("train {cohort} --init {used} --out {new}", "no run here"),
    "train: folder in use": ("train {cohort} --out {used}", "not a run"),
    "train: another run": (
        "train {cohort} --method ua_mt --out {run}",
        "another run (mean_teacher",
    ),
    "predict: no run": ("predict {missing} {scan} --out {new}", "no run here"),
    "predict: folder is no run": ("predict {used} {scan} --out {new}", "no run here"),
    "predict: damaged checkpoint": (
        "predict {broken} {scan} --out {new}",
        "best.safetensors: the checkpoint cannot be read",
    ),
    "predict: damaged run.json": ("predict {garbled} {scan} --out {new}", "run.json is damaged"),
    "predict: no scan": ("predict {run} {missing} --out {new}", "nothing"),
    "predict: unreadable scan": ("predict {run} {file} --out {new}", "mine.nii"),
    "predict: twice the same": (
        "predict {run} {scan} {scan2} --out {new}",
        "would have the same name",
    ),
    "predict: out is a file": ("predict {run} {scan} --out {file}", "mine.nii"),
    "evaluate: no run": ("evaluate {missing} {cohort}", "no run here"),
    "evaluate: no cohort": ("evaluate {run} {missing}", "there are no scans"),
    "evaluate: unknown part": ("evaluate {run} {cohort} --part exam", "invalid choice: 'exam'"),
    "evaluate: other classes": ("evaluate {run} {cohort} --bone", "the run has the classes"),
    "evaluate: csv exists": ("evaluate {run} {cohort} --csv {file}", "the file exists already"),
    "evaluate: csv in a file": (
        "evaluate {run} {cohort} --csv {file}/s.csv",
        "mine.nii: File exists",
    ),
    "compare: no cohort": ("compare {missing} --out {new}", "there are no scans"),
    "compare: unknown method": (
        "compare {cohort} --methods labels_only ua_tm --out {new}",
        "did you mean ua_mt?",
    ),
    "compare: unknown metric": ("compare {cohort} --metric dise --out {new}", "the metric is dise"),
    "compare: absent baseline": (
        "compare {cohort} --methods ua_mt --out {new}",
        "the baseline labels_only",
    ),
    "compare: too many labels": ("compare {cohort} --budgets 2 99 --out {new}", "budget of 99"),
    "compare: folder in use": ("compare {cohort} --budgets 2 --out {used}", "not a comparison"),
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
    typed, message = BAD[name]
    before = everything(folder)
    code, out, err = ssltut(*(word.format(**names) for word in typed.split()))
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
    setting = "--methods labels_only ua_mt --budgets 2 --seeds 0 --workers 0 --out"
    code, _, err = ssltut("compare", made[0] / "cohort", setting, tmp_path / "c", *QUICK)
    assert code == 1
    assert "failed: loss term consistency" in "\n".join(err)


@pytest.mark.parametrize("path", ["{missing}", "{file}", "{used}"])
def test_verify_of_what_is_no_scan(places, path):
    code, out, err = ssltut("verify", path.format(**places[1]))
    assert code == 1
    assert err == []
    assert "ERROR" in out
    assert "Next: " in out


def test_a_memory_that_does_not_do_is_one_line(monkeypatch, capsys):
    def fill(args):
        raise MemoryError("Unable to allocate 14.9 TiB")

    monkeypatch.setitem(main_module.COMMANDS, "methods", (fill, lambda add: None))
    assert main_module.main(["methods"]) == 2
    said = "ssltut methods: the memory did not do (Unable to allocate 14.9 TiB). Next: use smaller"
    assert capsys.readouterr().err.startswith(said)


def test_a_warning_about_data_is_one_line_and_others_stay_as_they_are():
    before = warnings.formatwarning
    finding = DataWarning("an odd value", where="a.nii", fix="look at it")
    with short_warnings("train"):
        line = warnings.formatwarning(finding, DataWarning, "file.py", 7)
        other = warnings.formatwarning("soon", FutureWarning, "file.py", 7)
    assert line == "ssltut train: warning: a.nii: an odd value Next: look at it\n"
    assert other.startswith("file.py:7: FutureWarning: soon")
    assert warnings.formatwarning is before
