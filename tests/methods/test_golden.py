"""The terms of every method are those of record: golden/, made with ``--write-golden``."""

import pytest
import torch
from golden import golden, steps_of, write

from ssltut.methods.registry import METHODS, make_method

FORMS = {name: make_method(name) for name in METHODS}
FORMS["vote_beside, MEDL"] = make_method("vote_beside", {"host": "medl"})


@pytest.fixture(params=[1, 2], ids=["one thread", "two threads"])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", FORMS)
def test_three_steps_in_float64_are_those_of_record(name, threads, request):
    found = steps_of(FORMS[name])
    if request.config.getoption("--write-golden"):
        write(name, found)
    expected = golden(name)
    for step, (mine, theirs) in enumerate(zip(found, expected, strict=True)):
        assert set(mine) == set(theirs), f"the terms of step {step}"
        for term, values in theirs.items():
            assert mine[term] == pytest.approx(values, rel=1e-6, abs=1e-12), f"step {step}: {term}"
