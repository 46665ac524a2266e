"""C3S3: who wins and who learns, the contrast by hand, and two views that differ."""

import math
from dataclasses import replace
from itertools import product

import pytest
import torch
from golden import in_float64
from teaching import assert_same_teaching, gradients_of, taught
from torch.nn import functional as F
from toy import make_batch
from toy_step import HALF, STILL, rise

from ssltut.methods.contract import Progress
from ssltut.methods.further.c3s3 import iuc_loss, project
from ssltut.methods.losses import supervised_loss
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
def test_what_each_term_teaches_is_its_equation_and_the_winner_learns_nothing_from_it(
    winner, loser
):
    with in_float64():
        method, batch = make_method("c3s3", {"voxels": 64, "sigma_student": 0.1}), make_batch()
        nets = build_nets(method, STILL, 3)
        with torch.no_grad():
            nets[loser].classifier.weight.mul_(20.0)  # very sure, and so very wrong
        terms = method.losses(batch, nets, HALF)
        outs, expected = views_of(nets, batch), {}
        for role, name in (("student", "supervised"), ("rival", "rival supervised")):
            losses = [supervised_loss(out.logits[:2], batch.y_l) for out in outs[role]]
            expected[name] = sum(losses) / 2
        expected["agreement"] = 0.0
        for one, two in outs.values():  # along the classes
            cosine = F.cosine_similarity(one.logits, two.logits, dim=1, eps=1e-2)
            expected["agreement"] = expected["agreement"] + 1 - cosine.mean()
        expected["competition"] = 0.0
        for mine, target in zip(outs[loser], outs[winner], strict=True):
            q = target.logits[2:].detach().softmax(1) ** 10
            gap = mine.logits[2:].softmax(1) - q / q.sum(1, keepdim=True)
            expected["competition"] = expected["competition"] + gap.square().mean()
        expected["contrast"] = contrast(nets, outs, batch, 64)
        assert expected["supervised" if winner == "student" else "rival supervised"] < 5
        assert terms.keys() == expected.keys()
        for name, loss in expected.items():
            assert_same_teaching(terms[name].value, loss, nets)
        assert taught(terms["competition"].value, nets) == {loser}
        assert taught(terms["supervised"].value, nets) == {"student"}
        assert taught(terms["rival supervised"].value, nets) == {"rival"}
        for name in ("agreement", "contrast"):
            assert taught(terms[name].value, nets) == {"student", "rival"}


def views_of(nets, batch):
    """What both networks give for two views of all patches, under noise of 0.1 each."""
    parts = (("labelled", batch.x_l), ("unlabelled", batch.x_u))
    views = [
        torch.cat([batch.noise(0.1, key, part)(x) for part, x in parts])
        for key in ("student", "second view")
    ]
    assert not torch.equal(*views)
    return {role: [nets[role](x) for x in views] for role in ("student", "rival")}


def contrast(nets, outs, batch, n):
    """The sum of L_IUC over the pairs of views at ``n`` drawn voxels; embeddings learn."""
    n_voxels = outs["student"][0].logits[:, 0].numel()
    chosen = torch.randperm(n_voxels, generator=batch.generator("contrast"))[:n]
    sides = []
    for role, views in outs.items():
        head, side = nets[role].heads["projection"], []
        for out in views:
            z = project(head, voxel_vectors(out.feats["embedding"])[chosen])
            side.append((z, out.logits.argmax(1).flatten()[chosen]))
        sides.append(side)
    return sum(
        iuc_loss(F.cosine_similarity(z, w, eps=1e-2), a, b, 3, 0.1)
        for (z, a), (w, b) in product(*sides)
    )


@pytest.mark.parametrize("step", [0, 50, 100])
def test_the_competition_ramps_up_for_longer_than_a_training_and_the_others_do_not(step):
    method, progress = make_method("c3s3"), Progress(step, 100)
    terms = method.losses(make_batch(), build_nets(method, STILL, 3), progress)
    weights = {name: term.weight for name, term in terms.items()}
    assert weights.pop("competition") == pytest.approx(0.1 * rise(step / 240))
    assert weights.pop("contrast") == 0.1
    assert set(weights.values()) == {1.0}


def test_vectors_of_zeros_teach_no_more_than_others():
    """A new network gives some, and the cosine has an endless gradient there."""
    method, batch = make_method("c3s3"), make_batch()
    nets = build_nets(method, STILL, 3)
    terms = method.losses(batch, nets, HALF)
    views = method.forward(batch, nets, HALF)["student"]
    assert (views[0].logits.norm(dim=1) == 0).any()
    for name, most in (("agreement", 2.0), ("contrast", 100.0)):
        assert all(g.norm() < most for g in gradients_of(terms[name].value, nets).values())


def test_both_networks_see_two_views_of_all_patches_in_train_mode():
    method, batch = make_method("c3s3"), make_batch()
    nets = build_nets(method, replace(STILL, dropout=0.5, norm="batch"), 3)
    one, two = (method.forward(batch, nets, HALF) for _ in range(2))
    for role in ("student", "rival"):
        assert [len(view.logits) for view in one[role]] == [4, 4]
        assert not torch.equal(one[role][0].logits, two[role][0].logits)


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
