"""Weights of the classic methods along training: the published height, reached when published."""

import pytest
from toy_step import rise, step

from ssltut.methods.contract import Progress

# method, term, height of the weight, the fraction of training at which it is reached (0: at once)
RAMPS = [
    ("mean_teacher", "consistency", 0.2, 1.0),
    ("ua_mt", "consistency", 0.2, 1.0),
    ("cps", "consistency", 0.2, 1.0),
    ("fixmatch", "consistency", 1.0, 0.0),
    ("urpc", "consistency", 0.2, 1.0),
    ("dtc", "consistency", 1.0, 1.0),
    ("dtc", "distance", 0.3, 0.0),
    ("mc_net_plus", "consistency", 2 / 3, 0.4),
    ("cct", "consistency", 30 / 21, 0.1),
    ("mtc", "consistency", 0.1, 0.0),
]


@pytest.mark.parametrize(("name", "term", "height", "until"), RAMPS)
@pytest.mark.parametrize("done", [0, 5, 20, 50, 100])
def test_a_weight_rises_as_published(name, term, height, until, done):
    terms = step(name, progress=Progress(done, 100))[0]
    expected = height * (rise(done / 100 / until) if until else 1.0)
    assert terms[term].weight == pytest.approx(expected)
    assert all(t.weight == 1.0 for key, t in terms.items() if key.endswith("supervised"))


def test_an_option_of_another_code_is_its_weight_and_ramp():
    options = {"weight": 0.1, "rampup": 1.0}
    for done in (0, 50, 100):
        term = step("fixmatch", options, progress=Progress(done, 100))[0]["consistency"]
        assert term.weight == pytest.approx(0.1 * rise(done / 100))
