"""What all tests share: one cache of scans and runs, pictures instead of widgets, real scans."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ROOT = Path(__file__).resolve().parents[1]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--write-golden",
        action="store_true",
        help="write the terms to tests/methods/golden/ before they are compared",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Share the cores out among the processes of ``-n``, before torch is first imported.

    Workers inherit it, and so does every kernel that a test starts.
    """
    processes = getattr(config.option, "numprocesses", None) or 1
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    # Threads that spin while they wait starve each other on a busy machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # A shell's job in the background ignores Ctrl-C, and what it starts does so too.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def runs_real_notebooks(nodeid: str) -> bool:
    """Whether a test runs real notebooks, which share the runs in the cache."""
    file = Path(nodeid.partition("::")[0])
    return file.parent.name == "notebooks" and file.stem not in ("test_notebook_tool", "test_tour")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Under -n, the real notebooks come first: they take longest."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: not runs_real_notebooks(item.nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Under -n, one file is one worker's, and so are all real notebooks together."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "notebooks" if runs_real_notebooks(nodeid) else nodeid.partition("::")[0]

    config.option.loadscopereorder = False
    return ByFile(config, log)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that SSLTUT_CACHE names in this session, shared by all workers and kernels.

    A new one, unless SSLTUT_TEST_CACHE names a folder: so the browser is tried at class size
    without training again.
    """
    session = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        session = session.parent
    folder = Path(os.environ.get("SSLTUT_TEST_CACHE") or session / "cache")
    folder.mkdir(exist_ok=True)
    os.environ |= {"SSLTUT_CACHE": str(folder), "SSLTUT_FRONTEND": "static", "TQDM_DISABLE": "1"}
    os.environ.pop("MPLBACKEND", None)  # a kernel that inherits agg drops every figure
    return folder


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real scans: SSLTUT_SHARED, else shared/data beside the repository, or skip."""
    folder = Path(os.environ.get("SSLTUT_SHARED") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real scans: {folder} does not exist (set SSLTUT_SHARED to their folder)")
    return folder


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of this clone, built from its sdist."""
    from clean import build_sdist, build_wheel

    folder = tmp_path_factory.mktemp("wheel")
    return build_wheel(build_sdist(folder), folder)


@pytest.fixture(scope="module")
def window() -> Iterator["Browser"]:
    """The browser; skips where there is none."""
    import lab

    with lab.browser_or_skip() as opened:
        yield opened


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Sums in one order on every machine: for values that are compared after many steps."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
