"""Entropies, thresholds and dropout modes."""

import math

import pytest
import torch
from golden import in_float64
from torch import nn

from ssltut.data.views import Noise
from ssltut.errors import ConfigError
from ssltut.methods import uncertainty
from ssltut.methods.losses import entropy
from ssltut.methods.schedules import ramp
from ssltut.methods.uncertainty import (
    class_entropy,
    mc_dropout,
    published_threshold,
    quantile_threshold,
)
from ssltut.nets.base import Out
from ssltut.nets.build import build_net
from ssltut.nets.modes import dropout_on, eval_mode


class Scripted(nn.Module):
    """Returns the given probabilities, one set an item."""

    def __init__(self, passes):
        super().__init__()
        self.passes = iter(passes)

    def forward(self, x):
        p = torch.tensor([next(self.passes) for _ in x])
        return Out(p.log()[..., None, None, None], {}, {})


def binary_entropy(p):
    return -(p * math.log(p) + (1 - p) * math.log(1 - p))


def test_mean_of_entropies_and_entropy_of_mean_by_hand():
    x = torch.zeros(1, 1, 1, 1, 1)
    result = mc_dropout(Scripted([[0.9, 0.1], [0.1, 0.9]]), [x, x])
    assert result.mean.flatten().tolist() == pytest.approx([0.5, 0.5])
    assert result.mean_of_entropies.item() == pytest.approx(binary_entropy(0.9))
    assert result.entropy_of_mean.item() == pytest.approx(math.log(2))


def test_mean_of_entropies_never_exceeds_entropy_of_mean():
    net = build_net("unet", 1, 3, width=4, depth=2, dropout=0.5, norm="instance", seed=0)
    result = mc_dropout(net, [torch.randn(1, 1, 8, 8, 8) for _ in range(4)])
    assert (result.mean_of_entropies <= result.entropy_of_mean + 1e-6).all()
    assert (result.mean_of_entropies < result.entropy_of_mean - 1e-6).any()


def voxel(*p):
    """Probabilities of one voxel, (1, C, 1, 1, 1) float64."""
    return torch.tensor(p, dtype=torch.float64).view(1, -1, 1, 1, 1)


@pytest.mark.parametrize(
    ("p", "two"),
    [
        ((0.1, 0.6, 0.3), (2 / 3, 1 / 3)),
        ((0.6, 0.2, 0.2), (0.75, 0.25)),
        ((0.5, 0.5, 0.0), (0.5, 0.5)),
        ((0.0, 0.0, 1.0), (1.0, 0.0)),
        ((0.1, 0.2, 0.3, 0.4), (4 / 7, 3 / 7)),
        ((0.25, 0.25, 0.25, 0.25), (0.5, 0.5)),
    ],
)
def test_entropy_of_the_two_most_probable_of_three_and_four_classes_by_hand(p, two):
    expected = -sum(q * math.log(q) for q in two if q)
    assert class_entropy(voxel(*p), "two").item() == pytest.approx(expected, abs=1e-14)
    of_all = -sum(q * math.log(q) for q in p if q)
    assert class_entropy(voxel(*p), "all").item() == pytest.approx(of_all, abs=1e-14)


def test_of_two_classes_both_entropies_are_the_same_to_the_last_bit():
    p = torch.randn(2, 2, 4, 4, 4, generator=torch.Generator().manual_seed(0)).softmax(1)
    assert torch.equal(class_entropy(p, "two"), class_entropy(p, "all"))
    assert published_threshold(0.3, 2, "two") == published_threshold(0.3, 2, "all")


@pytest.mark.parametrize("n_classes", [3, 4, 5])
def test_the_two_most_probable_are_those_of_topk(n_classes):
    p = torch.randn(2, n_classes, 4, 5, 6, generator=torch.Generator().manual_seed(0)).softmax(1)
    top = p.topk(2, dim=1).values
    assert torch.equal(class_entropy(p, "two"), entropy(top / top.sum(1, keepdim=True)))


def test_a_voxel_on_the_border_of_two_classes_is_out_of_reach_of_ln_3_from_the_start():
    border = voxel(0.5, 0.5, 0.0)
    for classes in ("two", "all"):
        assert class_entropy(border, classes).item() == pytest.approx(0.693, abs=5e-4)  # ln 2
    assert published_threshold(0.0, 3, "all") == pytest.approx(0.826, abs=5e-4)
    assert published_threshold(1.0, 3, "all") == pytest.approx(1.099, abs=5e-4)  # ln 3
    for t in (0.0, 0.25, 0.5, 0.75, 0.99):
        assert class_entropy(border, "two").item() >= published_threshold(t, 3, "two")
        assert class_entropy(border, "all").item() < published_threshold(t, 3, "all")


