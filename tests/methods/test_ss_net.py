"""SS-Net: the adversarial direction against finite differences, the memory's contents, values and
gradients of both terms against a reference with explicit detach.
"""

import math
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from golden import in_float64
from teaching import gradients_of, taught
from torch.nn import functional as F
from toy import SMALL, make_batch, toy_cohort
from toy_step import HALF, STILL

from ssltut.errors import ConfigError
from ssltut.methods.contract import Progress
from ssltut.methods.further.adversarial import adversarial_direction, change, frozen_averages
from ssltut.methods.further.ss_net import Separator, mean_one_scores, selector
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


def one_dice(p, q):
    """Soft Dice loss with one ratio for all classes, the background among them."""
    return 1 - 2 * (p * q).sum() / (p.sum() + q.sum())


def test_the_direction_is_the_gradient_by_finite_differences():
    batch = make_batch()
    net, x = build_nets(make_method("ss_net"), STILL, 3)["student"].double(), batch.x_u.double()

    def dice(x):
        return one_dice(net(x).logits.softmax(1), target)

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
    still = one_dice(p, p)
    assert terms["smoothness"].value > random > still


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


def smoothness(method, nets, batch):
    x = torch.cat([batch.x_l, batch.x_u])
    p = nets["student"](x).logits.softmax(1).detach()
    length = 0.01 * math.sqrt(512)
    d = adversarial_direction(nets["student"], x, p, length, batch.generator("adversarial"))
    return one_dice(nets["student"](x + length * d).logits.softmax(1), p)


def separation(method, nets, batch):
    """With the memory that the step left; a mean over pairs for every class and kind of voxel."""
    module, out = nets["separator"], nets["student"](torch.cat([batch.x_l, batch.x_u]))
    label = torch.cat([batch.y_l, out.logits.argmax(1)[2:]])
    index = method.draw_voxels(batch, label)
    found = module.predict(module.project(voxel_vectors(out.feats["embedding"])[index]))
    y, value = label.flatten()[index], 0.0
    memory, classes = module.memory.recall()
    for kind in (index < 1024, index >= 1024):
        for c in range(3):
            f, m = found[kind & (y == c)], memory[classes == c].detach()
            m = m / m.norm(dim=1, keepdim=True)
            if len(f) < 2 or len(m) < 2:
                continue
            w = module.feature_score[c](f.detach())[:, 0].sigmoid()
            v = module.memory_score[c](m)[:, 0].sigmoid()
            cosine = (f / f.norm(dim=1, keepdim=True)) @ m.T
            value = value + (torch.outer(w / w.mean(), v / v.mean()) * (1 - cosine)).mean() / 3
    return value


@pytest.mark.parametrize("reference", [smoothness, separation], ids=lambda f: f.__name__)
def test_values_and_gradients_with_batch_norm_and_dropout(reference):
    """Target, memory and the features that are scored are fixed; all else learns."""
    with in_float64():
        torch.manual_seed(0)
        config = replace(SMALL, norm="batch", dropout=0.15)
        method, terms, nets, batch = step({"memory": 16}, config=config)
        assert nets["separator"].memory.filled.tolist() == [16, 16, 16]
        torch.manual_seed(0)
        expected = reference(method, nets, batch)
        found = terms[reference.__name__].value
        assert found.item() == pytest.approx(expected.item(), rel=1e-9)
        ours, theirs = gradients_of(found, nets), gradients_of(expected, nets)
    assert ours.keys() == theirs.keys()
    for name, gradient in ours.items():
        torch.testing.assert_close(gradient, theirs[name], rtol=1e-6, atol=1e-12)


def test_who_learns_from_which_term():
    _, terms, nets, _ = step()
    assert taught(terms["smoothness"].value, nets) == {"student"}
    names = gradients_of(terms["separation"].value, nets)
    parts = {name.split(".")[1] for name in names if name.startswith("separator")}
    assert parts == {"project", "predict", "feature_score", "memory_score"}
    assert any(name.startswith("student.down") for name in names)
    assert not any(name.startswith("student.classifier") for name in names)


@pytest.mark.parametrize(("t", "r"), [(0, 0.0), (20, 0.5), (40, 1.0), (90, 1.0)])
def test_the_weights_rise_until_two_fifths_of_training(t, r):
    _, terms, _, _ = step({"weight": 0.5}, progress=Progress(t, 100))
    rise = 0.5 * math.exp(-5 * (1 - r) ** 2)
    assert terms["smoothness"].weight == pytest.approx(rise)
    assert terms["separation"].weight == pytest.approx(0.1 * rise)
    assert terms["supervised"].weight == 1.0


@pytest.mark.parametrize(("options", "sign"), [({}, 1), ({"keep": "lowest"}, -1)])
def test_a_step_remembers_the_highest_scores_of_projections_in_eval_mode(options, sign):
    """Unless the option asks for the lowest, as in the released code."""
    batch, method = (
        make_batch(),
        make_method("ss_net", {"sigma_student": 0.0, "memory": 3, **options}),
    )
    nets = build_nets(method, STILL, 3)
    before = deepcopy(nets["separator"]).eval()
    outs = method.forward(batch, nets, HALF)
    method.update(batch, nets, outs, HALF)
    out = nets["student"](torch.cat([batch.x_l, batch.x_u]))
    label = torch.cat([batch.y_l, out.logits.argmax(1)[2:]]).flatten()
    index = method.draw_voxels(batch, label.view(4, 8, 8, 8))
    right = index[(index < 1024) & (label == out.logits.argmax(1).flatten())[index]]
    projected = before.project(voxel_vectors(out.feats["embedding"])[right])
    for c in range(3):
        own = projected[label[right] == c]
        best = (sign * before.feature_score[c](own)[:, 0]).topk(3).indices
        kept = nets["separator"].memory.vectors[c]
        assert kept.sort(0).values.allclose(own[best].sort(0).values, atol=1e-5)


def test_scores_have_a_mean_of_one_at_any_scale_of_the_features():
    """Batch norm in the selector keeps the sigmoids away from 0, so that no quotient is 0 / 0."""
    score, vectors = selector(), torch.randn(6, 32, requires_grad=True)
    assert [type(layer).__name__ for layer in score] == [
        "Linear",
        "BatchNorm1d",
        "LeakyReLU",
        "Linear",
    ]
    assert score[2].negative_slope == 0.2
    for scale in (1.0, 1e4, 1e8):
        found = mean_one_scores(score, scale * vectors)
        plain = score(scale * vectors)[:, 0].sigmoid()
        torch.testing.assert_close(found, plain / plain.mean())
        gradients = torch.autograd.grad(found[0], list(score.parameters()))
        assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize(("own", "stored"), [(1, 4), (4, 1), (0, 4), (4, 0)])
def test_a_class_with_a_single_voxel_counts_nothing(own, stored):
    """Batch norm has no spread of one voxel; two are enough."""
    separator = Separator(4, 2, 8)
    vectors, label = torch.randn(own + 2, 32), torch.tensor([1] * own + [0, 0])
    remembered = torch.randn(stored + 2, 32), torch.tensor([1] * stored + [0, 0])
    separator.memory.store(*remembered)
    alone = separator.distance(vectors[own:], label[own:], separator.memory)
    assert separator.distance(vectors, label, separator.memory) == alone > 0


def test_a_single_correct_voxel_can_be_remembered():
    separator = Separator(4, 2, 1)
    kept, labels = separator.best(torch.randn(1, 4), torch.tensor([1]), highest=True)
    assert kept.shape == (1, 32)
    assert labels.tolist() == [1]
