"""M3HL: complementary block masks, and features of the mixes against those of the patches
themselves.
"""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F
from toy import SMALL, make_batch
from toy_step import HALF, STILL

from ssltut.data.components import largest_component
from ssltut.methods.contract import Plan, Progress
from ssltut.methods.further.m3hl import block_masks
from ssltut.methods.parts.masks import halves
from ssltut.methods.registry import make_method
from ssltut.seeding import generator_for
from ssltut.training.networks import build_nets


@pytest.mark.parametrize(
    ("size", "counts"),
    [
        ((112, 112, 80), (4, 4, 4)),
        ((96, 64, 32), (4, 4, 2)),
        ((8, 8, 8), (2, 2, 2)),
        ((64, 64, 1), (4, 4, 1)),
    ],
)
def test_half_of_the_blocks_go_and_each_is_whole(size, counts):
    masks = block_masks(3, size, 4, 16, generator_for("cpu", 0))
    assert masks.shape == (3, *size)
    assert not torch.equal(masks[0], masks[1])
    total = counts[0] * counts[1] * counts[2]
    for mask in masks:
        shape = [n for c, s in zip(counts, size, strict=False) for n in (c, s // c)]
        blocks = mask.view(shape).permute(0, 2, 4, 1, 3, 5).reshape(total, -1)
        assert (blocks.all(1) | ~blocks.any(1)).all()
        assert blocks.all(1).sum() == total - total // 2


def test_a_side_that_does_not_divide_has_blocks_of_nearly_the_same_length():
    mask = block_masks(1, (35, 16, 16), 4, 8, generator_for("cpu", 0))[0]
    lengths = torch.tensor([i * 4 // 35 for i in range(35)]).bincount().tolist()
    assert lengths == [9, 9, 9, 8]
    assert mask.shape == (35, 16, 16)


def test_what_one_mix_has_of_one_kind_the_other_has_of_the_other_kind():
    """Labelled patches of ones, unlabelled ones of zeros: X1 and X2 then add up to one
    everywhere.
    """
    method, seen = make_method("m3hl", {"sigma_student": 0.0}), []
    batch = replace(make_batch(), x_l=torch.ones(2, 1, 8, 8, 8), x_u=torch.zeros(2, 1, 8, 8, 8))
    nets = build_nets(method, STILL, 3)
    nets["student"].register_forward_pre_hook(lambda net, x: seen.append(x[0]))
    method.losses(batch, nets, HALF)
    first, second = seen[0]
    assert torch.equal(first + second, torch.ones(1, 8, 8, 8))
    assert first.mean() == 0.5


@pytest.mark.parametrize("pool", [False, True])
def test_the_terms_of_a_step_in_float64(pool):
    method, batch = make_method("m3hl", {"sigma_student": 0.0, "pool": pool}), make_batch()
    nets = build_nets(method, STILL, 3)
    with torch.no_grad():
        for p in nets["teacher"].parameters():
            p.mul_(0.9)
    terms = method.losses(batch, nets, HALF)
    keep = block_masks(1, (8, 8, 8), 4, 16, batch.generator("blocks"))
    teacher = nets["teacher"](batch.x_u)
    y_u, y_v = halves(largest_component(teacher.logits.argmax(1), 3))
    (a, b), (u, v) = halves(batch.x_l), halves(batch.x_u)
    out = nets["student"](
        torch.cat([torch.where(keep[:, None], a, u), torch.where(keep[:, None], v, b)])
    )
    low = high = 0.0
    for i in range(2):
        for j in range(2):
            low += (
                out.feats["embedding"][i] - teacher.feats["embedding"][j]
            ).double().abs().mean() / 4
            f, g = (x.feats["bottleneck"][k : k + 1].double() for x, k in ((out, i), (teacher, j)))
            f, g = ((F.max_pool3d(x, 3, 2, 1) if pool else x).flatten() for x in (f, g))
            high += (1 - f @ g / (f.norm() * g.norm())) / 4
    assert terms["low"].value.item() == pytest.approx(low.item(), rel=1e-4)
    assert terms["high"].value.item() == pytest.approx(high.item(), rel=1e-4)
    y = torch.cat([torch.where(keep, batch.y_l[:1], y_u), torch.where(keep, y_v, batch.y_l[1:])])
    ce, true = F.cross_entropy(out.logits.double(), y, reduction="none"), torch.cat([keep, ~keep])
    for name, region in (("supervised", true), ("pasted", ~true)):
        expected = 0.0
        for i in range(2):
            p = out.logits[i].double().softmax(0)[1:] * region[i]
            t = F.one_hot(y[i], 3).movedim(-1, 0)[1:] * region[i]
            dice = (2 * (p * t).sum((1, 2, 3)) + 1e-5) / ((p + t).sum((1, 2, 3)) + 1e-5)
            expected += ce[i][region[i]].mean() + 1 - dice.mean()
        assert terms[name].value.item() == pytest.approx(expected.item(), rel=1e-4)
    assert [t.weight for t in terms.values()] == [1.0, 0.5, 1.0, 1.0]


def test_there_is_no_first_stage_and_each_pair_has_its_own_mask():
    method, batch = make_method("m3hl"), make_batch(size=16)
    assert method.plan(Progress(0, 100), Plan(2, 2)) == Plan(2, 2)
    assert method.decay_at(Progress(0, 100)) == 0.99
    masks = method.mask(batch, 3)
    assert len(masks) == 3
    assert not torch.equal(masks[0], masks[1])
    off = make_method("m3hl", {"features": 0.0})
    assert set(off.losses(batch, build_nets(off, SMALL, 3), HALF)) == {"supervised", "pasted"}
