"""The vote of neighbours: each part against what it says it does."""

from dataclasses import replace
from math import log

import pytest
import torch
from teaching import taught
from torch.nn import functional as F
from toy import SMALL, make_batch, toy_cohort
from toy_step import rise

from ssltut.data.batch import PatchLocation
from ssltut.methods.contract import NetOutput, Progress
from ssltut.methods.matching import vote
from ssltut.methods.matching.primitives import draw_references, place_vectors, surface_shell
from ssltut.methods.matching.vote import Voters
from ssltut.methods.parts.memory import ReferenceMemory
from ssltut.methods.registry import make_method
from ssltut.methods.uncertainty import MCResult, quantile_threshold, regional_mean
from ssltut.nets.base import Out
from ssltut.training.loop import train
from ssltut.training.networks import build_nets


def assigned(method, nets, batch):
    """What ``method`` assigns, with the same dropout each time."""
    torch.manual_seed(0)
    with torch.no_grad():
        outs = {"student": NetOutput(nets["student"](batch.x_u), 0)} | method.teach(batch, nets)
        return method.assign(batch, nets, outs, Progress(50, 100))


def test_the_gate_lets_only_clear_votes_through():
    method = make_method("neighbour_vote", {"threshold": 0.5})
    found = assigned(method, build_nets(method, SMALL, 3), make_batch())
    clear = found.scores.max(1).values > 0.85
    assert found.unreliable.float().mean().item() == pytest.approx(0.5, abs=0.01)
    assert torch.equal(found.trusted[found.unreliable], clear)
    assert not found.trusted[~found.unreliable].any()
    assert torch.equal(found.match[found.unreliable], found.scores.argmax(1))


def test_terms_are_means_over_all_voxels():
    method, batch = make_method("neighbour_vote", {"sigma_student": 0.0}), make_batch()
    nets = build_nets(method, replace(SMALL, dropout=0.0), 3)
    terms = method.losses(batch, nets, Progress(100, 100))
    out = method.forward(batch, nets, Progress(100, 100))
    found = method.assign(batch, nets, out, Progress(100, 100))
    logits = out["student"].unlabelled.logits
    ce = F.cross_entropy(logits, found.match, reduction="none")[found.trusted].sum()
    assert terms["match"].value.item() == pytest.approx(ce.item() / found.match.numel(), rel=1e-4)
    ce = F.cross_entropy(logits, found.teacher, reduction="none")[~found.unreliable].sum()
    assert terms["reliable"].value.item() == pytest.approx(
        ce.item() / found.match.numel(), rel=1e-4
    )
    for term in terms.values():
        assert taught(term.value, nets) == {"student"}
    for step in (30, 50, 100):
        weights = {k: t.weight for k, t in method.losses(batch, nets, Progress(step, 100)).items()}
        heights = {"supervised": 1.0, "reliable": 0.25 * rise(step / 100)}
        assert weights == pytest.approx(heights | {"match": 0.125 * rise(step / 100)})


def test_surface_references_are_of_the_surface_and_interior_ones_of_anywhere(monkeypatch):
    method, batch, asked = make_method("neighbour_vote"), make_batch(size=16), []

    def draw(label, region, n_classes, *, k, redraws, generator):
        asked.append((region, k, redraws))
        return draw_references(label, region, n_classes, k=k, redraws=redraws, generator=generator)

    monkeypatch.setattr(vote.primitives, "draw_references", draw)
    method.references(batch, build_nets(method, SMALL, 3))
    (shell, *surface), (anywhere, *interior) = asked
    assert torch.equal(shell, surface_shell(batch.y_l, 2))
    assert anywhere.all()
    assert not shell.all()
    assert (surface, interior) == ([120, 5], [400, 1])


def test_remembered_references_vote_beside_those_of_the_batch():
    method, batch = make_method("neighbour_vote", {"memory": 9}), make_batch()
    here = Voters(torch.tensor([[1.0, 0.0]] * 9 + [[0.0, 1.0]]), torch.tensor([0] * 9 + [1]))
    nets, query = {"memory": ReferenceMemory(3, 9, 2)}, torch.tensor([[0.6, 0.8]])
    assert method.vote(batch, nets, here, query).argmax().item() == 0
    nets["memory"].store(query.repeat(9, 1), torch.full((9,), 2))
    assert method.vote(batch, nets, here, query)[0].tolist() == [0.0, 0.0, 1.0]


def test_looking_at_the_terms_fills_no_memory_and_an_update_does():
    method, batch = make_method("region_vote"), make_batch()
    nets, progress = build_nets(method, SMALL, 3), Progress(50, 100)
    method.losses(batch, nets, progress)
    assert nets["memory"].filled.tolist() == [0, 0, 0]
    outs = method.forward(batch, nets, progress)
    method.update(batch, nets, outs, progress)
    assert nets["memory"].filled.tolist() == [300, 300, 300]
    vectors, labels = outs["references"]
    assert torch.equal(nets["memory"].vectors[1, 0], vectors[labels == 1][-300])


def test_both_maps_count_alike_whatever_their_length():
    method = make_method("neighbour_vote", {"by": "looks"})
    out = build_nets(method, SMALL, 3)["student"].eval()(make_batch().x_u)
    deep = F.interpolate(out.feats["bottleneck"], (8, 8, 8), mode="trilinear")
    maps = [m.movedim(1, -1).flatten(0, -2) for m in (out.feats["embedding"], deep)]
    vectors = method.vectors(out)
    cosines = [F.cosine_similarity(m[0], m[700], dim=0) for m in maps]
    both = F.cosine_similarity(vectors[0], vectors[700], dim=0)
    assert both.item() == pytest.approx((sum(cosines) / 2).item(), abs=1e-6)


