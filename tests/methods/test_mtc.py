"""MTC: the scan redrawn class by class by a second decoder."""

import pytest
import torch
from teaching import assert_same_teaching, gradients_of
from toy_step import noisy_step, seen_by_student

from ssltut.methods.registry import make_method


@pytest.mark.parametrize("n_classes", [2, 3])
def test_every_class_is_redrawn_where_the_first_decoder_sees_it(n_classes, float64):
    terms, nets, batch = noisy_step(make_method("mtc"), n_classes=n_classes)
    out = nets["student"](seen_by_student(batch), heads=True)
    p = out.logits.detach().softmax(1)
    x = torch.cat([batch.x_l, batch.x_u])[:, 0]  # without noise
    redrawn = out.heads["reconstruction"]
    expected = 0.0
    for c in range(n_classes):
        squared = (redrawn[:, c] - x * p[:, c]).square()
        expected = expected + p[:, c].mean() * squared.mean()
    assert_same_teaching(terms["consistency"].value, expected, nets)
    parts = {name.split(".")[1] for name in gradients_of(terms["consistency"].value, nets)}
    assert parts == {"down", "heads"}  # not the decoder that gave the mask


def test_the_second_decoder_sees_the_bottleneck_alone(float64):
    _, nets, batch = noisy_step(make_method("mtc"))
    net = nets["student"]
    maps = [f.detach().requires_grad_() for f in net.encode(batch.x_u)]
    net.heads["reconstruction"].decode(maps)[0].square().mean().backward()
    assert [f.grad is not None for f in maps] == [False, True]
