"""What tests of methods share."""

from collections.abc import Iterator

import pytest
from golden import in_float64


@pytest.fixture
def float64() -> Iterator[None]:
    """All that a test computes is float64, so that it is equal to a reference to many digits."""
    with in_float64():
        yield