def test_mc_dropout_takes_the_two_most_probable_of_each_pass_and_of_the_mean():
    x, passes = torch.zeros(1, 1, 1, 1, 1), [[0.6, 0.2, 0.2], [0.1, 0.6, 0.3]]
    result = mc_dropout(Scripted(passes), [x, x], "two")
    assert result.mean.flatten().tolist() == pytest.approx([0.35, 0.4, 0.25])
    of_each = (binary_entropy(0.75) + binary_entropy(2 / 3)) / 2
    assert result.mean_of_entropies.item() == pytest.approx(of_each)
    assert result.entropy_of_mean.item() == pytest.approx(binary_entropy(0.4 / 0.75))


@pytest.mark.parametrize("classes", ["two", "all"])
def test_no_gradient_flows_through_the_passes(classes):
    net = build_net("unet", 1, 3, width=4, depth=2, dropout=0.5, norm="instance", seed=0)
    result = mc_dropout(net, [torch.randn(1, 1, 8, 8, 8, requires_grad=True)], classes)
    assert not any(part.requires_grad for part in result)


@pytest.mark.parametrize("at_once", [1, 2, 5, 9])
@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_passes_in_one_call_give_what_single_ones_give(norm, at_once, monkeypatch):
    with in_float64():
        net = build_net("unet", 1, 3, width=4, depth=2, dropout=0.0, norm=norm, seed=0)
        views = [Noise(0.5, m)(torch.zeros(2, 1, 8, 8, 8)) for m in range(5)]
        with torch.no_grad(), eval_mode(net):
            passes = torch.stack([net(view).logits.softmax(1) for view in views])
        monkeypatch.setattr(uncertainty, "MAX_VOXELS", at_once * views[0].numel())
        found = mc_dropout(net, views, "two")
    expected = torch.stack([class_entropy(p, "two") for p in passes]).mean(0)
    torch.testing.assert_close(found.mean, passes.mean(0))
    torch.testing.assert_close(found.mean_of_entropies, expected)
    torch.testing.assert_close(found.entropy_of_mean, class_entropy(passes.mean(0), "two"))


@pytest.mark.parametrize(
    ("most", "calls"), [(10**6, [10]), (4 * 512, [4, 4, 2]), (5 * 512, [4, 4, 2]), (1, [2] * 5)]
)
def test_a_call_holds_as_many_whole_passes_as_the_bound_allows(most, calls, monkeypatch):
    monkeypatch.setattr(uncertainty, "MAX_VOXELS", most)
    net = build_net("unet", 1, 2, width=2, depth=2, dropout=0.5, norm="batch", seed=0)
    seen = []
    net.register_forward_pre_hook(lambda net, inputs: seen.append(len(inputs[0])))
    mc_dropout(net, (torch.zeros(2, 1, 8, 8, 8) for _ in range(5)))
    assert seen == calls


def test_passes_of_one_call_draw_dropout_of_their_own():
    net = build_net("unet", 1, 2, width=2, depth=2, dropout=0.5, norm="batch", seed=0)
    found = mc_dropout(net, [torch.ones(1, 1, 8, 8, 8)] * 4)
    assert (found.mean_of_entropies < found.entropy_of_mean - 1e-6).any()


def test_no_pass_is_refused():
    with pytest.raises(ConfigError, match="at least one pass"):
        mc_dropout(Scripted([]), [])


def test_dropout_on_leaves_batch_statistics_alone_and_restores_modes():
    net = build_net("unet", 1, 2, width=4, depth=2, dropout=0.5, norm="batch", seed=0)
    net.train()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    with dropout_on(net), torch.no_grad():
        a, b = net(torch.ones(1, 1, 8, 8, 8)).logits, net(torch.ones(1, 1, 8, 8, 8)).logits
    assert not torch.equal(a, b)
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())
    assert all(m.training for m in net.modules())


def test_published_threshold_and_ramp_values():
    # methods of the paper: 0.521 nats at the start, ln 2 at the end, for two classes
    assert ramp(0.0) == pytest.approx(math.exp(-5))
    assert ramp(1.0) == 1.0
    assert ramp(7.0) == 1.0
    assert ramp(-1.0) == ramp(0.0)
    assert published_threshold(0.0, 2) == pytest.approx(0.521, abs=5e-4)
    assert published_threshold(1.0, 2) == pytest.approx(math.log(2))
    assert published_threshold(1.0, 3) == pytest.approx(math.log(3))


def test_quantile_threshold_leaves_the_wanted_share():
    values = torch.randperm(1000).float().view(10, 10, 10)
    limit = quantile_threshold(values, 0.05)
    assert (values >= limit).sum().item() == pytest.approx(50, abs=1)


def test_quantile_threshold_of_more_than_two_to_the_24_voxels():
    values = torch.zeros(2**24 + 1)
    values[-1] = 1.0
    assert quantile_threshold(values, 0.5) == 0.0


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 2.0])
def test_quantile_threshold_refuses_a_share_outside_its_range(share):
    with pytest.raises(ConfigError, match="share"):
        quantile_threshold(torch.ones(3), share)
