"""Comparisons and predictions on workers: the same results as in one process."""

import contextlib
import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch
from scipy import ndimage
from toy import SMALL, toy_cohort
from toy_cli import QUICK, ssltut
from toy_cluster import distributed, quiet, small_cluster

from ssltut.data.case import Case
from ssltut.errors import CheckpointError, ConfigError, DataError, TrainingError
from ssltut.evaluation.compare import compare
from ssltut.io.cohort_folder import write_cohort
from ssltut.training import run as training_run
from ssltut.training.checkpoint import load_checkpoint
from ssltut.training.predict import predict_file, predict_files
from ssltut.training.run import load_run

SLOW = replace(SMALL, steps=12, validate_every=2)
SAME = ["case", "class", "metric", "value", "status", "method", "budget", "seed", "config"]
SAME += ["selected_step", "command"]


@pytest.fixture(scope="module")
def cluster():
    with small_cluster(2) as made:
        yield made


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    folder = tmp_path_factory.mktemp("workers")
    write_cohort(toy_cohort(), folder / "cohort")
    assert (
        ssltut(
            "train", folder / "cohort", "--method", "labels_only", "--out", folder / "run", *QUICK
        )[0]
        == 0
    )
    (folder / "scans").mkdir()
    for i in range(3):
        (folder / "scans" / f"case{i}.nii.gz").write_bytes(
            (folder / "cohort" / "images" / f"case{i}.nii.gz").read_bytes()
        )
    return folder


def test_a_worker_killed_in_the_middle_costs_a_retry_and_nothing_else(cluster, tmp_path):
    words = {"methods": ["ua_mt"], "config": SLOW, "budgets": [2], "seeds": [0], "log": quiet}
    words["options"] = {"ua_mt": {"passes": 2}}
    with ThreadPoolExecutor(1) as pool, distributed.Client(cluster, set_as_default=False) as client:
        pids = client.run(os.getpid)
        sweep = pool.submit(
            compare, toy_cohort(), folder=tmp_path / "dask", dask=cluster.scheduler_address, **words
        )

        def steps():
            with contextlib.suppress(StopIteration, CheckpointError):
                return load_checkpoint(next((tmp_path / "dask").glob("runs/*/last.safetensors")))[
                    1
                ]["step"]
            return 0

        while steps() < 4 and not sweep.done():
            time.sleep(0.02)
        busy = [pids[worker] for worker, keys in client.processing().items() if keys]
        assert len(busy) == 1
        assert not sweep.done()
        os.kill(busy[0], signal.SIGTERM if os.name == "nt" else signal.SIGKILL)
        reached, seen = steps(), []
        while not sweep.done():
            seen.append(steps())
            time.sleep(0.2)  # the scheduler is a thread of this process
        rows = sweep.result()
    assert 4 <= reached < SLOW.steps
    assert min(seen) >= reached
    here = compare(toy_cohort(), folder=tmp_path / "here", **words)
    assert rows[SAME].equals(here[SAME])
    assert not (rows["status"] == "failed").any()


def test_the_command_line_gives_the_same_whichever_way(cluster, places, tmp_path):
    words = [
        "compare",
        places / "cohort",
        "--methods",
        "labels_only",
        "all_labels",
        "--budgets",
        2,
        3,
        "--seeds",
        0,
        *QUICK,
        "--json",
    ]
    answers = []
    for name, where in (
        ("here", ["--workers", 0]),
        ("dask", ["--dask", cluster.scheduler_address]),
    ):
        code, out, err = ssltut(*words, *where, "--out", tmp_path / name)
        assert code == 0, err
        answers.append({key: value for key, value in json.loads(out).items() if key != "csv"})
        said = [line for line in err if line.startswith("[")]
        assert [line.split("]")[0] for line in said] == ["[1/4", "[2/4", "[3/4", "[4/4"]
        assert all("left" in line for line in said)
    assert answers[0] == answers[1]
    assert len(list((tmp_path / "dask" / "runs").iterdir())) == 3
    assert " Dask workers now; status at http" in "\n".join(
        err
    )  # two, or one while the dead one of the test above is replaced
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "dask").rglob("*.safetensors")}
    assert (
        ssltut(*words, "--workers", 0, "--out", tmp_path / "dask")[0] == 0
    )  # found again by the other way
    assert {p: p.stat().st_mtime_ns for p in before} == before


def test_a_folder_of_scans_is_predicted_by_a_cluster_as_here(cluster, places, tmp_path):
    (tmp_path / "scans").mkdir()
    for path in (places / "scans").iterdir():
        (tmp_path / "scans" / path.name).write_bytes(path.read_bytes())
    for name, where in (
        ("here", ["--workers", 0]),
        ("dask", ["--dask", cluster.scheduler_address]),
    ):
        code, out, err = ssltut(
            "predict",
            places / "run",
            tmp_path / "scans",
            "--out",
            tmp_path / name,
            "--json",
            *where,
        )
        assert (
            code == 0
            and len(json.loads(out)) == 3
            and len([line for line in err if line.endswith("done")]) == 3
        ), err
    for path in (tmp_path / "here").glob("*.nii.gz"):
        a, b = nib.load(path), nib.load(tmp_path / "dask" / path.name)
        assert np.array_equal(a.dataobj, b.dataobj)
        assert np.array_equal(a.affine, b.affine)


