"""Where jobs run: here one after the other, in processes of this machine, or on a Dask cluster.
What comes out is the same.

Dask is imported where it is used. Its workers are new processes, never forked ones, which is what
Windows, macOS and CUDA ask for.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from threading import Lock

from ssltut.errors import ConfigError, TrainingError

Each = Callable[[Callable, object, Sequence[tuple]], Iterator[tuple[int, object]]]
PATIENCE = 10.0  # seconds a scheduler has to answer
_one_at_a_time = Lock()


def usual_workers(jobs: int) -> int:
    """Local processes for so many jobs: one a core and four at most, one where they would share a
    GPU, none for a single job or without Dask.
    """
    import os

    import torch

    if jobs < 2 or find_spec("distributed") is None:
        return 0
    return 1 if torch.cuda.is_available() else min(os.cpu_count() or 1, jobs, 4)


@contextmanager
def open_workers(
    workers: int = 0, dask: str | None = None, log: Callable[[str], None] = print
) -> Iterator[Each]:
    """Gives ``each(task, shared, jobs)``, which yields (index, task(shared, *job)) for every job as
    it is done, in whatever order.

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
        raise ConfigError(
            f"workers is {workers}{f' and the cluster is {dask}' if dask else ''}",
            fix="give 0 or more workers, or a cluster",
        )
    if not workers and not dask:
        yield one_by_one
        return
    try:
        from dask import config
        from distributed import Client, LocalCluster
    except ImportError:
        raise ConfigError(
            "dask.distributed is not installed",
            fix='pip install "ssltut[sweep]", or stay in one process with 0 workers',
        ) from None
    if dask:
        with ThreadPoolExecutor(1) as pool:  # a notebook has an event loop in this thread already
            found = pool.submit(asyncio.run, identity(dask)).result()
        with Client(dask, set_as_default=False) as client:
            log(
                f"{dask}: {len(found['workers'])} Dask workers now; status at"
                f" {client.dashboard_link}"
            )
            yield partial(spread, client)
        return
    import torch

    threads = max(1, torch.get_num_threads() // workers)
    # Without Dask's own variables: its MALLOC_TRIM_THRESHOLD_ hands every tensor's memory back at
    # once, a third of a training step on a CPU.
    own = config.set({"distributed.nanny.pre-spawn-environ": {}})
    with (
        own,
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
        log(f"{workers} local workers of {threads} threads each")
        yield partial(spread, client)


async def identity(address: str) -> dict:
    """What the scheduler at ``address`` says of itself. Raises ConfigError when there is none."""
    from distributed import rpc

    try:
        async with rpc(address, timeout=PATIENCE) as server:
            found = await asyncio.wait_for(server.identity(), PATIENCE)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"no Dask scheduler answers ({error or f'silence for {PATIENCE:g} s'})",
            where=address,
            fix=(
                "give the address that dask scheduler prints, like tcp://node1:8786, or leave it"
                " out to use this machine"
            ),
        ) from None
    if found["type"] != "Scheduler":
        raise ConfigError(
            f"this is a Dask {found['type'].lower()}, not the scheduler",
            where=address,
            fix="give the address that dask scheduler prints",
        )
    return found


def one_by_one(
    task: Callable, shared: object, jobs: Sequence[tuple]
) -> Iterator[tuple[int, object]]:
    for i, job in enumerate(jobs):
        yield i, task(shared, *job)


def spread(
    client, task: Callable, shared: object, jobs: Sequence[tuple]
) -> Iterator[tuple[int, object]]:
    """The jobs on the workers of ``client``. ``shared`` is a task as well, so that Dask makes it
    again where a worker took it to its grave.
    """
    import dask
    from distributed import KilledWorker, as_completed

    with dask.config.set(
        {"distributed.admin.large-graph-warning-threshold": "4GiB"}
    ):  # a cohort in memory goes along once: that is meant
        kept = client.submit(same, shared, pure=False)
    index = {client.submit(alone, task, kept, *job, pure=False): i for i, job in enumerate(jobs)}
    for done in as_completed(index, loop=client.loop):
        try:
            yield index[done], done.result()
        except KilledWorker:
            yield (
                index[done],
                TrainingError(
                    "the workers that had this job died, one after the other",
                    where=f"job {index[done] + 1}",
                    fix=(
                        "mostly it is memory: use fewer workers or a smaller patch, then give the"
                        " same command again"
                    ),
                ),
            )
        except CancelledError:
            raise TrainingError(
                "the connection to the Dask cluster was lost",
                fix="give the same command again: what is done is not done again",
            ) from None
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"the Dask workers have no module {error.name}",
                fix="install ssltut where the workers run, in the same version",
            ) from None


def same(shared: object) -> object:
    return shared


def alone(task: Callable, shared: object, *job: object) -> object:
    """A job has its process to itself, as torch's random numbers are one stream a process; a worker
    with more threads waits.
    """
    with _one_at_a_time:
        return task(shared, *job)
