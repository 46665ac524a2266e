"""Baselines with further outputs (URPC, DTC, MC-Net+, CCT, MTC) by their equations."""

import math
from dataclasses import replace
from itertools import permutations

import pytest
import torch
from torch.nn import functional as F
from toy import SMALL, make_batch, toy_cohort
from toy_step import HALF, STILL, everything, rise, step

from ssltut.methods.classic import cct
from ssltut.methods.classic.dtc import signed_distance
from ssltut.methods.contract import Progress
from ssltut.methods.losses import sharpen, supervised_loss
from ssltut.methods.registry import make_method
from ssltut.nets.build import build_net
from ssltut.nets.heads import Head
from ssltut.seeding import generator_for
from ssltut.training.loop import train
from ssltut.training.networks import build_nets, start_from


def test_urpc_rectifies_by_the_divergence_from_the_mean():
    config = replace(STILL, depth=4, patch=(16, 16, 16))
    method, batch = make_method("urpc", {"sigma_student": 0.0}), make_batch(3, size=16)
    nets = build_nets(method, config, 3)
    term = method.losses(batch, nets, HALF)["consistency"]
    logits, heads = everything(nets["student"], batch)
    p = [z[2:].softmax(1) for z in (logits, *heads.values())]
    assert len(p) == 4
    mean, expected = sum(p) / 4, 0.0
    for q in p:
        d = (mean * (mean / q).log()).sum(1, keepdim=True)
        expected += (((mean - q) ** 2 * (-d).exp()).mean() / (-d).exp().mean() + d.mean()) / 4
    assert term.value.item() == pytest.approx(expected.item(), rel=1e-4)
    assert term.weight == pytest.approx(0.1 * rise(0.5))


def test_urpc_learns_labels_at_every_scale_and_a_shallow_network_has_fewer():
    terms, nets, batch = step("urpc")
    logits, heads = everything(nets["student"], batch)
    assert list(heads) == ["scale 1"]  # two levels
    expected = (
        supervised_loss(logits[:2], batch.y_l) + supervised_loss(heads["scale 1"][:2], batch.y_l)
    ) / 2
    assert terms["supervised"].value.item() == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_dtc_turns_distance_into_a_mask_in_closed_form(n_classes):
    terms, nets, batch = step("dtc", {"k": 5.0}, n_classes=n_classes)
    logits, heads = everything(nets["student"], batch)
    d = heads["sdf"].tanh()
    assert d.shape[1] == n_classes - 1
    expected = (1 / (1 + (5.0 * d).exp()) - logits.softmax(1)[:, 1:]).square().mean()
    assert terms["consistency"].value.item() == pytest.approx(expected.item(), rel=1e-4)
    assert terms["consistency"].weight == pytest.approx(rise(0.5))
    assert terms["distance"].weight == 0.3
    truth = signed_distance(batch.y_l, n_classes).double()
    assert terms["distance"].value.item() == pytest.approx(
        (d[:2] - truth).square().mean().item(), rel=1e-4
    )
    assert torch.equal(
        torch.sigmoid(-1500.0 * truth).round().bool(),
        F.one_hot(batch.y_l, n_classes).movedim(-1, 1)[:, 1:].bool(),
    )


def test_signed_distance_of_a_cube_by_hand():
    label = torch.zeros(3, 7, 7, 7, dtype=torch.long)
    label[0, 2:5, 2:5, 2:5], label[1] = 1, 1
    found = signed_distance(label, 2)[:, 0]
    far = math.sqrt(12) - 0.5  # the corner of the patch lies (2, 2, 2) from the cube
    assert found[0, 3, 3, :].tolist() == pytest.approx(
        [1.5 / far, 0.5 / far, -0.5 / 1.5, -1.0, -0.5 / 1.5, 0.5 / far, 1.5 / far], rel=1e-5
    )
    assert found[0, 0, 0, 0] == 1.0
    assert (found[1] == -1.0).all()
    assert (found[2] == 1.0).all()


