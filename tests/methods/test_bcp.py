"""BCP by its equations: boxes pasted both ways, and the largest pieces that its labels keep."""

import math
from dataclasses import replace

import pytest
import torch
from teaching import gradients_of, taught
from torch.nn import functional as F
from toy import SMALL, make_batch, total, toy_cohort
from toy_step import HALF, STILL

from ssltut.data.components import largest_component, remove_small_components
from ssltut.methods.classic.bcp import BCP
from ssltut.methods.contract import Plan, Progress
from ssltut.methods.losses import supervised_loss
from ssltut.methods.parts.perturb import box_mask
from ssltut.methods.registry import make_method
from ssltut.seeding import generator_for
from ssltut.training.networks import build_nets
from ssltut.training.steps import open_run


def teacher_apart(nets, batch):
    """A teacher that is not the student, with labels that are of several pieces and classes."""
    with torch.no_grad():
        for p in nets["teacher"].parameters():
            p.mul_(0.7)
        nets["teacher"].classifier.bias -= nets["teacher"](batch.x_u).logits.mean((0, 2, 3, 4))


def by_region(z, y, region):
    """Cross-entropy + Dice of logits z (N, C, ...) in float64 over the voxels of ``region``."""
    z = z.double()
    ce = -z.log_softmax(1).gather(1, y[:, None])[:, 0]
    p = z.softmax(1)[:, 1:] * region[:, None]
    t = F.one_hot(y, z.shape[1]).movedim(-1, 1)[:, 1:] * region[:, None]
    sums = (0, 2, 3, 4)
    dice = (2 * (p * t).sum(sums) + 1e-5) / (p.sum(sums) + t.sum(sums) + 1e-5)
    return ce[region].mean() + 1 - dice.mean()


def doubled(batch):
    """Four patches of each kind, as the configuration of two and two gives."""
    other = make_batch(seed=1)
    pairs = {name: (getattr(batch, name), getattr(other, name)) for name in ("x_l", "y_l", "x_u")}
    return replace(batch, **{name: torch.cat(pair) for name, pair in pairs.items()})


def test_two_mixes_of_each_kind_are_pasted_both_ways_and_the_regions_weighed():
    method, batch = make_method("bcp", {"sigma_student": 0.0}), doubled(make_batch())
    nets = build_nets(method, STILL, 3)
    teacher_apart(nets, batch)
    terms = method.losses(batch, nets, HALF)
    keep = box_mask((8, 8, 8), 2 / 3, batch.generator("box"))
    pseudo = largest_component(nets["teacher"](batch.x_u).logits.argmax(1), 3)
    assert len(pseudo.unique()) == 3
    (a, b), (u, v) = batch.x_l.split(2), batch.x_u.split(2)
    (y_a, y_b), (y_u, y_v) = batch.y_l.split(2), pseudo.split(2)
    real = pasted = 0.0
    for x, y, true in (
        (torch.where(keep, a, u), torch.where(keep, y_a, y_u), keep),
        (torch.where(keep, v, b), torch.where(keep, y_v, y_b), ~keep),
    ):
        z, true = nets["student"](x).logits, true.expand(2, 8, 8, 8)
        real = real + by_region(z, y, true)
        pasted = pasted + by_region(z, y, ~true)
    for name, expected, weight in (("supervised", real, 1.0), ("pasted", pasted, 0.5)):
        assert terms[name].value.item() == pytest.approx(expected.item(), rel=1e-4)
        assert terms[name].weight == weight
        assert taught(terms[name].value, nets) == {"student"}
        wanted = gradients_of(expected, nets)
        for key, found in gradients_of(terms[name].value, nets).items():
            assert torch.allclose(found, wanted[key].to(found.dtype), rtol=1e-3, atol=1e-5), key


def test_the_default_configuration_gives_two_mixes_of_each_kind(monkeypatch, tmp_path):
    """And in the first stage as many patches pass the student, which is the teacher at once."""
    config = replace(SMALL, labelled=2, unlabelled=2, norm="batch", steps=4)
    method = make_method("bcp")
    training, passed, mixes = open_run(method, toy_cohort(), config, tmp_path / "r"), [], []
    student, teacher = training.nets["student"], training.nets["teacher"]
    student.register_forward_pre_hook(lambda net, x: passed.append(len(x[0])))
    plain = BCP.terms
    monkeypatch.setattr(
        BCP, "terms", lambda self, *args: mixes.append(args[2]["mix"]) or plain(self, *args)
    )
    for step in range(4):
        training.step(training.draw(step))
        pairs = zip(student.state_dict().values(), teacher.state_dict().values(), strict=True)
        assert all(torch.equal(*pair) for pair in pairs) == (step < 2)
    assert passed == [4, 4, 4, 4]
    assert [mix.true is None for mix in mixes] == [True, True, False, False]
    for mix in mixes[2:]:
        x1, x2 = mix.true.chunk(2)  # patches 1 and 2 are of the first kind, 3 and 4 of the second
        assert len(x1) == len(x2) == 2
        assert torch.equal(x1, ~x2)
        assert 0.6 < x1.float().mean() < 0.9  # the box has (2 / 3)³ of a patch, cut to whole voxels


@pytest.mark.parametrize(
    ("total", "options", "last"),
    [
        (17_000, {}, 2000),
        (600, {}, 300),  # 2 / 17 would be 70
        (2400, {}, 300),
        (100, {}, 50),  # a short run keeps half for the second stage
        (600, {"least": 0}, 71),
        (600, {"pretrain": 0.0}, 0),
    ],
)
def test_the_first_stage_ends_when_its_teacher_may_teach(total, options, last):
    method = make_method("bcp", options)
    stages = [method.first_stage(Progress(step, total)) for step in range(total)]
    assert stages == [True] * last + [False] * (total - last)


