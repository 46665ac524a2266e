"""Looking inside a run: reproducible, and without touching what is looked at."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from toy import SMALL, toy_case, toy_cohort

from ssltut.errors import ConfigError
from ssltut.inspection import correspond, embedding_map, uncertainty_map
from ssltut.methods.registry import make_method
from ssltut.training.loop import train


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    config = replace(SMALL, steps=30, validate_every=30)
    return train(
        make_method("mean_teacher"),
        toy_cohort(),
        config,
        tmp_path_factory.mktemp("runs") / "r",
        log=lambda s: None,
    )


def test_uncertainty_maps_are_reproducible(run):
    case = toy_case(7)
    found, again, other = (uncertainty_map(run, case, passes=3, seed=seed) for seed in (0, 0, 1))
    assert found.probabilities.shape == (
        3,
        16,
        16,
        16,
    )
    assert found.mean_of_entropies.shape == found.entropy_of_mean.shape == (16, 16, 16)
    assert all(np.array_equal(a, b) for a, b in zip(found, again, strict=True))
    assert not np.array_equal(found.entropy_of_mean, other.entropy_of_mean)
    assert found.probabilities.sum(0) == pytest.approx(1.0, abs=1e-4)
    assert (found.mean_of_entropies <= found.entropy_of_mean + 1e-5).all()
    assert found.mean_of_entropies.min() >= -1e-6
    assert found.entropy_of_mean.max() <= np.log(3) + 1e-5


def test_an_uncertainty_map_draws_from_a_stream_of_its_own(run):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    modes = [m.training for m in run.nets["teacher"].modules()]
    uncertainty_map(run, toy_case(7), role="teacher", passes=1)
    assert torch.equal(torch.rand(3), expected)
    assert modes == [m.training for m in run.nets["teacher"].modules()]


def test_a_network_that_is_not_there_is_named(run):
    with pytest.raises(ConfigError, match=r"no network 'critic'.*student, teacher"):
        uncertainty_map(run, toy_case(7), role="critic")
    with pytest.raises(ConfigError, match="no network 'critic'"):
        embedding_map(run, toy_case(7), role="critic")


def test_a_scan_matched_with_itself_finds_the_same_voxels(run):
    case = toy_case(0)
    embedding = embedding_map(run, case)
    assert embedding.shape == (8, 16, 16, 16)
    inside = np.zeros_like(case.label, bool)
    inside[4:12, 4:12, 4:12] = True
    query = np.argwhere(inside & (case.label == 1))[:40]
    found = correspond(
        embedding, query, embedding, case.label, k=3, band=16, references=5000, n_classes=3
    )
    # 5000 of fewer voxels: drawn with replacement, so nearly all are there; the best match of one
    # that is there is itself
    itself = (found.reference[:, 0] == query).all(1)
    assert itself.mean() > 0.8
    assert found.similarity[itself, 0] == pytest.approx(1.0, abs=1e-5)
    assert (found.reference_class[itself, 0] == 1).all()
    assert (np.diff(found.similarity, axis=1) <= 1e-6).all()
    place = tuple(found.reference.reshape(-1, 3).T)
    assert np.array_equal(case.label[place], found.reference_class.ravel())
    assert found.vote.shape == (40, 3)
    assert found.vote.sum(1) == pytest.approx(1.0)
    again = correspond(
        embedding, query, embedding, case.label, k=3, band=16, references=5000, n_classes=3
    )
    assert np.array_equal(again.reference, found.reference)


def test_references_lie_at_the_surface(run):
    case = toy_case(0)
    embedding = embedding_map(run, case)
    found = correspond(
        embedding,
        np.array([[8, 8, 8]]),
        embedding,
        case.label,
        k=50,
        band=1,
        references=40,
        n_classes=3,
    )
    for x, y, z in found.reference[0]:
        box = case.label[max(x - 1, 0) : x + 2, max(y - 1, 0) : y + 2, max(z - 1, 0) : z + 2]
        assert len(np.unique(box)) > 1
