"""C3S3: who wins and who learns, the contrast by hand, and two views that differ."""

import math
from dataclasses import replace
from itertools import product

import pytest
import torch
from torch.nn import functional as F
from toy import make_batch
from toy_step import HALF, STILL

from ssltut.methods.further.c3s3 import iuc_loss, project
from ssltut.methods.losses import dice_loss, supervised_loss
from ssltut.methods.matching.primitives import voxel_vectors
from ssltut.methods.registry import make_method
from ssltut.nets.resnet import ResNet
from ssltut.nets.unet import UNet
from ssltut.training.networks import build_nets


def fit(*pairs):
    return [(torch.tensor(ce), torch.tensor(dice)) for ce, dice in pairs]


def test_the_winner_fits_the_labels_best_by_four_parts_of_cross_entropy_and_one_of_dice():
    method = make_method("c3s3")
    better_ce, better_dice = (
        fit((0.1, 0.9), (0.2, 0.9)),
        fit((0.5, 0.1), (0.4, 0.2)),
    )  # 0.24 + 0.36 against 0.72 + 0.06
    assert method.compete({"student": better_ce, "rival": better_dice}) == ("student", "rival")
    assert method.compete({"student": better_dice, "rival": better_ce}) == ("rival", "student")
    assert make_method("c3s3", {"ce_share": 0.2}).compete(
        {"student": better_ce, "rival": better_dice}
    ) == ("rival", "student")
    assert method.compete({"student": better_ce, "rival": better_ce}) == ("student", "rival")


@pytest.mark.parametrize(("winner", "loser"), [("student", "rival"), ("rival", "student")])
def test_the_loser_learns_and_the_winner_does_not(winner, loser):
    method, batch = make_method("c3s3"), make_batch()
    nets = build_nets(method, STILL, 3)
    with torch.no_grad():
        nets[loser].classifier.weight.mul_(20.0)  # very sure, and so very wrong
    terms = method.losses(batch, nets, HALF)
    name = {"student": "supervised", "rival": "rival supervised"}
    assert terms[name[winner]].value < terms[name[loser]].value
    gradient = torch.autograd.grad(
        terms["competition"].value,
        [nets[role].classifier.bias for role in (winner, loser)],
        allow_unused=True,
    )
    assert gradient[0] is None
    assert gradient[1].abs().sum() > 0


def test_the_terms_of_a_step_in_float64():
    method, batch = make_method("c3s3", {"voxels": 64}), make_batch()
    nets = build_nets(method, STILL, 3)
    terms = method.losses(batch, nets, HALF)
    parts = (("labelled", batch.x_l), ("unlabelled", batch.x_u))
    views = [
        torch.cat([batch.noise(0.02, key, part)(x) for part, x in parts])
        for key in ("student", "second view")
    ]
    assert not torch.equal(*views)
    outs = {role: [nets[role](x) for x in views] for role in ("student", "rival")}
    losses, agreement = {}, 0.0
    for role, (one, two) in outs.items():
        fits = [
            (F.cross_entropy(o.logits[:2].double(), batch.y_l), dice_loss(o.logits[:2], batch.y_l))
            for o in (one, two)
        ]
        losses[role] = sum(0.8 * ce + 0.2 * dice for ce, dice in fits)
        name = "supervised" if role == "student" else "rival supervised"
        assert terms[name].value.item() == pytest.approx(
            sum(ce + dice for ce, dice in fits).item() / 2, rel=1e-4
        )
        a, b = one.logits.double(), two.logits.double()
        agreement += (
            1 - ((a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1)).clamp(min=1e-8)).mean()
        )  # along the classes
    assert terms["agreement"].value.item() == pytest.approx(agreement.item(), rel=1e-3)
    winner, loser = sorted(losses, key=losses.get)
    competition = 0.0
    for mine, target in zip(outs[loser], outs[winner], strict=False):
        p, q = mine.logits[2:].double().softmax(1), target.logits[2:].double().softmax(1)
        competition += (p - q**10 / (q**10).sum(1, keepdim=True)).square().mean()
    assert terms["competition"].value.item() == pytest.approx(competition.item(), rel=1e-4)
    assert terms["competition"].weight == pytest.approx(0.1 * math.exp(-5 * (1 - 0.5 / 2.4) ** 2))
    chosen = torch.randperm(4 * 512, generator=batch.generator("contrast"))[:64]
    sides = [
        [
            (
                project(nets[r].heads["projection"], voxel_vectors(o.feats["embedding"])[chosen]),
                o.logits.argmax(1).flatten()[chosen],
            )
            for o in outs[r]
        ]
        for r in outs
    ]
    expected = (
        sum(iuc_loss(F.cosine_similarity(z, w), a, b, 3, 0.1) for (z, a), (w, b) in product(*sides))
        / 4
    )
    assert terms["contrast"].value.item() == pytest.approx(expected.item(), rel=1e-4)


