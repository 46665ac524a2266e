"""What a notebook is given: a wrong name or kind is an error with the next step."""

from typing import Any

import pytest

from ssltut.errors import ConfigError
from ssltut.options import check_parameters

KINDS = {"profile": str, "seed": int, "out": str, "bone": bool, "price": float}
GOOD = {"profile": "class", "seed": 0, "out": "", "bone": False, "price": 2.0}


def given(cell: str = "", **changes: Any) -> dict[str, Any]:
    """The globals of a notebook after the cell that papermill adds."""
    values: dict[str, Any] = {}
    exec(cell, {}, values)
    return GOOD | values | changes | {"In": ["", "x = 1", cell]}


@pytest.mark.parametrize(
    "cell",
    [
        "",
        "# Parameters\nprofile = 'smoke'\nseed = 3\nout = 'a = b'\n",
        "# Parameters\nbone = True\nprice = 3\n",  # a whole number is a number
        "another = 1\n",  # a learner's own name
    ],
)
def test_what_fits_is_taken_in_silence(cell: str) -> None:
    check_parameters(given(cell), **KINDS)


@pytest.mark.parametrize(
    ("cell", "found"),
    [
        ("# Parameters\nprofil = 'smoke'\n", "no parameter 'profil' Next: did you mean profile"),
        ("# Parameters\nx = 1\n", "no parameter 'x' Next: use one of profile, seed, out, bone"),
        ("# Parameters\nseed = '3'\n", "seed is '3' Next: give a whole number"),
        ("# Parameters\nseed = 1.5\n", "seed is 1.5 Next: give a whole number"),
        ("# Parameters\nseed = True\n", "seed is True Next: give a whole number"),
        ("# Parameters\nout = 5\n", "out is 5 Next: give text"),
        ("# Parameters\nbone = 'true'\n", "bone is 'true' Next: give one of True, False"),
        ("# Parameters\nprice = 'much'\n", "price is 'much' Next: give a number"),
        ("# Parameters\nprofile = 'smok'\n", "'smok' Next: give one of smoke, class, full"),
        ("seed = None\n", "seed is None Next: give a whole number"),  # by hand
    ],
)
def test_what_does_not_fit_is_named_with_the_next_step(cell: str, found: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_parameters(given(cell), **KINDS)
    assert found in str(caught.value)


def test_names_outside_a_notebook_are_enough() -> None:
    check_parameters(dict(GOOD), **KINDS)
