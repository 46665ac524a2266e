"""Loss terms against values worked out by hand."""

import math

import pytest
import torch

from ssltut.errors import ConfigError
from ssltut.methods.losses import (
    dice_loss,
    entropy,
    masked_cross_entropy,
    masked_mean,
    soft_dice_loss,
    supervised_loss,
)


def logits_of(p):
    """Logits whose softmax over dim 1 is ``p``."""
    return torch.log(torch.as_tensor(p, dtype=torch.float64))


@pytest.fixture
def two_voxels():
    """One patch of two voxels, two classes: p(1) = 0.8 and 0.3; truth 1 and 0."""
    p = torch.tensor([[0.2, 0.7], [0.8, 0.3]]).view(1, 2, 2, 1, 1)
    return logits_of(p), torch.tensor([1, 0]).view(1, 2, 1, 1)


def test_supervised_loss_by_hand(two_voxels):
    logits, y = two_voxels
    cross_entropy = -(math.log(0.8) + math.log(0.7)) / 2
    dice = 1 - (2 * 0.8 + 1e-5) / (1.1 + 1 + 1e-5)
    assert supervised_loss(logits, y).item() == pytest.approx(cross_entropy + dice, rel=1e-5)


def test_dice_loss_is_zero_for_the_truth_and_one_for_the_opposite():
    y = torch.zeros(1, 4, 4, 4, dtype=torch.long)
    y[:, :2] = 1
    sure = torch.nn.functional.one_hot(y, 2).movedim(-1, 1) * 200.0
    assert dice_loss(sure, y).item() == pytest.approx(0.0, abs=1e-5)
    assert dice_loss(-sure, y).item() == pytest.approx(1.0, abs=1e-5)


def test_masked_cross_entropy_is_the_binary_cross_entropy_of_the_paper(two_voxels):
    logits, _ = two_voxels
    target = torch.tensor([1, 1]).view(1, 2, 1, 1)
    first = torch.tensor([True, False]).view(1, 2, 1, 1)
    assert masked_cross_entropy(logits, target, first).item() == pytest.approx(
        -math.log(0.8), rel=1e-5
    )
    assert masked_cross_entropy(logits, target, first, "all").item() == pytest.approx(
        -math.log(0.8) / 2, rel=1e-5
    )
    assert masked_cross_entropy(logits, target, ~first).item() == pytest.approx(
        -math.log(0.3), rel=1e-5
    )


def test_masked_mean_of_nothing_is_zero_with_zero_gradient():
    values = torch.ones(3, requires_grad=True)
    result = masked_mean(values, torch.zeros(3, dtype=torch.bool))
    result.backward()
    assert result.item() == 0.0
    assert values.grad.tolist() == [0.0, 0.0, 0.0]


def test_masked_mean_refuses_an_unknown_normalisation():
    with pytest.raises(ConfigError, match="sum"):
        masked_mean(torch.ones(3), torch.ones(3, dtype=torch.bool), "sum")


def test_entropy_of_known_distributions():
    p = torch.tensor(
        [[0.25] * 4, [1.0, 0.0, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0]],
        dtype=torch.float64,
        requires_grad=True,
    )
    h = entropy(p)
    assert h.tolist() == pytest.approx([math.log(4), 0.0, math.log(2)])
    h.sum().backward()
    assert torch.isfinite(p.grad).all()


def test_equal_soft_maps_have_no_squared_dice_loss_and_disjoint_ones_have_all():
    p = torch.tensor([0.5, 0.2]).view(1, 1, 2, 1, 1)
    assert soft_dice_loss(p, p, squared=True).item() == pytest.approx(0.0, abs=1e-6)
    first, second = torch.eye(2).view(2, 1, 1, 2, 1, 1)
    assert soft_dice_loss(first, second, squared=True).item() == pytest.approx(1.0, abs=1e-4)
    assert soft_dice_loss(p, 2 * p, squared=True).item() == pytest.approx(1 - 4 / 5, abs=1e-4)
