"""What all tests share: one cache for what training makes, pictures instead of widgets, and the way
to real scans.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
os.environ.setdefault(
    "OMP_NUM_THREADS", str(os.cpu_count())
)  # before torch is first imported: afterwards it is not read
os.environ.setdefault(
    "OMP_WAIT_POLICY", "PASSIVE"
)  # threads that spin while they wait starve each other on a busy machine


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--write-golden",
        action="store_true",
        help="write the terms of the methods tested to tests/golden.json before they are compared",
    )


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder SSLTUT_CACHE names in this session, shared by all tests and by the kernels of the
    notebooks.

    A new one, unless SSLTUT_TEST_CACHE names a folder: so the browser is tried at class size
    without training again.
    """
    folder = Path(os.environ.get("SSLTUT_TEST_CACHE") or tmp_path_factory.mktemp("cache"))
    os.environ |= {"SSLTUT_CACHE": str(folder), "SSLTUT_FRONTEND": "static"}
    os.environ.pop("MPLBACKEND", None)  # a kernel that inherits agg drops every figure
    return folder


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real scans: SSLTUT_SHARED, else shared/data beside the repository. Tests that
    need it skip where it is absent.
    """
    folder = Path(os.environ.get("SSLTUT_SHARED") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real scans: {folder} does not exist (set SSLTUT_SHARED to their folder)")
    return folder


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Sums in one order, whatever the cores of the machine: for values that are compared after many
    steps.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
