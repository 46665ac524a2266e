"""CCT: auxiliary decoders under perturbed maps, and each perturbation by hand."""

from dataclasses import replace

import pytest
import torch
from teaching import assert_same_teaching, gradients_of
from toy_step import NOISY, noisy_step, seen_by_student

from ssltut.methods.classic import cct
from ssltut.methods.losses import supervised_loss
from ssltut.methods.registry import make_method
from ssltut.seeding import generator_for

FUNCTIONS = {
    "noise": cct.feature_noise,
    "drop": cct.feature_drop,
    "dropout": cct.channel_dropout,
    "objects": cct.hide_objects,
    "context": cct.hide_context,
}


def test_auxiliary_decoders_follow_the_main_one_and_do_not_teach_it(float64):
    terms, nets, batch = noisy_step(make_method("cct"), replace(NOISY, dropout=0.0))
    net = nets["student"]
    draws = {name: batch.generator("perturb", name) for name in FUNCTIONS}
    maps = net.encode(seen_by_student(batch))
    main = net.classifier(net.decode(maps)[0])[2:]
    expected = 0.0
    for name, function in FUNCTIONS.items():
        head = net.heads[name]
        seen = [function(f[2:], main, draws[name]) for f in maps]
        p = head.classifier(head.decode(seen)[0]).softmax(1)
        expected = expected + (p - main.detach().softmax(1)).square().sum(1).mean() / 5
    assert_same_teaching(terms["consistency"].value, expected, nets)
    parts = {name.split(".")[1] for name in gradients_of(terms["consistency"].value, nets)}
    assert parts == {"down", "heads"}


def test_auxiliary_decoders_learn_no_labels(float64):
    terms, nets, batch = noisy_step(make_method("cct"))
    logits = nets["student"](seen_by_student(batch)).logits[:2]
    assert_same_teaching(terms["supervised"].value, supervised_loss(logits, batch.y_l), nets)
    assert not any("heads" in name for name in gradients_of(terms["supervised"].value, nets))


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
