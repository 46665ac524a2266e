"""RPG: exact neighbours in a pool, label thinning, what its terms teach, and projections."""

from dataclasses import replace

import pytest
import torch
from golden import in_float64
from teaching import assert_same_teaching, taught
from torch.nn import functional as F
from toy import SMALL, hips, make_batch, toy_cohort, trained_on_hips
from toy_step import HALF, STILL

from ssltut.methods.contract import Plan, Progress
from ssltut.methods.further.rpg import balanced, thin, thin_label
from ssltut.methods.losses import supervised_loss
from ssltut.methods.matching.primitives import neighbour_vote
from ssltut.methods.parts.perturb import strong_view
from ssltut.methods.registry import make_method
from ssltut.nets.modes import eval_mode
from ssltut.training.loop import train
from ssltut.training.networks import build_nets


def one_step(options=None, config=STILL, batch=None):
    """Method, networks, batch, and what a step of the method gives and learns from."""
    method = make_method("rpg", options)
    batch = batch or make_batch()
    nets = build_nets(method, config, 3)
    outs = method.forward(batch, nets, HALF)
    return method, nets, batch, outs, method.terms(batch, nets, outs, HALF)


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
    assert set(chosen.tolist()) - {50, 51, 52} != set(range(8))  # drawn, not the first ones


