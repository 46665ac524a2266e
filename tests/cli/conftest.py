"""A cohort and a run, as the command line makes them."""

import json

import pytest
from toy import toy_cohort
from toy_cli import METHOD, QUICK, ssltut

from ssltut.io.cohort_folder import write_cohort


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A cohort and a run trained on it by the command line."""
    folder = tmp_path_factory.mktemp("cli")
    write_cohort(toy_cohort(), folder / "cohort")
    code, out, err = ssltut(
        "train", folder / "cohort", *METHOD, "--out", folder / "run", "--json", *QUICK
    )
    assert code == 0, err
    return folder, json.loads(out), err
