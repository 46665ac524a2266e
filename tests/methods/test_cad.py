"""CAD: what is displaced, by what, under which views, and what its terms teach."""

from dataclasses import replace

import pytest
import torch
from golden import in_float64
from teaching import assert_same_teaching, taught
from toy import make_batch
from toy_step import HALF, STILL, rise

from ssltut.methods.contract import Progress
from ssltut.methods.further.cad import displace, low_confidence, source_box, target_box
from ssltut.methods.losses import dice_loss, supervised_loss
from ssltut.methods.registry import make_method
from ssltut.training.networks import build_nets


def sure(shape, confidence=0.95):
    """Two classes, class 0 with the same confidence everywhere."""
    p = torch.full((1, 2, *shape), confidence)
    p[:, 1] = 1 - confidence
    return p


def set_to(p, box, confidence):
    p[(slice(None), 0, *box)], p[(slice(None), 1, *box)] = confidence, 1 - confidence


def test_the_region_is_the_largest_low_confidence_component():
    p = sure((12, 12, 12))
    small, large = (slice(0, 2),) * 3, (slice(5, 9), slice(5, 8), slice(5, 8))
    set_to(p, small, 0.5)
    set_to(p, large, 0.55)
    p[0, :, 9, 8, 8], p[0, :, 4, 5, 5] = (
        0.5,
        torch.tensor([0.65, 0.35]),
    )  # a corner belongs to it (26-neighbourhood), a surer voxel does not
    expected = torch.zeros(12, 12, 12, dtype=torch.bool)
    expected[large], expected[9, 8, 8] = True, True
    assert torch.equal(low_confidence(p, 0.6)[0], expected)
    assert not low_confidence(p, 0.4).any()
    assert torch.equal(low_confidence(torch.cat([p, sure((12, 12, 12))]), 0.6)[0], expected)


def test_the_box_is_that_of_the_region_clipped_to_the_side_where_it_covers_most():
    region = torch.zeros(12, 12, 12, dtype=torch.bool)
    assert target_box(region, 1 / 3) is None
    region[2:9, 3:5, 10] = True
    region[6:9, 3:5, 11] = True
    box = target_box(region, 1 / 3)
    assert [b.stop - b.start for b in box] == [4, 2, 2]
    assert region[box].sum() == 14
    assert box[0].start == 5
    whole = target_box(region, 1.0)
    assert whole == (slice(2, 9), slice(3, 5), slice(10, 12))
    assert [b.stop - b.start for b in target_box(region, 0.01)] == [1, 1, 1]


def test_the_source_is_the_nearest_of_the_four_most_confident_tiles():
    p = sure((8, 8, 4), 0.7)[0]
    for corner, first in (
        ((0, 0), 0.99),
        ((0, 4), 0.03),
        ((4, 0), 0.97),
        ((4, 4), 0.06),
    ):  # tiles of 2 x 2 x 2 at the bottom
        box = (slice(corner[0], corner[0] + 2), slice(corner[1], corner[1] + 2), slice(0, 2))
        p[(0, *box)], p[(1, *box)] = first, 1 - first
    chosen = source_box(p, torch.tensor([0.2, 0.8]), (2, 2, 2))
    assert chosen == (
        slice(4, 6),
        slice(4, 6),
        slice(0, 2),
    )  # 0.06 lies nearer to 0.2 than 0.03 does, 0.7 is nearer to none
    assert source_box(p, torch.tensor([0.7, 0.3]), (2, 2, 2)) == (
        slice(4, 6),
        slice(0, 2),
        slice(0, 2),
    )  # unsure tiles are no source


def test_the_source_is_nearest_by_the_divergence_of_the_goal_from_it_and_not_the_other_way():
    p = torch.tensor([0.99, 0.4]).repeat_interleave(2).view(1, 4, 1, 1).expand(1, 4, 2, 2)
    p = torch.cat([p, 1.0 - p])
    # KL(goal | p) is 0.43 and 0.33, KL(p | goal) 0.18 and 0.38
    chosen = source_box(p, torch.tensor([0.8, 0.2]), (2, 2, 2))
    assert chosen[0] == slice(2, 4)


