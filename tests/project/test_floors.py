"""The shares of lines and branches that tests must run."""

import pytest
from floors import below, shares

TOTALS = {"covered_lines": 95, "num_statements": 100, "covered_branches": 9, "num_branches": 12}


def test_shares_of_lines_and_branches_are_told_apart() -> None:
    assert shares(TOTALS) == {"lines": 95.0, "branches": 75.0}


@pytest.mark.parametrize(
    ("floors", "low"),
    [
        ({"lines": 95, "branches": 75}, []),
        ({"lines": 96, "branches": 75}, ["lines"]),
        ({"lines": 95, "branches": 76}, ["branches"]),
    ],
)
def test_a_share_below_its_floor_is_named(floors: dict[str, float], low: list[str]) -> None:
    assert below(shares(TOTALS), floors) == low
