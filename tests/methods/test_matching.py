"""Reference voxels, kernels and neighbours against slow, plain versions of the formulas."""

from math import cos, pi

import numpy as np
import pytest
import torch

from ssltut.data.batch import PatchLocation
from ssltut.errors import ConfigError
from ssltut.methods.matching import primitives
from ssltut.methods.matching.primitives import (
    KERNELS,
    draw_references,
    nearest,
    neighbour_vote,
    place_vectors,
    similarity,
    surface_shell,
    voxel_vectors,
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def cube_label():
    y = torch.zeros(1, 9, 9, 9, dtype=torch.long)
    y[0, 3:6, 3:6, 3:6] = 1
    return y


def test_surface_shell_of_a_cube_by_count():
    shell = surface_shell(cube_label(), 1)
    inside = shell & (cube_label() == 1)
    outside = shell & (cube_label() == 0)
    assert inside.sum() == 27 - 1  # all but the centre touch the background
    assert outside.sum() == 5**3 - 3**3
    assert (
        surface_shell(cube_label(), 2).sum() == 7**3
    )  # everything within two voxels, the centre too


def test_surface_shell_ignores_the_border_of_the_patch():
    assert not surface_shell(torch.ones(1, 5, 5, 5, dtype=torch.long), 2).any()


def test_surface_shell_refuses_no_band():
    with pytest.raises(ConfigError, match="band"):
        surface_shell(cube_label(), 0)


def test_references_lie_in_the_region_and_carry_their_class():
    y = cube_label()
    y[0, 6:8, 3:6, 3:6] = 2
    shell = surface_shell(y, 1)
    references = draw_references(y, shell, 4, k=5, redraws=3, generator=generator())
    assert references.present.tolist() == [True, True, True, False]
    for c in range(3):
        flat = references.voxels[c].flatten()
        assert (y.flatten()[flat] == c).all()
        assert shell.flatten()[flat].all()
        assert len(flat.unique()) == 15  # enough candidates: none twice


def test_references_are_drawn_with_replacement_when_there_are_few():
    y = torch.zeros(1, 4, 4, 4, dtype=torch.long)
    y[0, 0, 0, 0] = 1
    references = draw_references(
        y, torch.ones_like(y, dtype=torch.bool), 2, k=4, redraws=2, generator=generator()
    )
    assert references.voxels[1].unique().tolist() == [0]


def slow_similarity(references, query, kernel):
    references, query = references.double().numpy(), query.double().numpy()
    out = np.zeros((len(references), len(query)))
    for c, draws in enumerate(references):
        for n, q in enumerate(query):
            per_draw = []
            for draw in draws:
                if kernel.endswith("cosine"):
                    values = [p @ q / (np.linalg.norm(p) * np.linalg.norm(q)) for p in draw]
                else:
                    values = [1 / (1 + np.sum((p - q) ** 2)) for p in draw]
                per_draw.append(np.mean(values) if kernel.startswith("mean") else np.max(values))
            out[c, n] = np.mean(per_draw)
    return out


@pytest.mark.parametrize("kernel", KERNELS)
def test_kernels_against_the_formula(kernel):
    references = torch.randn(3, 2, 4, 6, generator=generator())
    query = torch.randn(5, 6, generator=generator(1))
    fast = similarity(references, query, kernel)
    assert np.allclose(fast.numpy(), slow_similarity(references, query, kernel), atol=1e-5)


def test_mean_cosine_is_one_prototype_a_class():
    references = torch.randn(2, 5, 16, 8, generator=generator())
    query = torch.randn(50, 8, generator=generator(1))
    k = similarity(references, query, "mean_cosine")
    unit = references / references.norm(dim=-1, keepdim=True)
    prototypes = unit.mean((1, 2))
    rule = (query / query.norm(dim=-1, keepdim=True)) @ (prototypes[1] - prototypes[0]) > 0
    assert torch.equal(rule, k.argmax(0) == 1)


def test_an_unknown_kernel_is_refused():
    with pytest.raises(ConfigError, match="mean_cosine"):
        similarity(torch.ones(2, 1, 1, 3), torch.ones(1, 3), "cosine")


@pytest.mark.parametrize("n_references", [40, 700, 2003])
def test_nearest_is_exact_however_few_queries_are_worked_on_at_a_time(monkeypatch, n_references):
    query = torch.randn(300, 8, generator=generator())
    bank = torch.randn(n_references, 8, generator=generator(1))
    full = torch.nn.functional.cosine_similarity(
        query[:, None].double(), bank[None].double(), dim=-1
    )
    expected = full.topk(5, dim=1)
    for limit in (20 * n_references, 2**20):
        monkeypatch.setitem(primitives.AT_ONCE, "cpu", limit)
        value, index = nearest(query, bank, 5)
        # Two neighbours that differ in the last digit of float32 may change places.
        assert torch.allclose(full.gather(1, index), expected.values, rtol=0, atol=1e-6)
        assert torch.allclose(value.double(), expected.values, rtol=0, atol=1e-6)


@pytest.mark.parametrize("levels", [4, 2**20], ids=["many are equal", "few are equal"])
@pytest.mark.parametrize("n_references", [40, 700, 2003])
def test_the_largest_are_those_of_topk_in_its_order(n_references, levels):
    numbers = torch.randint(levels, (200, n_references), generator=generator()).float()
    value, index = primitives.largest(numbers, 9)
    expected = numbers.topk(9)
    assert torch.equal(value, expected.values)
    assert torch.equal(index, expected.indices)


def test_nearest_of_no_query_is_empty_and_of_too_few_references_refused():
    assert nearest(torch.zeros(0, 3), torch.ones(4, 3), 2)[1].shape == (0, 2)
    with pytest.raises(ConfigError, match="4 references"):
        nearest(torch.ones(1, 3), torch.ones(4, 3), 5)


def test_neighbour_vote_by_hand():
    bank = torch.tensor([[1.0, 0.0], [0.99, 0.1], [0.95, 0.3], [0.0, 1.0]])
    votes = neighbour_vote(torch.tensor([[1.0, 0.0]]), bank, torch.tensor([0, 2, 2, 1]), 3, k=3)
    assert votes.tolist() == [pytest.approx([1 / 3, 0.0, 2 / 3])]


def test_voxel_vectors_follow_the_order_of_a_flattened_label():
    features = torch.arange(2 * 3 * 2 * 2 * 2).float().view(2, 3, 2, 2, 2)
    vectors = voxel_vectors(features)
    assert torch.equal(vectors[1 * 8 + 1 * 4 + 0 * 2 + 1], features[1, :, 1, 0, 1])


def test_the_product_of_two_places_falls_with_their_distance_in_the_scan():
    # A quarter of the scan in 2 x 2 x 1 voxels from its corner, and the whole scan as one voxel:
    # voxels lie at 1/16 or 3/16, and at 1/2.
    corner, whole = (
        PatchLocation("a", "left", (c, c, c), (2 * c, 2 * c, 2 * c)) for c in (0.125, 0.5)
    )
    vectors, middle = place_vectors([corner], (2, 2, 1)), place_vectors([whole], (1, 1, 1))
    assert vectors.shape == (4, 6)
    assert torch.allclose(vectors.norm(dim=1), torch.ones(4))
    at = [
        (x, y, 0.125) for x in (1 / 16, 3 / 16) for y in (1 / 16, 3 / 16)
    ]  # as a flattened label runs
    assert (vectors @ middle[0]).tolist() == pytest.approx(
        [sum(cos(pi * (0.5 - c)) for c in p) / 3 for p in at]
    )
    assert (vectors @ vectors[0]).tolist() == pytest.approx(
        [sum(cos(pi * (c - d)) for c, d in zip(p, at[0], strict=False)) / 3 for p in at]
    )


def test_left_and_right_are_counted_from_the_outside_of_the_body():
    left = PatchLocation("a", "left", (0.25, 0.5, 0.5), (0.5, 1.0, 1.0))
    right = PatchLocation("b", "right", (0.75, 0.5, 0.5), (0.5, 1.0, 1.0))
    vectors = place_vectors([left, right], (4, 2, 2)).view(2, 4, 2, 2, 6)
    assert torch.allclose(vectors[0], vectors[1].flip(0))
    assert not torch.allclose(vectors[0], vectors[1])