def test_displacement_pastes_scan_and_probabilities_from_the_next_scan_and_nothing_else():
    p = torch.cat([sure((6, 6, 6)), sure((6, 6, 6), 0.99)])
    set_to(p[:1], (slice(1, 3), slice(2, 4), slice(3, 5)), 0.5)
    x = torch.arange(2 * 216.0).view(2, 1, 6, 6, 6)
    moved = displace(x, p, 0.6, 1 / 3)
    assert moved.where[0].nonzero().amin(0).tolist() == [1, 2, 3]
    assert moved.where[0].sum() == 8
    assert not moved.where[1].any()
    box = moved.where[0]
    assert set(moved.x[0, 0][box].tolist()) <= set(x[1].flatten().tolist())
    assert torch.equal(moved.x[0, 0][~box], x[0, 0][~box])
    assert (moved.p[0, 0][box] == 0.99).all()
    assert torch.equal(moved.p[:, 0][~moved.where], p[:, 0][~moved.where])
    assert torch.equal(moved.x[1], x[1])
    assert torch.equal(x, torch.arange(2 * 216.0).view(2, 1, 6, 6, 6))
    alone = displace(x[:1], p[:1], 0.6, 1 / 3)
    assert (alone.p[0].amax(0) >= 0.6).all()  # one scan gives to itself


@pytest.mark.parametrize("step", [0, 5, 10])
def test_the_threshold_the_largest_side_and_the_weight_rise(step):
    method, progress, r = make_method("cad"), Progress(step, 10), rise(step / 10)
    assert method.limits(progress) == pytest.approx((0.6 + 0.3 * r, 1 / 8 + r * 5 / 24))
    terms = method.losses(make_batch(), build_nets(method, STILL, 3), progress)
    weights = [terms[name].weight for name in ("consistency", "displaced")]
    assert weights == pytest.approx([0.1 * r, 0.1 * r])


def networks(method, config=STILL):
    """Networks whose teacher is not the student, as later in a training."""
    nets = build_nets(method, config, 3)
    with torch.no_grad():
        nets["teacher"].classifier.weight.mul_(-3.0)
    return nets


def displaced_by(teacher, batch, method):
    with torch.no_grad():
        p = teacher(batch.x_u).logits.softmax(1)
    return displace(batch.x_u, p, *method.limits(HALF))


def test_what_the_terms_teach_is_their_equations_with_fixed_targets():
    with in_float64():
        method, batch = make_method("cad"), make_batch()
        nets = networks(method)
        terms = method.losses(batch, nets, HALF)
        moved = displaced_by(nets["teacher"], batch, method)
        assert moved.where.flatten(1).any(1).all()
        longer = torch.cat([batch.x_u, moved.x])
        logits = {}
        for role in ("student", "second"):
            seen = batch.noise(0.02, role, "unlabelled")(longer)
            logits[role] = nets[role](seen).logits.split(2)
        cross = 0.0
        for a, b in zip(*logits.values(), strict=True):
            cross = cross + dice_loss(a, b.detach().argmax(1)) + dice_loss(b, a.detach().argmax(1))
        followed = sum((z[1].softmax(1) - moved.p).square().mean() for z in logits.values())
        assert_same_teaching(terms["consistency"].value, cross, nets)
        assert_same_teaching(terms["displaced"].value, followed, nets)
        assert terms["displaced"].share == moved.where.double().mean().item()
        for role, name in (("student", "supervised"), ("second", "second supervised")):
            seen = batch.noise(0.02, role, "labelled")(batch.x_l)
            expected = supervised_loss(nets[role](seen).logits, batch.y_l)
            assert_same_teaching(terms[name].value, expected, nets)
            assert taught(terms[name].value, nets) == {role}
        for name in ("consistency", "displaced"):
            assert taught(terms[name].value, nets) == {"student", "second"}


def test_the_two_networks_see_the_same_patches_under_noise_of_their_own():
    method, batch = make_method("cad", {"sigma_student": 0.5}), make_batch()
    nets, seen = networks(method), {}
    for role in method.trained:
        hook = nets[role].register_forward_pre_hook
        hook(lambda _, given, role=role: seen.setdefault(role, given[0]))
    method.forward(batch, nets, HALF)
    first, second = seen.values()
    assert first.shape == second.shape == (6, 1, 8, 8, 8)
    difference = first - second
    assert difference.std() == pytest.approx(0.5 * 2**0.5, rel=0.1)
    patches = torch.cat([batch.x_l, batch.x_u, displaced_by(nets["teacher"], batch, method).x])
    assert (first - patches).std() == pytest.approx(0.5, rel=0.1)
    still = method.forward(batch, nets, HALF)["displaced"].x
    assert torch.equal(still, patches[4:])  # what is displaced is without noise


def test_confidence_is_that_of_the_teacher_in_eval_mode():
    config = replace(STILL, dropout=0.5, norm="batch")
    method, batch = make_method("cad"), make_batch()
    nets = networks(method, config)
    expected = displaced_by(nets["teacher"].eval(), batch, method)
    for _ in range(2):
        found = method.forward(batch, nets, HALF)["displaced"]
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    student = displaced_by(nets["student"].eval(), batch, method)
    assert not torch.equal(student.p, expected.p)
