"""Further outputs of networks, and runs that start from those without them."""

import pytest
import torch
from toy import SMALL, toy_cohort

from ssltut.methods.registry import make_method
from ssltut.nets.build import build_net
from ssltut.nets.heads import Head
from ssltut.training.loop import train
from ssltut.training.networks import build_nets, start_from


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
