"""Jobs in this process, in local processes and on a cluster, and workers that die."""

import os
import pickle
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Thread

import pytest
import torch
from toy_cluster import quiet, small_cluster

from ssltut import parallel
from ssltut.errors import ConfigError, TrainingError
from ssltut.parallel import default_workers, exclusive, n_workers, open_workers


@pytest.fixture(scope="module")
def cluster():
    with small_cluster(2) as made:
        yield made


def test_local_workers_divide_the_threads():
    said = []
    with open_workers(2, log=said.append) as run_jobs:
        found = dict(run_jobs(os.getenv, "OMP_NUM_THREADS", [(), ("",), ("0",)]))
        memory = dict(run_jobs(os.getenv, "MALLOC_TRIM_THRESHOLD_", [("as it was",)]))
    threads = max(1, torch.get_num_threads() // 2)
    assert memory == {
        0: os.environ.get("MALLOC_TRIM_THRESHOLD_", "as it was")
    }  # Dask's own costs a third of a step
    assert found == dict.fromkeys(range(3), str(threads))
    assert said == [f"2 local workers of {threads} threads each"]


def test_a_job_that_kills_every_worker_is_given_up():
    from dask import config

    with (
        config.set({"distributed.scheduler.allowed-failures": 1}),
        small_cluster(1) as one,
        open_workers(dask=one.scheduler_address, log=quiet) as run_jobs,
    ):
        given_up = dict(run_jobs(leave, 3, [(True,)]))[0]
        assert dict(run_jobs(leave, 3, [(False,)])) == {0: 3}  # by the worker in its place
    assert isinstance(given_up, TrainingError)
    assert "died" in str(given_up)
    assert "fewer workers" in str(given_up)


def leave(shared, at_once):
    return os._exit(1) if at_once else shared


def test_a_cluster_that_goes_away():
    with small_cluster(1) as one, open_workers(dask=one.scheduler_address, log=quiet) as run_jobs:
        jobs = run_jobs(wait, None, [(0,), (60,)])
        assert next(jobs) == (0, None)
        Thread(target=one.close).start()
        with pytest.raises(
            TrainingError, match=r"connection to the Dask cluster was lost.*same command"
        ):
            next(jobs)


def wait(shared, seconds):
    time.sleep(seconds)


def test_one_job_at_a_time_in_a_process():
    busy = []

    def task(shared, i):
        busy.append(i)
        time.sleep(0.01)
        assert busy == [i]
        busy.remove(i)
        return i

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(partial(exclusive, task, None), range(8))) == list(range(8))


def test_workers_that_cannot_be_had(cluster, monkeypatch):
    for settings, words in (
        ((-1, None), "workers is -1"),
        ((2, "tcp://a:1"), "workers is 2 and the cluster is tcp://a:1"),
    ):
        with pytest.raises(ConfigError, match=words), open_workers(*settings):
            pass
    monkeypatch.setattr(parallel, "TIMEOUT_S", 0.3)
    worker = next(iter(cluster.scheduler_info["workers"]))
    for address, words in (
        ("tcp://127.0.0.1:1", "no Dask scheduler answers"),
        ("node1", "missing port"),
        ("http://a:1", "unknown address scheme"),
        (worker, "this is a Dask worker"),
    ):
        with (
            pytest.raises(ConfigError, match=f"{address}: .*{words}.*Next: "),
            open_workers(dask=address, log=quiet),
        ):
            pass
    monkeypatch.setitem(sys.modules, "distributed", None)
    with (
        pytest.raises(ConfigError, match=r"dask\.distributed is not installed Next: pip install"),
        open_workers(1),
    ):
        pass
    with open_workers(0) as run_jobs:  # needs no Dask
        assert list(run_jobs(pow, 2, [(3,), (4,)])) == [(0, 8), (1, 16)]


def test_workers_without_the_package(cluster):
    with open_workers(dask=cluster.scheduler_address, log=quiet) as run_jobs:
        with pytest.raises(
            ConfigError, match=r"Dask workers have no module nowhere.*install ssltut"
        ):
            list(run_jobs(need, "nowhere", [()]))
        assert list(run_jobs(need, "json", [()])) == [(0, "json")]


def need(name):
    return __import__(name).__name__


def test_at_most_one_worker_a_job(monkeypatch):
    monkeypatch.setattr(parallel, "default_workers", lambda n_jobs: 4)
    assert n_workers(None, 9, cluster=False) == 4
    assert n_workers(None, 9, cluster=True) == 0
    assert [n_workers(n, 2, cluster=False) for n in (-1, 0, 1, 5)] == [-1, 0, 1, 2]


def test_how_many_workers_suit(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert [default_workers(jobs) for jobs in (0, 1, 2, 3, 99)] == [0, 0, 2, 3, 4]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert default_workers(99) == 1
    monkeypatch.setattr(parallel, "find_spec", lambda name: None)
    assert default_workers(99) == 0


def test_an_error_of_a_run_keeps_its_words_on_the_way_home():
    error = TrainingError("loss is not finite", where="runs/1", fix="lower lr")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