@pytest.mark.parametrize(
    ("step", "default", "plan", "decay"),
    [
        (0, Plan(2, 2), Plan(8, 0), 0.0),
        (299, Plan(2, 2), Plan(8, 0), 0.0),
        (300, Plan(2, 2), Plan(4, 4), 0.99),
        (599, Plan(2, 2), Plan(4, 4), 0.99),
        (300, Plan(1, 3), Plan(4, 4), 0.99),
        (300, Plan(4, 0), Plan(8, 0), 0.99),
    ],
)
def test_a_step_draws_twice_the_patches_that_pass_the_student(step, default, plan, decay):
    method, progress = make_method("bcp"), Progress(step, 600)
    assert method.plan(progress, default) == plan
    assert method.decay_at(progress) == decay


def test_the_first_stage_pastes_labelled_patches_into_each_other():
    method, batch = make_method("bcp", {"sigma_student": 0.0}), make_batch()
    apart = torch.stack([batch.y_l[0], batch.y_l[1].flip(0)])
    batch = replace(batch, y_l=apart, x_u=None)
    nets, keep = build_nets(method, STILL, 3), box_mask((8, 8, 8), 2 / 3, batch.generator("box"))
    terms = method.losses(batch, nets, Progress(0, 17))
    x, y = (torch.where(keep, *pair)[None] for pair in (batch.x_l, batch.y_l))
    assert set(terms) == {"supervised"}
    expected = supervised_loss(nets["student"](x).logits, y).item()
    assert terms["supervised"].value.item() == pytest.approx(expected, rel=1e-5)
    assert terms["supervised"].weight == 1.0


def test_the_student_sees_the_mixes_under_its_noise():
    method, batch, seen = make_method("bcp", {"sigma_student": 0.5}), make_batch(), []
    nets = build_nets(method, STILL, 3)
    nets["student"].register_forward_pre_hook(lambda net, x: seen.append(x[0]))
    mixes = method.forward(batch, nets, HALF)["mix"].x
    assert (seen[0] - mixes).std().item() == pytest.approx(0.5, rel=0.1)


def test_the_teacher_labels_without_dropout_by_its_running_statistics():
    config = replace(SMALL, dropout=0.5, norm="batch")
    method, batch = make_method("bcp"), make_batch()
    nets = build_nets(method, config, 3)
    before = {name: value.clone() for name, value in nets["teacher"].state_dict().items()}
    labels = [method.teach(batch, nets)["pseudo"] for _ in range(2)]
    expected = nets["teacher"].eval()(batch.x_u).logits.argmax(1)
    assert torch.equal(*labels)
    assert torch.equal(labels[0], largest_component(expected, 3))
    after = nets["teacher"].state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    method.losses(batch, nets, HALF)
    assert nets["student"].training


@pytest.mark.parametrize(("n_labelled", "n_unlabelled"), [(1, 1), (1, 2), (3, 2), (4, 4)])
def test_bcp_pastes_batches_of_any_size(n_labelled, n_unlabelled):
    batch, method = make_batch(), make_method("bcp")
    many = replace(
        batch,
        x_l=batch.x_l.repeat(2, 1, 1, 1, 1)[:n_labelled],
        y_l=batch.y_l.repeat(2, 1, 1, 1)[:n_labelled],
        x_u=batch.x_u.repeat(2, 1, 1, 1, 1)[:n_unlabelled],
    )
    assert torch.isfinite(total(method.losses(many, build_nets(method, SMALL, 3), HALF)))


@pytest.mark.parametrize("size", [(8, 8, 8), (16, 12, 9), (6, 6, 1)])
def test_the_box_has_two_thirds_of_every_side_and_lies_anywhere(size):
    masks = [box_mask(size, 2 / 3, generator_for("cpu", seed)) for seed in range(40)]
    sides = [max(1, 2 * s // 3) for s in size]
    for mask in masks:
        hole = (~mask).nonzero()
        assert len(hole) == math.prod(sides)
        assert (hole.amax(0) - hole.amin(0) + 1).tolist() == sides
    corners = torch.stack([(~mask).nonzero().amin(0) for mask in masks])
    assert corners.amin(0).tolist() == [0, 0, 0]
    assert corners.amax(0).tolist() == [s - b for s, b in zip(size, sides, strict=False)]


def test_the_largest_piece_of_each_class_stays():
    label = torch.zeros(1, 6, 6, 6, dtype=torch.long)
    label[0, 0, 0, :3], label[0, 5, 5, :2], label[0, 3, 3, 3], label[0, 4, 4, 4] = (
        1,
        1,
        2,
        2,
    )  # the last two touch at a corner
    kept = largest_component(label, 4)
    label[0, 5, 5, :2] = 0
    assert torch.equal(kept, label)


def test_pieces_below_a_share_of_the_largest_go_and_of_equals_the_first_is_the_largest():
    label = torch.zeros(2, 6, 6, 6, dtype=torch.long)
    (
        label[0, 0, 0, :4],
        label[0, 5, 5, :2],
        label[0, 0, 5, 0],
        label[1, 2, 2, 2],
        label[1, 4, 4, 4],
    ) = (
        1,
        1,
        1,
        1,
        1,
    )
    assert torch.equal(remove_small_components(label, 2, 0.0), label)
    half, alone = label.clone(), label.clone()
    half[0, 0, 5, 0], alone[0, 0, 5, 0], alone[0, 5, 5], alone[1, 4, 4, 4] = 0, 0, 0, 0
    assert torch.equal(remove_small_components(label, 2, 0.5), half)
    assert torch.equal(remove_small_components(label, 2, 1.0), alone)
