"""M3HL: complementary block masks; features of the mixes against those of the patches alone."""

from dataclasses import replace
from itertools import product

import pytest
import torch
from teaching import gradients_of, taught
from torch.nn import functional as F
from toy import SMALL, make_batch
from toy_step import HALF, STILL

from ssltut.methods.contract import Plan, Progress
from ssltut.methods.further.m3hl import M3HL, block_masks
from ssltut.methods.parts.perturb import box_mask, halves
from ssltut.methods.registry import make_method
from ssltut.seeding import generator_for
from ssltut.training.networks import build_nets


@pytest.mark.parametrize(
    ("size", "counts"),
    [
        ((112, 112, 80), (4, 4, 4)),  # the paper's: blocks of 28 x 28 x 20
        ((24, 24, 24), (4, 4, 4)),
        ((8, 8, 2), (4, 4, 2)),
        ((64, 64, 1), (4, 4, 1)),
    ],
)
def test_half_of_the_blocks_go_and_each_is_a_quarter_of_every_side(size, counts):
    masks = block_masks(3, size, make_method("m3hl").blocks, generator_for("cpu", 0))
    assert masks.shape == (3, *size)
    assert not torch.equal(masks[0], masks[1])
    total = counts[0] * counts[1] * counts[2]
    for mask in masks:
        shape = [n for c, s in zip(counts, size, strict=False) for n in (c, s // c)]
        blocks = mask.view(shape).permute(0, 2, 4, 1, 3, 5).reshape(total, -1)
        assert (blocks.all(1) | ~blocks.any(1)).all()
        assert blocks.all(1).sum() == total - total // 2


def test_a_side_that_does_not_divide_has_blocks_of_nearly_the_same_length():
    mask = block_masks(1, (35, 16, 16), 4, generator_for("cpu", 0))[0]
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


def of_both(nets, batch, pool=False):
    """Low and high of a step with one pair of each kind, in float64, as the equations have them."""
    keep = block_masks(1, (8, 8, 8), 4, batch.generator("blocks"))[:, None]
    (a, b), (u, v) = halves(batch.x_l), halves(batch.x_u)
    out = nets["student"](torch.cat([torch.where(keep, a, u), torch.where(keep, v, b)]))
    with torch.no_grad():
        teacher = nets["teacher"](batch.x_u)
    low = high = 0.0
    for i, j in product(range(2), range(2)):
        f, g = out.feats["undropped"][i].double(), teacher.feats["undropped"][j].double()
        low = low + (f - g).abs().mean() / 4
        f, g = (x.feats["bottleneck"][k : k + 1].double() for x, k in ((out, i), (teacher, j)))
        f, g = ((F.max_pool3d(x, 3, 2, 1) if pool else x).flatten() for x in (f, g))
        high = high + (1 - f @ g / (f.norm() * g.norm())) / 4
    return {"low": low, "high": high}


DEEP = replace(STILL, depth=3)


def apart(method, config=DEEP):
    """Networks of which the teacher is not the student."""
    nets = build_nets(method, config, 3)
    with torch.no_grad():
        for p in nets["teacher"].parameters():
            p.mul_(0.9)
    return nets


@pytest.mark.parametrize("pool", [False, True])
def test_features_agree_as_the_equations_say_and_teach_the_student_alone(pool):
    method, batch = make_method("m3hl", {"sigma_student": 0.0, "pool": pool}), make_batch()
    nets = apart(method)
    terms, expected = method.losses(batch, nets, HALF), of_both(nets, batch, pool)
    assert [(name, t.weight) for name, t in terms.items()] == [
        *(("supervised", 1.0), ("pasted", 0.5), ("low", 1.0), ("high", 1.0)),
    ]
    for name, value in expected.items():
        assert terms[name].value.item() == pytest.approx(value.item(), rel=1e-4)
        assert taught(terms[name].value, nets) == {"student"}
        wanted = gradients_of(value, nets)
        assert any(key.startswith("student.down") for key in wanted)
        assert not any(key.startswith("student.classifier") for key in wanted)
        assert any(key.startswith("student.merge") for key in wanted) == (name == "low")
        found = gradients_of(terms[name].value, nets)
        assert found.keys() == wanted.keys()
        for key, gradient in found.items():
            assert torch.allclose(gradient, wanted[key], rtol=1e-3, atol=1e-6), key


def test_low_compares_maps_before_the_dropout_of_the_student():
    config = replace(SMALL, arch="vnet", dropout=0.5, norm="instance", depth=1)
    method, batch = make_method("m3hl", {"sigma_student": 0.0}), make_batch()
    nets = build_nets(method, config, 3)
    feats = method.forward(batch, nets, HALF)["student"].feats
    assert not torch.equal(feats["undropped"], feats["embedding"])
    outs = method.forward(batch, nets, HALF)
    pairs = product(outs["student"].feats["undropped"], outs["teacher"].feats["undropped"])
    expected = torch.stack([(f - g).abs().mean() for f, g in pairs]).mean()
    low = method.terms(batch, nets, outs, HALF)["low"].value
    assert low.item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_mixes_are_learnt_as_those_of_bcp(monkeypatch):
    """With the same mask, and beside its own two terms."""
    batch, progress = make_batch(), Progress(80, 100)
    keep = box_mask((8, 8, 8), 2 / 3, batch.generator("box"))[None]
    monkeypatch.setattr(M3HL, "mask", lambda *args: keep)
    terms, bcp = (
        make_method(name, {"sigma_student": 0.0}).losses(batch, apart(make_method(name)), progress)
        for name in ("m3hl", "bcp")
    )
    for name, term in bcp.items():
        assert torch.equal(term.value, terms[name].value)
        assert term.weight == terms[name].weight


@pytest.mark.parametrize("step", [0, 50, 99])
def test_there_is_no_first_stage_and_each_pair_has_its_own_mask(step):
    method, batch, progress = make_method("m3hl"), make_batch(size=16), Progress(step, 100)
    assert method.plan(progress, Plan(2, 2)) == Plan(4, 4)
    assert method.decay_at(progress) == 0.99
    masks = method.mask(batch, 3)
    assert len(masks) == 3
    assert not torch.equal(masks[0], masks[1])


def test_features_can_be_off_and_can_be_all_that_is_on():
    batch = make_batch()
    for options, names in (
        ({"features": 0.0}, {"supervised", "pasted"}),
        ({"weight": 0.0}, {"supervised", "pasted", "low", "high"}),
        ({"weight": 0.0, "features": 0.0}, {"supervised"}),
    ):
        method = make_method("m3hl", options)
        assert set(method.losses(batch, build_nets(method, SMALL, 3), HALF)) == names
