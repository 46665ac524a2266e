"""SS-Net: the adversarial direction against finite differences, the memory's contents, the weighted
distance in float64.
"""

import math
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F
from toy import SMALL, make_batch, toy_cohort
from toy_step import HALF, STILL

from ssltut.errors import ConfigError
from ssltut.methods.contract import Progress
from ssltut.methods.further.adversarial import adversarial_direction, change, frozen_averages
from ssltut.methods.further.ss_net import Separator, mean_one_scores, scorers
from ssltut.methods.losses import soft_dice_loss
from ssltut.methods.matching.primitives import surface_shell, voxel_vectors
from ssltut.methods.registry import make_method
from ssltut.training.loop import train
from ssltut.training.networks import build_nets


def step(options=None, n_classes=3, config=STILL, progress=HALF, batch=None):
    method = make_method("ss_net", {"sigma_student": 0.0} | (options or {}))
    batch = batch or make_batch(n_classes)
    nets = build_nets(method, config, n_classes)
    outs = method.forward(batch, nets, progress)
    terms = method.terms(batch, nets, outs, progress)
    method.update(batch, nets, outs, progress)
    return method, terms, nets, batch


def test_the_direction_is_the_gradient_by_finite_differences():
    batch = make_batch()
    net, x = build_nets(make_method("ss_net"), STILL, 3)["student"].double(), batch.x_u.double()

    def dice(x):
        return soft_dice_loss(net(x).logits.softmax(1)[:, 1:], target[:, 1:])

    with torch.no_grad():
        target = net(x).logits.softmax(1)
        found = adversarial_direction(
            net, x, target, 0.5, batch.generator("a")
        )  # needs no surrounding gradient
        start = torch.rand(x.shape, generator=batch.generator("a"), dtype=torch.float64) - 0.5
        start = x + 0.5 * start / start.flatten(1).norm(dim=1).view(-1, 1, 1, 1, 1)
        slopes = torch.zeros_like(x)
        for b, v in ((b, v) for b in (0, 1) for v in range(0, 512, 37)):
            delta = torch.zeros_like(x)
            delta.view(2, -1)[b, v] = 1e-6
            slopes.view(2, -1)[b, v] = (dice(start + delta) - dice(start - delta)) / 2e-6
    assert found.flatten(1).norm(dim=1).tolist() == pytest.approx([1.0, 1.0])
    for a, b in zip(found.flatten(1), slopes.flatten(1), strict=True):
        seen = b != 0
        assert seen.sum() == 14
        assert torch.allclose(a[seen] / a[seen].norm(), b[seen] / b[seen].norm(), atol=1e-4)


def test_the_worst_change_is_worse_than_a_random_one_of_the_same_length():
    _, terms, nets, batch = step({"radius": 0.3})
    x = torch.cat([batch.x_l, batch.x_u])
    p = nets["student"](x).logits.detach().softmax(1)
    length, d = 0.3 * math.sqrt(512), torch.randn(x.shape, generator=batch.generator("other"))
    random = change(
        nets["student"], x + length * d / d.flatten(1).norm(dim=1).view(-1, 1, 1, 1, 1), p
    )
    still = soft_dice_loss(p[:, 1:], p[:, 1:])
    assert terms["smoothness"].value > random > still


def test_smoothness_in_float64():
    _, terms, nets, batch = step()
    x = torch.cat([batch.x_l, batch.x_u])
    p = nets["student"](x).logits.detach().softmax(1)
    length = 0.01 * math.sqrt(512)
    d = adversarial_direction(nets["student"], x, p, length, batch.generator("adversarial"))
    q, p = nets["student"](x + length * d).logits.double().softmax(1)[:, 1:], p.double()[:, 1:]
    over = (0, 2, 3, 4)
    expected = 1 - ((2 * (p * q).sum(over) + 1e-5) / (p.sum(over) + q.sum(over) + 1e-5)).mean()
    assert terms["smoothness"].value.item() == pytest.approx(expected.item(), rel=1e-5)
    assert 0.01 * math.sqrt(112 * 112 * 80) == pytest.approx(
        10, rel=2e-3
    )  # the published radius, at the published size


def test_adversarial_passes_leave_the_averages_and_their_switch_alone():
    net = build_nets(make_method("ss_net"), SMALL, 3)["student"]
    norms = [m for m in net.modules() if isinstance(m, torch.nn.BatchNorm3d)]
    x = make_batch().x_u

    def interrupted_pass():
        with frozen_averages(net):
            net(x)
            raise KeyError

    with pytest.raises(KeyError):
        interrupted_pass()
    assert all(
        m.track_running_stats and m.num_batches_tracked == 0 and not m.running_mean.any()
        for m in norms
    )
    net(x)
    assert all(m.num_batches_tracked == 1 for m in norms)


@pytest.mark.parametrize(
    ("keep", "best"), [("highest", [9.0, 8.0, 7.0]), ("lowest", [0.0, 1.0, 2.0])]
)
def test_the_memory_holds_the_best_scored_of_every_class_and_is_overwritten(keep, best):
    separator = Separator(4, 3, 3)
    separator.project = torch.nn.Identity()
    for score in separator.feature_score:
        score.forward = lambda v: v[:, :1]
    vectors = F.pad(torch.arange(10.0)[torch.randperm(10)][:, None], (0, 31))
    label = torch.ones(10, dtype=torch.long)
    for features in (vectors - 100, vectors, vectors[:0]):
        separator.memory.store(*separator.best(features, label[: len(features)], keep == "highest"))
    kept, labels = separator.memory.recall()
    assert sorted(kept[:, 0].tolist()) == sorted(best)
    assert labels.tolist() == [1, 1, 1]