@pytest.mark.parametrize("detach", [False, True])
def test_mc_net_plus_follows_the_sharpened_others(detach):
    terms, nets, batch = step("mc_net_plus", {"detach": detach})
    logits, heads = everything(nets["student"], batch)
    p = [z.softmax(1) for z in (logits, *heads.values())]
    sharp = [q**10 / (q**10).sum(1, keepdim=True) for q in p]
    expected = sum((p[i] - sharp[j]).square().mean() for i, j in permutations(range(3), 2))
    assert terms["consistency"].value.item() == pytest.approx(expected.item(), rel=1e-4)
    assert terms["consistency"].weight == pytest.approx(1.0)
    assert step("mc_net_plus", progress=Progress(20, 100))[0]["consistency"].weight == (
        pytest.approx(rise(0.5))
    )
    mean = sum(supervised_loss(z[:2], batch.y_l) for z in (logits, *heads.values())) / 3
    assert terms["supervised"].value.item() == pytest.approx(mean.item(), rel=1e-4)
    fixed = [s.detach() if detach else s for s in sharp]
    value = sum((p[i] - fixed[j]).square().mean() for i, j in permutations(range(3), 2))
    (want,) = torch.autograd.grad(value, nets["student"].classifier.weight)
    (got,) = torch.autograd.grad(terms["consistency"].value, nets["student"].classifier.weight)
    assert torch.allclose(got, want.float(), rtol=1e-3, atol=1e-5)


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


def test_cct_auxiliary_decoders_follow_the_main_one_and_do_not_teach_it():
    terms, nets, batch = step("cct")
    names, net = list(make_method("cct").networks["student"].heads), nets["student"]
    draws = {name: batch.generator("perturb", name) for name in names}
    maps = net.encode(batch.x_u)
    main = net.classifier(net.decode(maps)[0])
    expected = 0.0
    for name in names:
        function = {
            "noise": cct.feature_noise,
            "drop": cct.feature_drop,
            "dropout": cct.channel_dropout,
            "objects": cct.hide_objects,
            "context": cct.hide_context,
        }[name]
        head = net.heads[name]
        z = head.classifier(head.decode([function(f, main, draws[name]) for f in maps])[0]).double()
        expected += (z.softmax(1) - main.double().softmax(1)).square().sum(1).mean() / len(names)
    assert terms["consistency"].value.item() == pytest.approx(expected.item(), rel=1e-4)
    assert len(names) == 5
    assert terms["consistency"].weight == pytest.approx(30 / 21)  # from a tenth of training on
    assert step("cct", progress=Progress(5, 100))[0]["consistency"].weight == pytest.approx(
        30 / 21 * rise(0.5)
    )
    taught = {
        n: g is not None and bool(g.abs().sum() > 0)
        for (n, _), g in zip(
            net.named_parameters(),
            torch.autograd.grad(terms["consistency"].value, [*net.parameters()], allow_unused=True),
            strict=False,
        )
    }
    assert taught["down.0.0.0.weight"]
    assert all(taught[f"heads.{name}.classifier.weight"] for name in names)
    assert not any(
        learns for n, learns in taught.items() if n.split(".")[0] in ("up", "merge", "classifier")
    )
    supervised = torch.autograd.grad(
        terms["supervised"].value, [*net.heads.parameters()], allow_unused=True
    )
    assert all(g is None for g in supervised)


def test_perturbations_of_maps_by_hand():
    generator, f = generator_for("cpu", 1), torch.rand(2, 64, 4, 4, 4) + 0.1
    logits = torch.zeros(2, 3, 8, 8, 8)
    logits[:, 1, :4] = 1.0  # the first half is an object
    noise = cct.feature_noise(f, logits, generator) / f - 1
    assert noise.abs().max() <= 0.3 + 1e-5
    assert abs(noise.mean().item()) < 0.01
    assert noise.std().item() == pytest.approx(0.6 / 12**0.5, rel=0.05)
    dropped = cct.channel_dropout(f, logits, generator)
    share = (dropped != 0).float().mean((2, 3, 4))
    assert set(share.unique().tolist()) == {0.0, 1.0}
    assert share.mean().item() == pytest.approx(0.5, abs=0.15)
    assert torch.allclose(dropped[dropped != 0], 2 * f[dropped != 0])
    assert torch.equal(
        cct.hide_objects(f, logits, generator) != 0,
        (torch.arange(4) >= 2).view(1, 1, 4, 1, 1).expand_as(f),
    )
    assert torch.equal(
        cct.hide_objects(f, logits, generator) + cct.hide_context(f, logits, generator), f
    )
    ladder = torch.linspace(0.01, 1.0, 64).view(1, 1, 4, 4, 4).expand(1, 8, 4, 4, 4)
    limits = {(cct.feature_drop(ladder, logits, generator)).max().item() for _ in range(50)}
    assert 0.68 < min(limits) < 0.75
    assert 0.85 < max(limits) < 0.9