def test_the_contrast_by_hand():
    s = torch.tensor([0.9, 0.2, -0.3])
    first = torch.tensor([1, 1, 0])
    second = torch.tensor([1, 0, 0])
    e = [
        [math.exp(m * v / 0.5) for m, v in zip(mask, (0.9, 0.2, -0.3), strict=False)]
        for mask in ((1, 0, 0), (0, 1, 1), (0, 0, 1), (1, 1, 0))
    ]
    inside, outside_in, outside, inside_out = e  # I, 1 - I, 1 - U, U
    expected = sum(-math.log(x / (sum(outside_in) + x)) for x in inside) / 3
    expected += sum(-math.log(x / (sum(inside_out) + x)) for x in outside) / 3
    assert iuc_loss(s, first, second, 2, 0.5).item() == pytest.approx(expected, rel=1e-5)
    both = iuc_loss(
        s, first, second, 3, 0.5
    ).item()  # nobody predicts class 2: I is empty, 1 - U is everywhere
    empty = (
        sum(math.log(1 + sum(math.exp(v / 0.5) for v in (0.9, 0.2, -0.3))) for _ in range(3)) / 3
    )
    none = sum(-v / 0.5 + math.log(3 + math.exp(v / 0.5)) for v in (0.9, 0.2, -0.3)) / 3
    assert both == pytest.approx((expected + empty + none) / 2, rel=1e-5)


def test_the_contrast_pulls_together_where_both_agree_and_apart_where_they_do_not():
    s = torch.tensor([0.5, 0.5, 0.5], requires_grad=True)
    iuc_loss(s, torch.tensor([1, 1, 0]), torch.tensor([1, 0, 0]), 2, 0.1).backward()
    agreed, disputed, background = s.grad.tolist()
    assert agreed < disputed
    assert background < disputed
    assert disputed > 0


def test_the_projection_of_vectors_is_that_of_the_map():
    net = build_nets(make_method("c3s3"), STILL, 3)["rival"]
    out = net(make_batch().x_l, heads=True)
    alone = project(net.heads["projection"], voxel_vectors(out.feats["embedding"]))
    assert torch.allclose(alone, voxel_vectors(out.heads["projection"]), atol=1e-4)
    assert out.heads["projection"].shape[1] == 64


def test_labels_alone_are_seen_once():
    method, batch = make_method("c3s3"), replace(make_batch(), x_u=None)
    nets = build_nets(method, STILL, 3)
    terms = method.losses(batch, nets, HALF)
    assert set(terms) == {"supervised", "rival supervised"}
    seen = batch.noise(0.02, "student", "labelled")(batch.x_l)
    assert terms["supervised"].value.item() == pytest.approx(
        supervised_loss(nets["student"](seen).logits, batch.y_l).item(), rel=1e-5
    )


def test_two_different_networks_and_the_mean_of_both_predicts():
    method, batch = make_method("c3s3"), make_batch()
    nets = build_nets(method, STILL, 3)
    assert [type(net) for net in nets.values()] == [UNet, ResNet]
    expected = sum(nets[role](batch.x_l).logits.softmax(1) for role in nets) / 2
    assert torch.allclose(method.predict(nets, batch.x_l), expected)