@pytest.mark.parametrize("by", ["embedding", "looks", "place", "both"])
def test_a_memory_is_as_wide_as_what_is_compared(by, tmp_path):
    method = make_method("neighbour_vote", {"memory": 8, "by": by})
    batch = make_batch()
    run = train(method, toy_cohort(), SMALL, tmp_path / "r", log=lambda line: None)
    memory = run.nets["memory"]
    assert memory.filled.gt(0).all()
    vectors = run.method.vectors(run.nets["student"](batch.x_u), batch.locations_u)
    assert memory.vectors.shape[2] == vectors.shape[1]


def test_maps_and_place_add_up_in_the_cosine():
    plain, placed, alone = (
        make_method("region_vote", {"by": by, "place": 5.0}) for by in ("looks", "both", "place")
    )
    batch = make_batch()
    out = build_nets(plain, SMALL, 3)["student"].eval()(batch.x_u)
    looks, both = plain.vectors(out), placed.vectors(out, batch.locations_u)
    where = place_vectors(batch.locations_u, (8, 8, 8))
    cosine = [F.cosine_similarity(v[3], v[900], dim=0).item() for v in (looks, both, where)]
    assert cosine[1] == pytest.approx((2 * cosine[0] + 5.0 * cosine[2]) / 7.0, abs=1e-6)
    assert torch.allclose(alone.vectors(out, batch.locations_u), 5.0**0.5 * where)
    assert make_method("vote_beside").place == 100.0


@pytest.mark.parametrize(("by", "width"), [("both", 18), ("place", 6)])
def test_of_voxels_that_look_alike_the_place_decides(by, width):
    options = {"by": by, "memory": 8}
    method, batch = make_method("region_vote", options), make_batch(n_classes=2)
    places = (
        PatchLocation("a", "left", (0.5, 0.5, 0.25), (1.0, 1.0, 0.5)),
        PatchLocation("b", "left", (0.5, 0.5, 0.75), (1.0, 1.0, 0.5)),
    )
    feats = {"embedding": torch.ones(2, 4, 8, 8, 8), "bottleneck": torch.ones(2, 8, 2, 2, 2)}
    looks_alike = Out(torch.zeros(2, 2, 8, 8, 8), feats, {})
    labels = torch.arange(2).repeat_interleave(512)  # the first patch is class 0, the second 1
    references = Voters(method.vectors(looks_alike, places), labels)
    query = method.vectors(looks_alike, places[::-1])
    nets = {"memory": ReferenceMemory(2, 8, width)}
    votes = method.vote(batch, nets, references, query).view(2, 8, 8, 8, 2)
    assert votes[0, ..., 1:, 1].mean() > 0.95
    assert votes[1, ..., :-1, 0].mean() > 0.95


def test_a_region_is_the_mean_of_the_cube_around_a_voxel_as_far_as_it_lies_in_the_patch():
    map_ = torch.zeros(1, 4, 4, 4)
    map_[0, 1, 1, 1] = 1.0
    means = regional_mean(map_, 3)
    assert means[0, 1, 1, 1].item() == means[0, 2, 2, 2].item() == pytest.approx(1 / 27)
    assert means[0, 3, 1, 1] == 0
    assert means[0, 0, 0, 0].item() == pytest.approx(1 / 8)
    assert means[0, 0, 1, 1].item() == pytest.approx(1 / 18)
    assert regional_mean(map_, 1) is map_
    thin = regional_mean(map_[..., 1:2], 7)  # a slice, narrower than the cube
    assert thin[0, 3, 1, 0].item() == pytest.approx(1 / 16)


def test_a_thin_border_stays_below_the_floor_that_a_block_of_the_same_uncertainty_reaches():
    border, block = torch.zeros(2, 1, 16, 16, 16)
    border[:, 8], block[:, 4:12, 4:12, 4:12] = 0.5, 0.5
    assert regional_mean(border, 7).max() < 0.18 * log(3) < regional_mean(block, 7).max()


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("floor", [0.0, 0.18, 0.5, 0.999])
def test_unreliable_are_the_most_uncertain_as_far_as_they_reach_the_floor(n_classes, floor):
    method = make_method("region_vote", {"floor": floor})
    uncertainty = torch.rand(2, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    passes = MCResult(torch.full((2, n_classes, 8, 8, 8), 1.0), uncertainty, uncertainty.flip(1))
    means, unreliable = method.unreliable(passes)
    assert torch.equal(means, regional_mean(uncertainty, 7))
    top = quantile_threshold(means, 0.1)
    assert torch.equal(unreliable, (means >= top) & (means >= floor * log(n_classes)))
    assert unreliable.any() == (floor < 0.9)


def test_with_too_few_references_nothing_is_matched():
    method, batch = make_method("neighbour_vote"), make_batch()
    few = Voters(torch.rand(8, 4), torch.arange(8) % 2)
    assert method.vote(batch, {}, few, torch.rand(5, 4)) is None
    one_class = Voters(torch.rand(20, 4), torch.zeros(20, dtype=torch.int64))
    assert method.vote(batch, {}, one_class, torch.rand(5, 4)) is None
    enough = Voters(torch.rand(9, 4), torch.arange(9) % 2)
    assert method.vote(batch, {}, enough, torch.rand(5, 4)).shape == (5, 3)