def test_mtc_redraws_every_class_where_it_is_seen():
    terms, nets, batch = step("mtc")
    logits, heads = everything(nets["student"], batch)
    x = torch.cat([batch.x_l, batch.x_u]).double()[:, 0]
    p = logits.softmax(1)
    r = heads["reconstruction"]
    expected = 0.0
    for c in range(3):
        expected += p[:, c].mean() * (r[:, c] - x * p[:, c]).square().mean()
    assert terms["consistency"].value.item() == pytest.approx(expected.item(), rel=1e-4)
    assert terms["consistency"].weight == 0.1
    net = nets["student"]
    taught = torch.autograd.grad(
        terms["consistency"].value,
        [net.classifier.weight, net.down[0][0][0].weight],
        allow_unused=True,
    )
    assert taught[0] is None
    assert taught[1].abs().sum() > 0


@pytest.mark.parametrize("arch", ["unet", "vnet", "unet2d"])
def test_heads_leave_the_network_as_it_was(arch):
    make = {"width": 4, "depth": 3, "dropout": 0.0, "norm": "batch", "seed": 0}
    heads = {
        "scale 2": Head(level=2),
        "too deep": Head(level=3),
        "distance": Head(level=0, background=False),
        "near": Head(up="nearest"),
        "linear": Head(up="trilinear"),
        "blind": Head(skips=False),
    }
    plain, rich = build_net(arch, 1, 3, **make), build_net(arch, 1, 3, **make, heads=heads)
    assert all(torch.equal(v, rich.state_dict()[k]) for k, v in plain.state_dict().items())
    assert not plain.heads
    x = torch.randn(2, 1, 8, 8, 8)
    out, asked = plain(x), rich(x, heads=True)
    assert torch.equal(out.logits, asked.logits)
    assert out.heads == {}
    assert rich(x).heads == {}
    assert {n: h.shape[1] for n, h in asked.heads.items()} == {
        "scale 2": 3,
        "distance": 2,
        "near": 3,
        "linear": 3,
        "blind": 3,
    }
    assert all(h.shape[2:] == (8, 8, 8) for h in asked.heads.values())
    features = [f.detach().requires_grad_() for f in rich.encode(x)]
    for name, sees in (("near", True), ("blind", False)):
        gradient = torch.autograd.grad(
            rich.heads[name].decode(features)[0].square().mean(), features, allow_unused=True
        )
        assert all((g is not None) == (sees or i == 2) for i, g in enumerate(gradient)), name


def test_a_run_started_from_another_takes_its_body_and_keeps_its_own_heads(tmp_path):
    cohort, log = toy_cohort(), lambda line: None
    run = train(make_method("labels_only"), cohort, SMALL, tmp_path / "teacher", log=log)
    for name in ("mc_net_plus", "cps"):
        method = make_method(name)
        nets = build_nets(method, SMALL, 3)
        fresh = {
            role: {k: v.clone() for k, v in net.state_dict().items()} for role, net in nets.items()
        }
        start_from(nets, method, run.folder)
        for role, net in nets.items():
            for key, value in net.state_dict().items():
                assert torch.equal(
                    value,
                    (
                        fresh[role][key]
                        if key.startswith("heads.")
                        else run.nets["student"].state_dict()[key]
                    ),
                ), key
