"""Commands that are stopped say one line, end with the code of the signal, and go on."""

import json
import signal
import stat

import nibabel as nib
import numpy as np
import pytest
from toy_cli import METHOD, QUICK, everything, ssltut

from ssltut.training import predict, steps


@pytest.fixture
def scans(made, tmp_path):
    """A folder of three scans."""
    (tmp_path / "scans").mkdir()
    for i in range(3):
        name = f"case{i}.nii.gz"
        content = (made[0] / "cohort" / "images" / name).read_bytes()
        (tmp_path / "scans" / name).write_bytes(content)
    return tmp_path / "scans"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_training_that_is_stopped_says_how_to_go_on(made, tmp_path, monkeypatch, number):
    words = ["train", made[0] / "cohort", *METHOD, "--out", tmp_path / "run", *QUICK]

    def stop(*rest):
        signal.raise_signal(number)

    with monkeypatch.context() as patch:
        patch.setattr(steps, "validation_scores", stop)
        code, out, err = ssltut(*words)
    assert (code, out) == (128 + number, "")
    last = (
        "ssltut train: mean teacher stopped after step 2 of 2. Next: give the same command again,"
    )
    assert err[-1] == f"{last} it goes on from there"
    assert not any("Traceback" in line for line in err)
    assert ssltut(*words)[0] == 0
    whole = everything(made[0] / "run")
    assert everything(tmp_path / "run")["best.safetensors"] == whole["best.safetensors"]


def test_predictions_go_on_where_they_were_stopped(made, scans, tmp_path, monkeypatch):
    words = ["predict", made[0] / "run", scans, "--workers", 0, "--out"]
    assert ssltut(*words, tmp_path / "whole")[0] == 0
    real, done = predict.predict_file, []

    def stop(*rest):
        if done:
            raise KeyboardInterrupt
        done.append(rest)
        return real(*rest)

    with monkeypatch.context() as patch:
        patch.setattr(predict, "predict_file", stop)
        code, _, err = ssltut(*words, tmp_path / "out")
    assert code == 130
    assert err[-1].startswith("ssltut predict: stopped. Next: give the same command again, it goes")
    code, out, err = ssltut(*words, tmp_path / "out")
    assert code == 0
    assert "1 of 3 were there" in err
    assert [line.split()[0] for line in out.splitlines()] == ["found", "wrote", "wrote"]
    whole = everything(tmp_path / "whole")
    assert everything(tmp_path / "out") == whole
    assert set(json.loads(whole["predictions.json"])) == set(whole) - {"predictions.json"}


def test_only_this_very_prediction_is_found_again(made, scans, tmp_path):
    words = ["predict", made[0] / "run", scans, "--workers", 0, "--out", tmp_path / "out"]
    assert ssltut(*words)[0] == 0
    whole = everything(tmp_path / "out")
    code, _, err = ssltut(*words, "--min-component", 0.3)
    assert code == 2
    assert "exists already" in err[-1]
    cut = tmp_path / "out" / "case1_prediction.nii.gz"
    cut.write_bytes(cut.read_bytes()[:40])
    code, _, err = ssltut(*words)
    assert code == 0
    assert "2 of 3 were there" in err
    assert everything(tmp_path / "out") == whole
    (scans / "case1.nii.gz").write_bytes((scans / "case2.nii.gz").read_bytes())
    code, _, err = ssltut(*words)
    assert code == 2
    assert "case1_prediction.nii.gz: the prediction exists already" in err[-1]


def test_a_key_is_there_with_its_cohort_and_for_nobody_else(tmp_path, monkeypatch):
    (tmp_path / "scans").mkdir()
    for i in range(3):
        values = np.random.default_rng(i).integers(-1000, 500, (12, 12, 12)).astype(np.int16)
        name = f"caf\udce9{i}.nii.gz" if i == 2 else f"s{i}.nii.gz"
        nib.save(nib.Nifti1Image(values, np.diag([2, 2, 2, 1.0])), tmp_path / "x.nii.gz")
        (tmp_path / "x.nii.gz").rename(tmp_path / "scans" / name)
    key, words = tmp_path / "key.csv", ["ingest", tmp_path / "scans", "--out", tmp_path / "cohort"]
    words += ["--key", key]

    def stop(*rest, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("ssltut.intake.ingest.verify_paths", stop)
        code, _, err = ssltut(*words)
    assert code == 130
    assert err[-1] == "ssltut ingest: stopped. Next: give the same command again"
    assert {path.name for path in tmp_path.iterdir()} == {"scans"}
    assert ssltut(*words)[0] == 0
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert b"caf\xe92.nii.gz" in key.read_bytes()
