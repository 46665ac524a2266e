"""How many examples hypothesis draws: few in the suite, SSLTUT_EXAMPLES in ``make campaign``."""

import os

from hypothesis import settings
from hypothesis import strategies as st

EXAMPLES = int(os.environ.get("SSLTUT_EXAMPLES", "8"))
several = settings(max_examples=EXAMPLES, deadline=None, derandomize=True, database=None)
SEEDS = st.integers(0, 2**32 - 1)
MM = st.floats(0.3, 5.0)
SPACINGS = st.tuples(MM, MM, MM)


def sides(low: int, high: int) -> st.SearchStrategy[tuple[int, int, int]]:
    """The shape of a volume."""
    return st.tuples(*[st.integers(low, high)] * 3)