def test_a_bad_scan_does_not_stop_the_others(places, tmp_path):
    bad = [tmp_path / "bad0.nii", tmp_path / "bad1.nii"]
    for path in bad:
        path.write_text("no scan")
    code, out, err = ssltut(
        "predict",
        places / "run",
        bad[0],
        places / "scans",
        bad[1],
        "--out",
        tmp_path / "out",
        "--workers",
        0,
    )
    assert code == 1
    assert len(out.splitlines()) == 3
    assert [line.split(": ")[:2] for line in err[-2:]] == [
        ["ssltut predict", str(path)] for path in bad
    ]
    assert sorted(p.name for p in (tmp_path / "out").glob("*.nii.gz")) == [
        f"case{i}_prediction.nii.gz" for i in range(3)
    ]


def test_what_a_dead_worker_wrote_is_written_again_but_nothing_else(places, tmp_path):
    run, scan = load_run(places / "run"), places / "scans" / "case0.nii.gz"
    assert predict_file(run, scan, tmp_path / "p.nii.gz") is None
    first = np.asarray(nib.load(tmp_path / "p.nii.gz").dataobj)
    assert predict_file(run, scan, tmp_path / "p.nii.gz") is None
    assert np.array_equal(nib.load(tmp_path / "p.nii.gz").dataobj, first)
    other = places / "scans" / "case1.nii.gz"
    with pytest.raises(ConfigError, match="exists already"):
        predict_files(run, {scan: tmp_path / "p.nii.gz"}, log=quiet)
    both = {scan: tmp_path / "q.nii.gz", other: tmp_path / "q.nii.gz"}
    with pytest.raises(ConfigError, match="would have the same name"):
        predict_files(run, both, log=quiet)
    assert (
        predict_files(run, {scan: tmp_path / "q.nii.gz", other: tmp_path / "r.nii.gz"}, log=quiet)
        == {}
    )
    assert sorted(path.name for path in tmp_path.glob("*.nii.gz")) == [
        "p.nii.gz",
        "q.nii.gz",
        "r.nii.gz",
    ]


def test_small_pieces_are_left_out_when_asked_and_a_share_is_a_share(places, tmp_path, monkeypatch):
    run, scan = load_run(places / "run"), places / "scans" / "case0.nii.gz"
    said = torch.zeros(3, 12, 12, 12)
    said[1, :2] = said[1, 8, 8, 8] = 1
    monkeypatch.setattr(training_run, "predict_probabilities", lambda *_, keep, **__: keep(said))
    case = Case("a", "a", np.zeros((12, 12, 12), np.int16), None, np.eye(4))
    for share, voxels in ((0.0, 289), (0.2, 288)):
        assert (run.predict(case, share) == 1).sum() == voxels
    with pytest.raises(ConfigError, match="min_component is 20"):
        predict_files(run, {scan: tmp_path / "p.nii.gz"}, min_component=20.0, log=quiet)
    monkeypatch.undo()
    code, _, err = ssltut(
        "predict",
        places / "run",
        scan,
        "--min-component",
        1,
        "--out",
        tmp_path / "out",
        "--workers",
        0,
    )
    assert code == 0, err
    written = np.asarray(nib.load(tmp_path / "out" / "case0_prediction.nii.gz").dataobj)
    assert written.any()
    assert all(ndimage.label(written == value, np.ones((3, 3, 3)))[1] <= 1 for value in (1, 2))


def test_a_full_memory_is_told_of_its_scan(places, tmp_path, monkeypatch):
    def fail(*args, **options):
        raise torch.OutOfMemoryError("CUDA out of\nmemory")

    run = load_run(places / "run")
    monkeypatch.setattr(type(run), "predict", fail)
    found = predict_file(run, places / "scans" / "case0.nii.gz", tmp_path / "p.nii.gz")
    assert isinstance(found, DataError)
    assert "case0.nii.gz: OutOfMemoryError: CUDA out of memory" in str(found)
    assert not any(tmp_path.iterdir())


def test_a_folder_without_scans(places, tmp_path):
    code, _, err = ssltut("predict", places / "run", tmp_path, "--out", tmp_path / "out")
    assert code == 2
    assert len(err) == 1
    assert "there are no scans" in err[0]


def test_a_run_that_kills_its_workers_is_a_row(tmp_path, monkeypatch):
    @contextlib.contextmanager
    def fatal(*args):
        yield lambda task, shared, jobs: iter(
            [(0, TrainingError("the workers that had this job died"))]
        )

    with monkeypatch.context() as patch:
        patch.setattr("ssltut.evaluation.compare.open_workers", fatal)
        rows = compare(
            toy_cohort(), ["labels_only"], tmp_path, config=SMALL, budgets=[2], seeds=[0], log=quiet
        )
    assert len(rows) == 1
    assert rows["status"].iloc[0] == "failed"
    assert "died" in rows["error"].iloc[0]
    assert rows[["config", "command", "commit", "machine", "settings"]].notna().all().all()
    assert not (
        compare(
            toy_cohort(), ["labels_only"], tmp_path, config=SMALL, budgets=[2], seeds=[0], log=quiet
        )["status"]
        == "failed"
    ).any()


@pytest.mark.parametrize("command", ["compare", "predict"])
@pytest.mark.parametrize(
    ("where", "words"),
    [
        (["--dask", "node1"], "missing port"),
        (["--workers", "-2"], "workers is -2"),
        (["--workers", "2", "--dask", "tcp://a:1"], "workers is 2 and"),
        (["--workers", "all"], "invalid int"),
    ],
)
def test_bad_workers_are_one_line_and_lose_nothing(places, tmp_path, command, where, words):
    given = (
        [places / "cohort", "--budgets", 2, *QUICK]
        if command == "compare"
        else [places / "run", places / "scans"]
    )
    code, out, err = ssltut(command, *given, "--out", tmp_path / "new", *where)
    assert code == 2 and out == "" and len(err) == 1 and words in err[0] and "Next: " in err[0], err
    assert not (tmp_path / "new").exists()
