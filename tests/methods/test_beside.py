"""The vote beside a host: the host throughout, the vote from its start, where a scan stands out."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F
from toy import SMALL, make_batch, toy_cohort

from ssltut.methods import uncertainty
from ssltut.methods.contract import Plan, Progress
from ssltut.methods.registry import make_method
from ssltut.methods.uncertainty import MCResult
from ssltut.training.networks import build_nets
from ssltut.training.steps import open_run

DEFAULT = Plan(2, 2)


def give_passes(monkeypatch, entropy):
    """A teacher whose passes have this entropy (2, 8, 8, 8), and no class it prefers."""
    passes = MCResult(torch.full((2, 3, 8, 8, 8), 1 / 3), entropy, entropy)
    monkeypatch.setattr(uncertainty, "mc_dropout", lambda *args: passes)


@pytest.fixture
def known_passes(monkeypatch):
    """A teacher that is unsure in a corner of the first patch and, less, of the second."""
    entropy = torch.zeros(2, 8, 8, 8)
    entropy[0, :6, :6, :6], entropy[1, :2] = 1.0, 1.0
    give_passes(monkeypatch, entropy)


def values(method, nets, batch, progress):
    torch.manual_seed(0)  # the same dropout of the student
    terms = method.losses(batch, nets, progress)
    return {name: (pytest.approx(t.value.item()), t.weight) for name, t in terms.items()}


def test_it_is_ua_mt_throughout_and_from_its_start_on_the_vote_beside_it(known_passes):
    batch, options = make_batch(), {"start": 0.5, "scans": 0.0, "region": 1}
    vote, host = make_method("vote_beside", options), make_method("ua_mt")
    nets = build_nets(vote, SMALL, 3)
    for step in (10, 49):
        at_host = values(host, nets, batch, Progress(step, 50))
        assert values(vote, nets, batch, Progress(step, 100)) == at_host
    height = values(host, nets, batch, Progress(50, 50))
    assert height["consistency"][1] == 0.2
    alone = make_method("region_vote", {"region": 1, "by": "both", "k": 20, "interior": 200})
    found = values(alone, build_nets(vote, SMALL, 3), batch, Progress(100, 100))
    for step in (50, 99):
        seen = values(vote, nets, batch, Progress(step, 100))
        assert seen == height | {"match": (found["match"][0], 10.0)}


def test_medl_is_left_as_it_is_and_the_match_teaches_both_its_networks(known_passes):
    batch = make_batch()
    options = {"host": "medl", "start": 0.5, "scans": 0.0, "region": 1, "sigma_student": 0.0}
    vote, medl = make_method("vote_beside", options), make_method("medl", {"sigma_student": 0.0})
    nets = build_nets(vote, replace(SMALL, dropout=0.0), 3)
    for step in (49, 50, 99):
        alone = values(medl, nets, batch, Progress(step, 100))
        beside = values(vote, nets, batch, Progress(step, 100))
        assert {name: beside[name] for name in alone} == alone
        assert set(beside) - set(alone) == ({"match"} if step >= 50 else set())
    progress = Progress(99, 100)
    outs = vote.forward(batch, nets, progress)
    found = vote.assign(batch, nets, outs, progress)
    assert found.trusted.any()
    expected = 0.0
    for role in ("student", "second"):
        ce = F.cross_entropy(outs[role].unlabelled.logits, found.match, reduction="none")
        expected += ce[found.trusted].sum().item() / found.trusted.numel()
    match = vote.terms(batch, nets, outs, progress)["match"]
    assert match.value.item() == pytest.approx(expected, rel=1e-4)
    match.value.backward()
    assert all(nets[role].classifier.weight.grad is not None for role in ("student", "second"))
    assert nets["teacher"].classifier.weight.grad is None


def test_both_networks_of_medl_predict():
    vote, batch = make_method("vote_beside", {"host": "medl"}), make_batch()
    nets = build_nets(vote, replace(SMALL, dropout=0.0), 3)
    assert torch.equal(vote.predict(nets, batch.x_u), make_method("medl").predict(nets, batch.x_u))


@pytest.mark.parametrize("share", [0.0, 8 / 512, 9 / 512, 0.2])
def test_only_a_patch_with_its_share_of_unreliable_voxels_is_matched(monkeypatch, share):
    method = make_method("vote_beside", {"region": 1, "share": share, "scans": 0.0})
    nets, batch, progress = build_nets(method, SMALL, 3), make_batch(), Progress(90, 100)
    entropy = torch.zeros(2, 8, 8, 8)
    entropy[0, :2, :2, :2] = 1.0  # 8 of 512 voxels
    entropy[1, :4, :4, :4] = 1.0  # 64
    give_passes(monkeypatch, entropy)
    found = method.assign(batch, nets, method.forward(batch, nets, progress), progress)
    expected = [n if n / 512 >= share else 0 for n in (8, 64)]
    assert found.unreliable.sum((1, 2, 3)).tolist() == expected


def test_only_scans_that_stand_out_from_the_others_are_matched(monkeypatch):
    method, batch = make_method("vote_beside", {"region": 1}), make_batch()
    nets, progress = build_nets(method, SMALL, 3), Progress(90, 100)

    def matched(ids, shares, method=method):
        """Looks, and then updates the table of shares."""
        entropy = torch.zeros(2, 512)
        for row, share in zip(entropy, shares, strict=True):
            row[: round(share * 512)] = 1.0
        give_passes(monkeypatch, entropy.view(2, 8, 8, 8))
        now = replace(batch, ids_u=ids)
        outs = method.forward(now, nets, progress)
        _, unreliable = method.unreliable(outs["passes"])
        before = nets["scores"].scores.clone()
        which = method.matched_patches(now, nets, unreliable.float().mean((1, 2, 3)))
        assert torch.equal(nets["scores"].scores, before)  # looking changes nothing
        method.update(now, nets, outs, progress)
        return which.tolist()

    monkeypatch.setattr(
        type(method), "unreliable", lambda self, passes: (None, passes.mean_of_entropies > 0)
    )
    a, b = 51 / 512, 10 / 512
    assert matched(("a", "b"), [a, b]) == [True, False]  # the lower median is b's
    assert matched(("a", "c"), [b, 31 / 512]) == [False, False]  # the median is c's
    assert nets["scores"].recall("a") == pytest.approx(0.9 * a + 0.1 * b)
    assert matched(("b", "a"), [0.0, 0.5]) == [False, True]
    assert matched(("a", "a"), [0.03, 0.3]) == [False, True]  # a patch needs its own share too
    every_scan = make_method("vote_beside", {"scans": 0.0, "region": 1})
    assert matched(("b", "c"), [0.05, 0.03], every_scan) == [True, False]


@pytest.mark.parametrize(
    ("options", "step", "rates"),
    [
        ({}, 79, {}),
        ({}, 80, {"student": 0.25}),
        ({"host": "medl"}, 80, {"student": 0.25, "second": 0.25}),
        ({"rate": 0.5}, 99, {"student": 0.5}),
        ({"slow": 1.0}, 99, {}),
    ],
)
def test_it_ends_at_a_share_of_the_rate(options, step, rates):
    plan = make_method("vote_beside", options).plan(Progress(step, 100), DEFAULT)
    assert plan == Plan(2, 2, rates)


@pytest.mark.parametrize(("step", "decay"), [(0, 0.0), (9, 0.9), (98, 0.98989899), (500, 0.99)])
def test_the_teacher_of_both_hosts_warms_up(step, decay):
    for host in ("ua_mt", "medl"):
        method = make_method("vote_beside", {"host": host})
        assert method.decay_at(Progress(step, 1000)) == pytest.approx(decay)


def test_without_weights_the_rate_stays_that_of_labels_only(tmp_path):
    config = replace(SMALL, steps=100)
    for weight, rates in ((0.0, {}), (1.0, {"student": 0.25})):
        method = make_method("vote_beside", {"weight": weight, "w_ps": 0.0})
        training = open_run(method, toy_cohort(), config, tmp_path / str(weight))
        assert training.plan(99) == Plan(2, 2, rates)


@pytest.mark.parametrize("host", ["ua_mt", "medl"])
def test_without_weights_of_the_host_the_vote_still_teaches(host):
    method, batch = make_method("vote_beside", {"host": host, "weight": 0.0}), make_batch()
    nets = build_nets(method, SMALL, 3)
    terms = method.losses(batch, nets, Progress(90, 100))
    assert "match" in terms
    assert method.losses(batch, nets, Progress(10, 100)).keys() < terms.keys()


@pytest.mark.parametrize(
    ("options", "title"),
    [
        ({}, "vote by looks and place beside UA-MT"),
        ({"by": "place", "host": "medl"}, "vote by place beside MEDL"),
        ({"by": "looks"}, "vote by looks beside UA-MT"),
    ],
)
def test_the_title_says_by_what_it_votes_and_beside_whom(options, title):
    assert make_method("vote_beside", options).title == title


@pytest.mark.parametrize("by", ["looks", "place", "both"])
def test_the_host_is_the_same_whatever_the_vote_goes_by(by, known_passes):
    batch, progress = make_batch(), Progress(90, 100)
    options = {"scans": 0.0, "region": 1, "by": by}
    vote = make_method("vote_beside", options)
    nets = build_nets(vote, SMALL, 3)
    found = values(vote, nets, batch, progress)
    host = values(make_method("ua_mt"), nets, batch, Progress(60, 60))
    assert {name: found[name] for name in host} == host
    alone = make_method("region_vote", {"region": 1, "by": by, "k": 20, "interior": 200})
    match = values(alone, build_nets(vote, SMALL, 3), batch, Progress(100, 100))["match"]
    assert found["match"] == (match[0], 10.0)
