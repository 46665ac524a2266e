"""CAD: what is displaced, by what, and the terms recomputed."""

import math

import pytest
import torch
from toy import make_batch
from toy_step import STILL

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


def test_the_threshold_and_the_largest_side_rise():
    method = make_method("cad")
    low, high = math.exp(-5), math.exp(-5 / 4)
    assert method.limits(Progress(0, 10)) == pytest.approx((0.6 + 0.3 * low, 1 / 8 + low * 5 / 24))
    assert method.limits(Progress(5, 10)) == pytest.approx(
        (0.6 + 0.3 * high, 1 / 8 + high * 5 / 24)
    )
    assert method.limits(Progress(10, 10)) == pytest.approx((0.9, 1 / 3))


def test_the_terms_are_those_of_two_networks_and_a_displaced_teacher():
    method = make_method("cad", {"sigma_student": 0.0})
    batch = make_batch()
    progress = Progress(50, 100)
    nets = build_nets(method, STILL, 3)
    terms = method.losses(batch, nets, progress)
    p = nets["teacher"](batch.x_u).logits.softmax(1)
    moved = displace(batch.x_u, p, *method.limits(progress))
    assert moved.where.any(3).any(2).any(1).all()
    cross, taught = 0.0, 0.0
    for x in (batch.x_u, moved.x):
        a, b = (nets[role](x).logits.double() for role in ("student", "second"))
        cross += dice_loss(a, b.argmax(1)) + dice_loss(b, a.argmax(1))
        if x is moved.x:
            taught = sum((z.softmax(1) - moved.p).square().mean() for z in (a, b))
    weight = 0.1 * math.exp(-5 / 4)
    assert terms["consistency"].value.item() == pytest.approx(cross.item(), rel=1e-4)
    assert terms["displaced"].value.item() == pytest.approx(taught.item(), rel=1e-4)
    assert [terms[t].weight for t in ("consistency", "displaced")] == pytest.approx(
        [weight, weight]
    )
    assert terms["displaced"].share == pytest.approx(moved.where.float().mean().item())
    for role, name in (("student", "supervised"), ("second", "second supervised")):
        assert terms[name].value.item() == pytest.approx(
            supervised_loss(nets[role](batch.x_l).logits, batch.y_l).item(), rel=1e-5
        )
