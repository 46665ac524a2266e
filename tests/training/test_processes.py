"""One training on two processes: it learns what one process learns from the same global batch."""

import json
from dataclasses import replace

import pytest
import torch
from toy import make_batch
from two_processes import in_two_processes, per_patch

from ssltut.errors import DataError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="module")
def ends(folder):
    return in_two_processes(folder)


def test_two_processes_learn_what_one_learns_from_the_whole_batch(ends, tmp_path):
    weights, history = per_patch(tmp_path)
    for end in ends:
        theirs, rows = end["per patch"]
        assert rows == [pytest.approx(row, rel=1e-9, abs=1e-12) for row in history]
        for name, value in weights.items():
            torch.testing.assert_close(theirs[name], value, rtol=1e-7, atol=1e-9)


def test_every_method_has_the_same_weights_in_both_processes(ends):
    first, second = (end["methods"] for end in ends)
    for method, weights in first.items():
        assert all(torch.equal(second[method][name], value) for name, value in weights.items())


def test_the_first_process_alone_writes_and_reports_and_both_go_on(ends, folder):
    first, second = ends
    assert first["history"].equals(second["history"])
    assert first["history"]["validation dice"].notna().tolist() == [False, True, False, True]
    assert [line.split(",")[0] for line in first["said"].splitlines() if line] == [
        "UA-MT: step 2/4",
        "UA-MT: step 4/4",
    ]
    identity = json.loads((folder / "run" / "run.json").read_text())
    assert identity["finished"] and identity["processes"] == 2


def test_a_gradient_that_a_process_lacks_counts_as_zero_and_one_of_nobody_stays_none(ends):
    assert [end["gradients"] for end in ends] == [[3.0, 2.0, None]] * 2


def test_shares_are_disjoint_and_draw_for_themselves():
    batch = make_batch()
    shares = [batch.share(n, 2) for n in (0, 1)]
    assert [share.ids_l + share.ids_u for share in shares] == [("a", "c"), ("b", "d")]
    assert torch.equal(torch.cat([share.x_l for share in shares]), batch.x_l)
    assert torch.equal(torch.cat([share.y_l for share in shares]), batch.y_l)
    assert torch.equal(torch.cat([share.x_u for share in shares]), batch.x_u)
    assert [share.locations_l[0].patient for share in shares] == ["a", "b"]
    assert len({batch.seed, *(share.seed for share in shares)}) == 3


def test_patches_that_cannot_be_shared_equally_are_refused():
    with pytest.raises(DataError, match=r"2 labelled and 2 unlabelled .* among 3 processes"):
        make_batch().share(0, 3)
    known = replace(make_batch(), known=torch.tensor([[True, True], [True, False]]))
    assert known.share(1, 2).known.tolist() == [[True, False]]
