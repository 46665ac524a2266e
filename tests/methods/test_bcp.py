"""BCP by its equations: boxes pasted both ways, and the largest pieces that its labels keep."""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F
from toy import SMALL, make_batch, total
from toy_step import HALF, STILL, step

from ssltut.data.components import largest_component, remove_small_components
from ssltut.methods.contract import Plan, Progress
from ssltut.methods.losses import supervised_loss
from ssltut.methods.parts.masks import box_mask
from ssltut.methods.registry import make_method
from ssltut.seeding import generator_for
from ssltut.training.networks import build_nets


def test_bcp_pastes_both_ways_and_weighs_the_regions():
    terms, nets, batch = step("bcp")
    keep = box_mask((8, 8, 8), 2 / 3, batch.generator("box"))
    m = keep.double()
    pseudo = largest_component(nets["teacher"](batch.x_u).logits.argmax(1), 3)
    (a, b), (u, v), real, pasted = batch.x_l, batch.x_u, 0.0, 0.0
    for x, y, true in (
        (a * m + u * (1 - m), torch.where(keep, batch.y_l[0], pseudo[0]), keep),
        (v * m + b * (1 - m), torch.where(keep, pseudo[1], batch.y_l[1]), ~keep),
    ):
        z = nets["student"](x[None].float()).logits.double()
        ce = -z.log_softmax(1).gather(1, y[None, None])[0, 0]
        for region in (true, ~true):
            p, t = z.softmax(1)[0, 1:] * region, F.one_hot(y, 3).movedim(-1, 0)[1:] * region
            dice = (2 * (p * t).sum((1, 2, 3)) + 1e-5) / (
                p.sum((1, 2, 3)) + t.sum((1, 2, 3)) + 1e-5
            )
            value = ce[region].mean() + 1 - dice.mean()
            real, pasted = (real + value, pasted) if region is true else (real, pasted + value)
    assert (terms["supervised"].value.item(), terms["supervised"].weight) == (
        pytest.approx(real.item(), rel=1e-4),
        1.0,
    )
    assert (terms["pasted"].value.item(), terms["pasted"].weight) == (
        pytest.approx(pasted.item(), rel=1e-4),
        0.5,
    )


def test_bcp_first_pastes_labelled_patches_into_each_other_and_the_teacher_is_the_student():
    method, batch = make_method("bcp", {"sigma_student": 0.0}), replace(make_batch(), x_u=None)
    nets, keep = build_nets(method, STILL, 3), box_mask((8, 8, 8), 2 / 3, batch.generator("box"))
    terms = method.losses(batch, nets, Progress(0, 17))
    x, y = (torch.where(keep, *pair)[None] for pair in (batch.x_l, batch.y_l))
    assert set(terms) == {"supervised"}
    assert terms["supervised"].value.item() == pytest.approx(
        supervised_loss(nets["student"](x).logits, y).item(), rel=1e-5
    )
    first, then = Progress(1, 17), Progress(2, 17)  # 2,000 of 2,000 + 15,000 steps
    assert (method.plan(first, Plan(2, 2)), method.decay_at(first)) == (Plan(2, 0), 0.0)
    assert (method.plan(then, Plan(2, 2)), method.decay_at(then)) == (Plan(2, 2), 0.99)


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
