"""Where jobs run: in this process, in processes of this machine, or on a Dask cluster.

The results are the same. Dask's workers are new processes, as Windows, macOS and CUDA need.
"""

import asyncio
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from threading import Lock
from typing import Any

from ssltut.errors import ConfigError, TrainingError
from ssltut.interrupts import stop_threads

Task = Callable[..., Any]
Results = Iterator[tuple[int, Any]]
RunJobs = Callable[[Task, Any, Sequence[tuple]], Results]
TIMEOUT_S = 10.0  # for a scheduler to answer
GIVE_ADDRESS = "give the address that dask scheduler prints"
AGAIN = "give the same command again"
_one_job_a_process = Lock()


def default_workers(n_jobs: int) -> int:
    """Local processes: one a core, at most four; one for a GPU; none for one job or no Dask."""
    import torch

    if n_jobs < 2 or find_spec("distributed") is None:
        return 0
    return 1 if torch.cuda.is_available() else min(os.cpu_count() or 1, n_jobs, 4)


def n_workers(requested: int | None, n_jobs: int, *, cluster: bool) -> int:
    """How many local processes to start: what was asked for, at most one a job; None chooses."""
    if requested is None:
        return 0 if cluster else default_workers(n_jobs)
    return min(requested, n_jobs)


@contextmanager
def open_workers(
    workers: int = 0, dask: str | None = None, log: Callable[[str], None] = print
) -> Iterator[RunJobs]:
    """Gives ``run_jobs(task, shared, jobs)``: (index, task(shared, *job)) as each job is done.

    workers  0: in this process; else so many local processes, which divide the threads torch uses
             here among them
    dask     address of the scheduler of a running cluster instead, such as tcp://node1:8786

    ``task`` is a function of a module. ``shared`` goes to a worker once, not with every job. A job
    whose worker dies is done again by another; when that has happened four times (Dask's
    allowed-failures), its TrainingError comes in place of the result. A script that uses processes
    must start below ``if __name__ == "__main__":``. Raises ConfigError when there cannot be such
    workers, TrainingError when the cluster is lost.
    """
    if workers < 0 or (workers and dask):
        cluster = f" and the cluster is {dask}" if dask else ""
        fix = "give 0 or more workers, or a cluster"
        raise ConfigError(f"workers is {workers}{cluster}", fix=fix)
    if not workers and not dask:
        yield run_serially
        return
    if find_spec("distributed") is None:
        fix = 'pip install "dask[distributed]", or stay in one process with 0 workers'
        raise ConfigError("dask.distributed is not installed", fix=fix)
    with _cluster(dask, log) if dask else _local_processes(workers, log) as client:
        yield partial(submit_all, client)


@contextmanager
def _cluster(address: str, log: Callable[[str], None]) -> Iterator[Any]:
    from distributed import Client

    with ThreadPoolExecutor(1) as pool:  # a notebook has an event loop in this thread already
        scheduler = pool.submit(asyncio.run, scheduler_info(address)).result()
    with Client(address, set_as_default=False) as client:
        n = len(scheduler["workers"])
        log(f"{address}: {n} Dask workers now; status at {client.dashboard_link}")
        yield client


@contextmanager
def _local_processes(workers: int, log: Callable[[str], None]) -> Iterator[Any]:
    import torch
    from dask import config
    from distributed import Client, LocalCluster

    threads = max(1, torch.get_num_threads() // workers)
    # Without Dask's own variables: its MALLOC_TRIM_THRESHOLD_ hands every tensor's memory back at
    # once, a third of a training step on a CPU.
    with (
        config.set({"distributed.nanny.pre-spawn-environ": {}}),
        LocalCluster(
            workers,
            threads_per_worker=1,
            memory_limit=0,
            dashboard_address="127.0.0.1:0",
            silence_logs="ERROR",
            env=dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), threads),
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        client.register_worker_callbacks(setup=leave_ctrl_c)
        log(f"{workers} local workers of {threads} threads each")
        try:
            yield client
        except KeyboardInterrupt:  # of a cluster, the workers are not ours to stop
            client.run(stop_job)
            raise


async def scheduler_info(address: str) -> dict[str, Any]:
    """What the scheduler at ``address`` says of itself. Raises ConfigError when there is none."""
    from distributed import rpc

    try:
        async with rpc(address, timeout=TIMEOUT_S) as server:
            info = await asyncio.wait_for(server.identity(), TIMEOUT_S)
    except (OSError, ValueError) as error:
        silence = f"silence for {TIMEOUT_S:g} s"
        what = f"no Dask scheduler answers ({str(error) or silence})"
        fix = f"{GIVE_ADDRESS}, like tcp://node1:8786, or leave it out to use this machine"
        raise ConfigError(what, where=address, fix=fix) from None
    if info["type"] != "Scheduler":
        what = f"this is a Dask {info['type'].lower()}, not the scheduler"
        raise ConfigError(what, where=address, fix=GIVE_ADDRESS)
    return info


def run_serially(task: Task, shared: Any, jobs: Sequence[tuple]) -> Results:
    for i, job in enumerate(jobs):
        yield i, task(shared, *job)


def submit_all(client: Any, task: Task, shared: Any, jobs: Sequence[tuple]) -> Results:
    """The jobs on the workers of ``client``; Dask makes ``shared`` again when its worker dies."""
    import dask
    from distributed import KilledWorker, as_completed

    # A cohort in memory is sent once: that is meant.
    with dask.config.set({"distributed.admin.large-graph-warning-threshold": "4GiB"}):
        shared_once = client.submit(identity, shared, pure=False)
    submit = partial(client.submit, exclusive, task, shared_once, pure=False)
    index = {submit(*job): i for i, job in enumerate(jobs)}
    for future in as_completed(index, loop=client.loop):
        try:
            result = future.result()
        except KilledWorker:
            what = "every worker that had this job died"
            fix = f"the usual cause is memory: use fewer workers or a smaller patch, then {AGAIN}"
            result = TrainingError(what, where=f"job {index[future] + 1}", fix=fix)
        except CancelledError:
            fix = f"{AGAIN}: finished jobs are not repeated"
            raise TrainingError("the connection to the Dask cluster was lost", fix=fix) from None
        except ModuleNotFoundError as error:
            fix = "install ssltut where the workers run, in the same version"
            raise ConfigError(f"the Dask workers have no module {error.name}", fix=fix) from None
        yield index[future], result


def identity(shared: Any) -> Any:
    return shared


def exclusive(task: Task, shared: Any, *job: Any) -> Any:
    """A job alone in its process, as torch has one stream of random numbers a process."""
    with _one_job_a_process:
        try:
            return task(shared, *job)
        except KeyboardInterrupt:  # by stop_job: nobody waits for the result
            return None


def leave_ctrl_c() -> None:
    """In a worker: a terminal sends Ctrl-C to all processes, and the first of them decides."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def stop_job() -> None:
    """In a worker: let its job stop, with a checkpoint where it trains, and begin no other."""
    stop_threads()
    _one_job_a_process.acquire(timeout=TIMEOUT_S)
