"""A Dask cluster of a few workers in this machine; its tests are skipped without Dask."""

import pytest
import torch

distributed = pytest.importorskip("distributed", reason="pip install dask[distributed]")


def small_cluster(n: int) -> "distributed.LocalCluster":
    return distributed.LocalCluster(
        n,
        threads_per_worker=1,
        dashboard_address="127.0.0.1:0",
        memory_limit=0,
        silence_logs="CRITICAL",
        env={"OMP_NUM_THREADS": torch.get_num_threads()},
    )


def quiet(line: str) -> None:
    pass
