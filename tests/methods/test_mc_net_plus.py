"""MC-Net+: three decoders that follow each other's sharpened answers."""

from itertools import permutations

import pytest
import torch
from teaching import assert_same_teaching, gradients_of
from toy_step import STILL, noisy_step, seen_by_student

from ssltut.methods.losses import sharpen, supervised_loss
from ssltut.methods.registry import make_method
from ssltut.training.networks import build_nets


def outputs(nets, batch):
    """Logits of the three decoders for all patches."""
    out = nets["student"](seen_by_student(batch), heads=True)
    return [out.logits, *out.heads.values()]


@pytest.mark.parametrize("options", [{}, {"detach": True}, {"temperature": 0.5}])
def test_decoders_follow_the_sharpened_others(options, float64):
    terms, nets, batch = noisy_step(make_method("mc_net_plus", options))
    p = [z.softmax(1) for z in outputs(nets, batch)]
    powers = [q ** (1 / options.get("temperature", 0.1)) for q in p]
    sharp = [q / q.sum(1, keepdim=True) for q in powers]
    if options.get("detach"):
        sharp = [q.detach() for q in sharp]
    pairs = list(permutations(range(3), 2))
    assert len(pairs) == 6
    expected = sum((p[i] - sharp[j]).square().mean() for i, j in pairs)
    assert_same_teaching(terms["consistency"].value, expected, nets)


def test_all_decoders_learn_the_labels(float64):
    terms, nets, batch = noisy_step(make_method("mc_net_plus"))
    losses = [supervised_loss(z[:2], batch.y_l) for z in outputs(nets, batch)]
    assert_same_teaching(terms["supervised"].value, sum(losses) / 3, nets)
    moved = gradients_of(terms["supervised"].value, nets)
    assert {f"student.heads.{name}.classifier.weight" for name in ("nearest", "trilinear")} < set(
        moved
    )


def test_sharpening_by_hand():
    assert sharpen(torch.tensor([[0.6, 0.4]]).log(), 0.5)[0].tolist() == pytest.approx(
        [0.36 / 0.52, 0.16 / 0.52]
    )
    assert sharpen(torch.tensor([[500.0, -500.0]]), 0.1).tolist() == [[1.0, 0.0]]


def test_the_three_decoders_upsample_in_three_ways_and_share_one_encoder():
    net = build_nets(make_method("mc_net_plus"), STILL, 2)["student"]
    kinds = [type(net.up[0]), *(head.up[0][0].mode for head in net.heads.values())]
    assert kinds == [torch.nn.ConvTranspose3d, "trilinear", "nearest"]
    assert not any("down" in name for name, _ in net.heads.named_parameters())
