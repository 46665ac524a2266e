"""One run that the tests of training look at and do not change."""

import pytest
from toy_run import run_of

from ssltut.training.run import Run


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of labels only."""
    return run_of("labels_only", tmp_path_factory.mktemp("runs") / "plain")