@pytest.mark.parametrize("n_classes", [2, 3])
def test_only_labelled_voxels_that_are_right_are_remembered_background_near_surfaces_among_them(
    n_classes,
):
    method, _, nets, batch = step(n_classes=n_classes, options={"memory": 4096})
    guess = nets["student"](batch.x_l).logits.argmax(1)
    near = (batch.y_l > 0) | surface_shell(batch.y_l, method.band)
    expected = [
        ((guess == batch.y_l) & near & (batch.y_l == c)).sum().item() for c in range(n_classes)
    ]
    memory = nets["separator"].memory
    assert memory.filled.tolist() == expected
    assert expected[0] > 0
    assert memory.vectors.requires_grad is False
    assert torch.isfinite(memory.vectors).all()


def test_drawn_voxels_are_of_every_class_limited_and_fixed_by_the_batch():
    method, batch = make_method("ss_net", {"voxels": 20}), make_batch()
    label = torch.cat([batch.y_l, torch.zeros_like(batch.y_l)])
    index = method.draw_voxels(batch, label)
    assert torch.equal(index, method.draw_voxels(batch, label))
    assert len(index.unique()) == len(index)
    assert label.flatten()[index].bincount().tolist() == [20, 20, 20]
    assert (index < batch.y_l.numel()).all()


def test_separation_in_float64():
    _, terms, nets, batch = step()
    method, module = make_method("ss_net", {"sigma_student": 0.0}), nets["separator"]
    out = nets["student"](torch.cat([batch.x_l, batch.x_u]))
    label = torch.cat([batch.y_l, out.logits.argmax(1)[2:]])
    index = method.draw_voxels(batch, label)
    q = module.predict(module.project(voxel_vectors(out.feats["embedding"])[index])).double()
    y, expected = label.flatten()[index], 0.0
    memory, classes = (t.double() if t.is_floating_point() else t for t in module.memory.recall())
    assert classes.bincount(minlength=3).max() == 32
    for known in (index < 1024, index >= 1024):
        for c in range(3):
            f, m = q[known & (y == c)], memory[classes == c]
            if not len(f) or not len(m):
                continue
            w, v = (
                s[c](a.float()).double().sigmoid()[:, 0]
                for s, a in ((module.feature_score, f), (module.memory_score, m))
            )
            cosine = (f @ m.T) / f.norm(dim=1)[:, None] / m.norm(dim=1)
            expected += ((w / w.mean())[:, None] * (v / v.mean()) * (1 - cosine)).mean() / 3
    assert terms["separation"].value.item() == pytest.approx(expected.item(), rel=1e-4)


def test_weights_and_who_learns():
    _, terms, nets, _ = step(progress=Progress(20, 100))
    rise = math.exp(-5 * 0.5**2)  # the ramp ends after 0.4 of training
    assert terms["smoothness"].weight == pytest.approx(rise)
    assert terms["separation"].weight == pytest.approx(0.1 * rise)
    terms["separation"].value.backward()
    separator, student = nets["separator"], nets["student"]
    assert all(
        p.grad is not None and p.grad.abs().sum() > 0
        for m in (separator.project, separator.predict)
        for p in list(m.parameters())[-2:]
    )
    assert all(
        m[c][-1].weight.grad.abs().sum() > 0
        for m in (separator.feature_score, separator.memory_score)
        for c in (1, 2)
    )
    assert student.down[0][0][0].weight.grad.abs().sum() > 0
    assert student.classifier.weight.grad is None


def test_what_a_method_adds_to_the_networks_learns_and_starts_from_the_seed(tmp_path):
    config, log = replace(SMALL, steps=6), lambda line: None
    method = make_method("ss_net")
    start = build_nets(method, config, 3)["separator"]
    run = train(method, toy_cohort(), config, tmp_path / "r", log=log)
    again = build_nets(method, config, 3)["separator"]
    found = dict(run.nets["separator"].named_parameters())
    assert all(
        torch.equal(p, q) for p, q in zip(start.parameters(), again.parameters(), strict=True)
    )
    assert all(
        not torch.equal(p, found[n])
        for n, p in start.named_parameters()
        if n.startswith(("project", "predict"))
    )
    assert run.nets["separator"].memory.filled.sum() > 0


def test_wrong_options_are_refused_and_right_ones_are_not():
    with pytest.raises(ConfigError, match="keep is"):
        make_method("ss_net", {"keep": "best"})
    assert make_method("ss_net", {"keep": "lowest"}).keep == "lowest"


def test_weights_of_low_scores_and_their_gradients_stay_finite():
    vectors = torch.randn(6, 32, generator=torch.Generator().manual_seed(0))
    for bias in (
        0.0,
        -60.0,
        -200.0,
    ):  # at -60 the squared mean of the sigmoids is 0 in float32, at -200 every sigmoid
        score = scorers(1)[0]
        with torch.no_grad():
            score[-1].bias.fill_(bias)
        found = mean_one_scores(score, vectors)
        expected = deepcopy(score).double()(vectors.double()).sigmoid()[:, 0]
        torch.testing.assert_close(found.double(), expected / expected.mean(), rtol=1e-3, atol=0.0)
        found[0].backward()
        assert all(p.grad.isfinite().all() for p in score.parameters()), bias
