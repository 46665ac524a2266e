"""URPC: outputs of four resolutions against their mean."""

from dataclasses import replace

import pytest
import torch
from teaching import assert_same_teaching
from torch.nn import functional as F
from toy_step import NOISY, noisy_step, seen_by_student

from ssltut.methods.losses import supervised_loss
from ssltut.methods.registry import make_method


def outputs(nets, batch):
    """Logits of all outputs, at full resolution, for labelled and for unlabelled patches."""
    out = nets["student"](seen_by_student(batch), heads=True)
    return [z.split(2) for z in (out.logits, *out.heads.values())]


@pytest.mark.parametrize(("depth", "n_outputs"), [(2, 2), (4, 4)])
def test_each_output_follows_the_mean_less_where_it_is_far_from_it(depth, n_outputs, float64):
    config = replace(NOISY, depth=depth)
    terms, nets, batch = noisy_step(make_method("urpc"), config, size=16)
    p = [z[1].softmax(1) for z in outputs(nets, batch)]
    assert len(p) == n_outputs  # a shallow network has fewer
    mean = torch.stack(p).mean(0)
    expected = 0.0
    for q in p:
        divergence = (mean * (mean / q).log()).sum(1, keepdim=True)
        trust = torch.exp(-divergence)
        rectified = ((mean - q).square() * trust).mean() / trust.mean()
        expected = expected + (rectified + divergence.mean()) / n_outputs
    assert_same_teaching(terms["consistency"].value, expected, nets)


def test_all_outputs_learn_the_labels(float64):
    config = replace(NOISY, depth=4)
    terms, nets, batch = noisy_step(make_method("urpc"), config, size=16)
    losses = [supervised_loss(z[0], batch.y_l) for z in outputs(nets, batch)]
    assert_same_teaching(terms["supervised"].value, sum(losses) / 4, nets)


def test_coarse_outputs_come_from_their_level_of_the_decoder(float64):
    _, nets, batch = noisy_step(make_method("urpc"), replace(NOISY, depth=4), size=16)
    net = nets["student"].eval()
    maps = net.decode(net.encode(batch.x_u))
    for level in (1, 2, 3):
        coarse = net.heads[f"scale {level}"](maps[level])
        assert coarse.shape[2:] == (16 // 2**level,) * 3
        fine = F.interpolate(coarse, (16, 16, 16), mode="trilinear")
        assert torch.allclose(net(batch.x_u, heads=True).heads[f"scale {level}"], fine)
