"""RPG: exact neighbours, label thinning, the terms in float64, and projections, its own kind of
picture.
"""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F
from toy import SMALL, hips, make_batch, toy_cohort, trained_on_hips
from toy_step import STILL

from ssltut.methods.contract import Plan, Progress
from ssltut.methods.further.rpg import balanced, thin, thin_label
from ssltut.methods.losses import supervised_loss
from ssltut.methods.matching.primitives import neighbour_vote
from ssltut.methods.registry import make_method
from ssltut.nets.modes import eval_mode
from ssltut.training.loop import train
from ssltut.training.networks import build_nets


def test_labels_are_thinned_to_the_most_frequent_of_a_block():
    label = torch.zeros(1, 4, 4, 1, dtype=torch.long)
    label[0, 0, :2, 0], label[0, 1, 0, 0] = 2, 2  # three of four
    label[0, :2, 2, 0], label[0, :2, 3, 0] = 1, 2  # two and two: the lowest
    label[0, 2, 0, 0] = 2  # one of four
    assert thin_label(label, 3, 2)[0, :, :, 0].tolist() == [[2, 1], [0, 0]]
    assert thin_label(label, 3, 4).flatten().tolist() == [0]
    x = torch.arange(10.0).view(1, 1, 10, 1, 1)
    assert thin(x, 4).flatten().tolist() == [1.5, 5.5, 8.5]  # the last block has two voxels


def test_references_are_balanced_and_thinned_without_repeats():
    labels = torch.tensor([0] * 50 + [2] * 3)
    chosen = balanced(labels, 3, 8, torch.Generator().manual_seed(0))
    assert labels[chosen].bincount(minlength=3).tolist() == [8, 0, 3]
    assert len(chosen.unique()) == 11


@pytest.mark.parametrize(("size", "stride"), [(8, 2), (8, 4), (12, 4)])
def test_the_vote_of_the_nearest_is_exact(size, stride):
    method = make_method("rpg", {"sigma_student": 0.0, "stride": stride, "references": 7})
    batch = make_batch(size=size)
    nets = build_nets(method, STILL, 3)
    q, weak = method.targets(batch, nets)
    with torch.no_grad(), eval_mode(nets["student"]):
        own, other = (
            nets["student"](x).feats["embedding"].double() for x in (batch.x_u, batch.x_l)
        )
        assert torch.allclose(weak, nets["student"](batch.x_u).logits.softmax(1), atol=1e-5)
    own, other = (F.avg_pool3d(f, stride).movedim(1, -1) for f in (own, other))
    labels = thin_label(batch.y_l, 3, stride).flatten()
    chosen = balanced(labels, 3, 7, batch.generator("references"))
    assert labels[chosen].bincount(minlength=3).max() == 7
    cosine = F.cosine_similarity(
        own.flatten(0, 3)[:, None], other.flatten(0, 3)[chosen][None], dim=2
    )
    votes = torch.stack(
        [
            F.one_hot(labels[chosen][row.argsort(descending=True)[:5]], 3).double().mean(0)
            for row in cosine
        ]
    )
    coarse = votes.view(2, *[size // stride] * 3, 3).movedim(-1, 1)
    assert torch.allclose(q, F.interpolate(coarse, [size] * 3, mode="trilinear").float(), atol=1e-5)
    assert torch.allclose(q.sum(1), torch.ones(()), atol=1e-5)
    assert set((coarse * 5).round(decimals=4).unique().tolist()) <= set(range(6))


def test_terms_in_float64():
    method = make_method(
        "rpg",
        {
            "sigma_student": 0.0,
            "stride": 2,
            "confidence": 0.45,
            "w_reference": 0.5,
            "w_consistency": 2.0,
        },
    )
    batch = make_batch()
    nets = build_nets(method, STILL, 3)
    terms, (q, weak) = method.losses(batch, nets, Progress(50, 100)), method.targets(batch, nets)
    log_p = nets["student"](method.view(batch, "unlabelled")).logits.double().log_softmax(1)
    kept, (sure, label) = q.amax(1) >= 0.7, weak.max(1)
    assert 0 < kept.sum() < kept.numel()
    assert 0 < (sure >= 0.45).sum() < sure.numel()
    expected = (-(q.double() * log_p).sum(1) * kept).sum() / kept.numel()
    assert terms["reference"].value.item() == pytest.approx(expected.item(), rel=1e-4)
    expected = (-log_p.gather(1, label[:, None])[:, 0] * (sure >= 0.45)).sum() / sure.numel()
    assert terms["consistency"].value.item() == pytest.approx(expected.item(), rel=1e-4)
    assert (terms["reference"].weight, terms["consistency"].weight) == (0.5, 2.0)
    assert terms["reference"].share == pytest.approx(kept.float().mean().item())
    assert not q.requires_grad
    assert not weak.requires_grad
    assert terms["supervised"].value.item() == pytest.approx(
        supervised_loss(nets["student"](batch.x_l).logits, batch.y_l).item(), rel=1e-5
    )


@pytest.mark.parametrize(
    ("options", "present"),
    [({"w_reference": 0.0}, "consistency"), ({"w_consistency": 0.0}, "reference")],
)
def test_each_term_has_an_off_switch(options, present):
    method = make_method("rpg", options)
    assert set(method.losses(make_batch(), build_nets(method, SMALL, 3), Progress(50, 100))) == {
        "supervised",
        present,
    }


def test_first_labels_alone_then_both():
    method = make_method("rpg")
    assert method.plan(Progress(9, 100), Plan(2, 2)) == Plan(2, 0)
    assert method.plan(Progress(10, 100), Plan(2, 2)) == Plan(2, 2)


def test_fewer_references_than_neighbours_all_vote():
    method, batch = make_method("rpg", {"stride": 8}), make_batch()
    q, _ = method.targets(batch, build_nets(method, STILL, 3))  # one block a patch
    assert torch.equal(
        q,
        neighbour_vote(
            torch.ones(1, 1), torch.ones(2, 1), thin_label(batch.y_l, 3, 8).flatten(), 3, 2
        )[0]
        .view(1, 3, 1, 1, 1)
        .expand_as(q),
    )


def test_it_learns_from_projections_and_in_3d(tmp_path):
    for arch, cohort, patch in (
        ("unet2d", toy_cohort().projected(), (8, 8, 1)),
        ("unet", toy_cohort(), (8, 8, 8)),
    ):
        config = replace(SMALL, arch=arch, patch=patch, steps=40, validate_every=10)
        history = train(
            make_method("rpg"), cohort, config, tmp_path / arch, log=lambda line: None
        ).history
        scores = history["validation dice"].dropna()
        assert (
            scores.iloc[-1] > scores.iloc[0] and history["reference share"].notna().sum() == 36
        ), arch


def test_it_improves_on_projections_of_the_synthetic_hips(tmp_path):
    before, after, _ = trained_on_hips(
        "rpg", tmp_path / "r", hips().projected(), arch="unet2d", patch=(32, 32, 1), lr=1e-2
    )
    assert after > before + 0.05