@pytest.mark.parametrize(("size", "stride"), [(8, 2), (8, 4), (12, 4)])
def test_the_vote_of_the_nearest_in_the_pool_is_exact(size, stride):
    method = make_method("rpg", {"sigma_student": 0.0, "stride": stride, "drawn": 7})
    batch = make_batch(size=size)
    nets = build_nets(method, STILL, 3)
    with torch.no_grad(), eval_mode(nets["student"]):
        own, other = (nets["student"](x) for x in (batch.x_u, batch.x_l))
    own, other = (F.avg_pool3d(o.feats["embedding"].double(), stride) for o in (own, other))
    own, other = (f.movedim(1, -1).flatten(0, 3) for f in (own, other))
    earlier = 15
    nets["pool"].store(own[:earlier].float(), torch.arange(earlier) % 3)
    q, weak, vectors, classes = method.targets(batch, nets)
    labels = thin_label(batch.y_l, 3, stride).flatten()
    chosen = balanced(labels, 3, 7, batch.generator("references"))
    assert labels[chosen].bincount(minlength=3).max() == 7
    assert torch.equal(classes, labels[chosen])
    assert torch.allclose(vectors.double(), other[chosen], atol=1e-5)
    pool, of_pool = nets["pool"].recall()
    assert len(pool) == earlier  # asking for targets stores nothing
    pool, of_pool = torch.cat([pool.double(), other[chosen]]), torch.cat([of_pool, labels[chosen]])
    cosine = F.cosine_similarity(own[:, None], pool[None], dim=2)
    nearest = cosine.argsort(1, descending=True)[:, :5]
    coarse = F.one_hot(of_pool[nearest], 3).double().mean(1)
    coarse = coarse.view(2, *[size // stride] * 3, 3).movedim(-1, 1)
    assert torch.allclose(q, F.interpolate(coarse, [size] * 3, mode="trilinear").float(), atol=1e-5)
    with torch.no_grad(), eval_mode(nets["student"]):
        assert torch.allclose(weak, nets["student"](batch.x_u).logits.softmax(1), atol=1e-5)


def test_the_pool_gathers_the_references_of_all_scans_and_the_oldest_go():
    method, nets, batch, outs, _ = one_step({"drawn": 3, "references": 5})
    assert nets["pool"].filled.tolist() == [0, 0, 0]
    method.update(batch, nets, outs, HALF)
    vectors, classes = nets["pool"].recall()
    order = outs["targets"].classes.argsort(stable=True)
    assert torch.equal(vectors, outs["targets"].vectors[order])
    assert torch.equal(classes, outs["targets"].classes[order])
    other = replace(batch, x_l=batch.x_l.flip(2), y_l=batch.y_l.flip(1))
    later = method.forward(other, nets, HALF)
    method.update(other, nets, later, HALF)
    assert nets["pool"].filled.tolist() == [5, 5, 5]
    kept = nets["pool"].recall()[0]
    for found in (outs["targets"], later["targets"]):
        assert (kept[:, None] == found.vectors).all(2).any()


@pytest.mark.parametrize("name", ["reference", "consistency"])
def test_what_each_term_teaches_is_its_equation_with_fixed_targets(name):
    options = {"confidence": 0.45, "w_reference": 0.5, "w_consistency": 2.0}
    with in_float64():
        _, nets, batch, outs, terms = one_step(options)
        strong = strong_view(batch.x_u, batch.generator("strong"))
        strong = batch.noise(0.1, "strong")(strong)
        log_p = nets["student"](strong).logits.log_softmax(1)
        q, weak = (target.detach() for target in outs["targets"][:2])
        seen = batch.noise(0.02, "student", "unlabelled")(batch.x_u)
        assert torch.allclose(weak, nets["student"](seen).logits.softmax(1))
        if name == "reference":
            kept, weight = q.amax(1) >= 0.7, 0.5
            loss = -(q * log_p).sum(1)
        else:
            (sure, label), weight = weak.max(1), 2.0
            kept = sure >= 0.45
            loss = -log_p.gather(1, label[:, None])[:, 0]
        assert 0 < kept.sum() < kept.numel()
        assert_same_teaching(terms[name].value, (loss * kept).sum() / kept.numel(), nets)
        assert (terms[name].weight, terms[name].share) == (weight, kept.double().mean().item())
        assert taught(terms[name].value, nets) == {"student"}


def test_labelled_patches_are_seen_under_weak_noise_alone():
    _, nets, batch, _, terms = one_step()
    seen = batch.noise(0.02, "student", "labelled")(batch.x_l)
    expected = supervised_loss(nets["student"](seen).logits, batch.y_l)
    assert_same_teaching(terms["supervised"].value, expected, nets, 1e-4)


def test_targets_are_seen_in_eval_mode_and_the_strong_view_in_train_mode():
    config = replace(STILL, dropout=0.5, norm="batch")
    method, nets, batch, _, _ = one_step(config=config)
    before = {k: v.clone() for k, v in nets["student"].state_dict().items()}
    first, second = (method.targets(batch, nets) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert all(torch.equal(v, before[k]) for k, v in nets["student"].state_dict().items())
    assert not any(target.requires_grad for target in first)
    seen = [method.forward(batch, nets, HALF)["student"].whole.logits for _ in range(2)]
    assert not torch.equal(*seen)


@pytest.mark.parametrize(
    ("options", "present"),
    [({"w_reference": 0.0}, "consistency"), ({"w_consistency": 0.0}, "reference")],
)
def test_each_term_has_an_off_switch(options, present):
    *_, terms = one_step(options)
    assert set(terms) == {"supervised", present}


@pytest.mark.parametrize(("step", "unlabelled"), [(0, 0), (9, 0), (10, 2), (99, 2)])
def test_first_labels_alone_then_both(step, unlabelled):
    plan = make_method("rpg").plan(Progress(step, 100), Plan(2, 2))
    assert plan == Plan(4 - unlabelled, unlabelled)


def test_fewer_references_than_neighbours_all_vote():
    method, batch = make_method("rpg", {"stride": 8}), make_batch()
    q, *_ = method.targets(batch, build_nets(method, STILL, 3))  # one block a patch
    labels = thin_label(batch.y_l, 3, 8).flatten()
    votes = neighbour_vote(torch.ones(1, 1), torch.ones(2, 1), labels, 3, 2)
    assert torch.equal(q, votes[0].view(1, 3, 1, 1, 1).expand_as(q))


@pytest.mark.parametrize("arch", ["unet2d", "unet"])
def test_it_learns_from_projections_and_in_3d(arch, tmp_path):
    flat = arch == "unet2d"
    cohort = toy_cohort().projected() if flat else toy_cohort()
    config = replace(SMALL, arch=arch, patch=(8, 8, 1 if flat else 8), steps=40, validate_every=10)
    run = train(make_method("rpg"), cohort, config, tmp_path / "r", log=lambda line: None)
    scores = run.history["validation dice"].dropna()
    assert scores.iloc[-1] > scores.iloc[0]
    assert run.history["reference share"].notna().sum() == 36


def test_it_improves_on_projections_of_the_synthetic_hips(tmp_path):
    before, after, _ = trained_on_hips(
        "rpg", tmp_path / "r", hips().projected(), arch="unet2d", patch=(32, 32, 1), lr=1e-2
    )
    assert after > before + 0.05
