"""The options of embedding matching that the paper does not have, each against what it says it
does.
"""

from dataclasses import replace
from math import log

import pytest
import torch
from torch.nn import functional as F
from toy import SMALL, make_batch, toy_cohort

from ssltut.data.batch import PatchLocation
from ssltut.errors import ConfigError
from ssltut.methods.classic import ua_mt
from ssltut.methods.contract import Progress
from ssltut.methods.matching import embedding_matching
from ssltut.methods.matching.primitives import draw_references, place_vectors
from ssltut.methods.parts.memory import ReferenceMemory
from ssltut.methods.registry import make_method
from ssltut.methods.schedules import ramp
from ssltut.methods.uncertainty import MCResult, quantile_threshold, regional_mean
from ssltut.nets.base import Out
from ssltut.training.loop import train
from ssltut.training.networks import build_nets


@pytest.mark.parametrize(("rampup", "rise"), [(1.0, ramp(0.3)), (0.3, 1.0), (0.6, ramp(0.5))])
def test_the_weights_stand_at_their_height_after_the_rampup(rampup, rise):
    method = make_method("embedding_matching", {"rampup": rampup})
    terms = method.losses(make_batch(), build_nets(method, SMALL, 3), Progress(30, 100))
    assert (terms["reliable"].weight, terms["match"].weight) == (
        pytest.approx(0.25 * rise),
        pytest.approx(0.125 * rise),
    )


@pytest.mark.parametrize("layer", ["embedding", "half", "bottleneck"])
def test_a_coarser_map_is_matched_at_full_resolution(layer):
    method = make_method("embedding_matching", {"layer": layer})
    nets, batch = build_nets(method, SMALL, 3), make_batch()
    with torch.no_grad():
        out = nets["teacher"](batch.x_u)
        vectors = method.vectors(out)
        wanted = (
            F.interpolate(out.feats[layer], batch.x_u.shape[2:], mode="trilinear")
            if layer != "embedding"
            else out.feats[layer]
        )
    assert torch.equal(vectors.view(2, 8, 8, 8, -1)[1, 3, 4, 5], wanted[1, :, 3, 4, 5])
    terms = method.losses(batch, nets, Progress(50, 100))
    terms["entropy"].value.backward()
    assert all(torch.isfinite(term.value) for term in terms.values())


def test_both_maps_count_alike_whatever_their_length():
    method = make_method("neighbour_vote", {"layer": "both"})
    out = build_nets(method, SMALL, 3)["student"].eval()(make_batch().x_u)
    fine, deep = (
        out.feats["embedding"],
        F.interpolate(out.feats["bottleneck"], (8, 8, 8), mode="trilinear"),
    )
    fine, deep = (found.movedim(1, -1).flatten(0, -2) for found in (fine, deep))
    vectors = method.vectors(out)
    cosine = [F.cosine_similarity(found[0], found[700], dim=0) for found in (fine, deep)]
    assert F.cosine_similarity(vectors[0], vectors[700], dim=0).item() == pytest.approx(
        (sum(cosine) / 2).item(), abs=1e-6
    )


@pytest.mark.parametrize("place", [0.0, 5.0])
@pytest.mark.parametrize("layer", ["embedding", "half", "bottleneck", "both"])
def test_a_memory_is_as_wide_as_what_is_matched(layer, place, tmp_path):
    method, batch = (
        make_method("neighbour_vote", {"memory": 8, "layer": layer, "place": place}),
        make_batch(),
    )
    run = train(method, toy_cohort(), SMALL, tmp_path / "r", log=lambda s: None)
    filled, dim = run.nets["memory"].filled, run.nets["memory"].vectors.shape[2]
    assert filled.gt(0).all()
    assert dim == run.method.vectors(run.nets["student"](batch.x_u), batch.locations_u).shape[1]


@pytest.mark.parametrize(("layer", "maps"), [("bottleneck", 1), ("both", 2)])
def test_maps_and_place_add_up_in_the_cosine(layer, maps):
    plain, placed = (
        make_method("region_vote", {"layer": layer}),
        make_method("region_vote", {"layer": layer, "place": 5.0}),
    )
    batch = make_batch()
    out = build_nets(plain, SMALL, 3)["student"].eval()(batch.x_u)
    looks, both, where = (
        plain.vectors(out),
        placed.vectors(out, batch.locations_u),
        place_vectors(batch.locations_u, (8, 8, 8)),
    )
    cosine = [F.cosine_similarity(v[3], v[900], dim=0).item() for v in (looks, both, where)]
    assert cosine[1] == pytest.approx((maps * cosine[0] + 5.0 * cosine[2]) / (maps + 5.0), abs=1e-6)


def test_of_voxels_that_look_alike_the_place_decides():
    method, batch = make_method("place_vote"), make_batch(n_classes=2)
    places = (
        PatchLocation("a", "left", (0.5, 0.5, 0.25), (1.0, 1.0, 0.5)),
        PatchLocation("b", "left", (0.5, 0.5, 0.75), (1.0, 1.0, 0.5)),
    )
    batch = replace(
        batch,
        y_l=torch.arange(2).view(2, 1, 1, 1).expand(2, 8, 8, 8).contiguous(),
        locations_l=places,
        locations_u=places[::-1],
    )
    feats = {"embedding": torch.ones(2, 4, 8, 8, 8), "bottleneck": torch.ones(2, 8, 2, 2, 2)}
    looks_alike = Out(torch.zeros(2, 2, 8, 8, 8), feats, {})
    surface = draw_references(
        batch.y_l,
        torch.ones_like(batch.y_l, dtype=torch.bool),
        2,
        k=300,
        redraws=1,
        generator=torch.Generator().manual_seed(0),
    )
    nets, query = (
        {"memory": ReferenceMemory(2, 8, 18)},
        method.vectors(looks_alike, batch.locations_u),
    )
    votes = method.vote(
        batch, nets, method.vectors(looks_alike, batch.locations_l), surface, query
    ).view(2, 8, 8, 8, 2)
    assert votes[0, ..., 1:, 1].mean() > 0.95
    assert votes[1, ..., :-1, 0].mean() > 0.95


@pytest.mark.parametrize("gate", [0.0, 0.85])
def test_a_voxel_without_a_mutual_neighbour_keeps_the_label_of_the_teacher_and_is_not_taught(gate):
    method = make_method(
        "neighbour_vote", {"threshold": 0.5, "mutual": True, "gate": gate, "neighbours": 3}
    )
    nets, batch = build_nets(method, SMALL, 3), make_batch()
    with torch.no_grad():
        found = method.assign(
            batch, nets, Progress(50, 100), method.vectors(nets["student"](batch.x_u))
        )
    share = found.scores.max(1).values
    alone = share == 0
    assert 0 < alone.sum() < len(alone)
    assert torch.equal(found.trusted[found.unreliable], (share > 0) & (share > gate))
    assert torch.equal(found.match[found.unreliable][alone], found.teacher[found.unreliable][alone])


def test_a_region_is_the_mean_of_the_cube_around_a_voxel_as_far_as_it_lies_in_the_patch():
    map_ = torch.zeros(1, 4, 4, 4)
    map_[0, 1, 1, 1] = 1.0
    means = regional_mean(map_, 3)
    assert means[0, 1, 1, 1].item() == means[0, 2, 2, 2].item() == pytest.approx(1 / 27)
    assert means[0, 3, 1, 1] == 0
    assert means[0, 0, 0, 0].item() == pytest.approx(1 / 8)
    assert means[0, 0, 1, 1].item() == pytest.approx(1 / 18)
    assert regional_mean(map_, 1) is map_
    assert regional_mean(map_[..., 1:2], 7)[0, 3, 1, 0].item() == pytest.approx(
        1 / 16
    )  # a slice, narrower than the cube


def test_a_thin_border_stays_below_the_floor_that_a_block_of_the_same_uncertainty_reaches():
    border, block = torch.zeros(2, 1, 16, 16, 16)
    border[:, 8], block[:, 4:12, 4:12, 4:12] = 0.5, 0.5
    assert regional_mean(border, 7).max() < 0.18 * log(3) < regional_mean(block, 7).max()


@pytest.mark.parametrize("n_classes", [2, 3])
def test_below_the_floor_nothing_is_unreliable(n_classes):
    nets, batch = build_nets(make_method("region_vote"), SMALL, n_classes), make_batch(n_classes)
    with torch.no_grad():
        vectors = make_method("region_vote").vectors(nets["student"](batch.x_u))
        found = {}
        for floor in (0.0, 0.18, 0.999):
            torch.manual_seed(0)  # the same dropout
            found[floor] = make_method("region_vote", {"floor": floor}).assign(
                batch, nets, Progress(50, 100), vectors
            )
    uncertainty = found[0.18].uncertainty
    top = quantile_threshold(uncertainty, 0.1)
    assert torch.equal(
        found[0.18].unreliable, (uncertainty >= top) & (uncertainty >= 0.18 * log(n_classes))
    )
    assert found[0.18].unreliable.any()
    assert torch.equal(found[0.0].unreliable, uncertainty >= top)
    assert not found[0.999].unreliable.any()


def test_the_first_round_is_ua_mt_and_the_second_the_place_vote_at_its_height():
    late, batch = make_method("late_vote", {"start": 0.5, "rampup": 0.5}), make_batch()
    nets = build_nets(late, SMALL, 3)
    for step, same, at in (
        (10, make_method("ua_mt"), Progress(10, 50)),
        (49, make_method("ua_mt"), Progress(49, 50)),
        (
            50,
            make_method("place_vote", {"share": 0.04, "w_ps": 10.0, "rampup": 0.5}),
            Progress(50, 100),
        ),
    ):
        found = []
        for method, progress in ((late, Progress(step, 100)), (same, at)):
            torch.manual_seed(0)  # the same dropout
            nets["memory"].load_state_dict(build_nets(late, SMALL, 3)["memory"].state_dict())
            found.append(
                {
                    name: (term.value.item(), term.weight)
                    for name, term in method.losses(batch, nets, progress).items()
                }
            )
        assert found[0] == {name: pytest.approx(pair) for name, pair in found[1].items()}


@pytest.mark.parametrize(
    ("options", "step", "rates"),
    [
        ({}, 0, {}),
        ({}, 79, {}),
        ({}, 80, {"student": 0.25}),
        ({"rate": 0.5}, 99, {"student": 0.5}),
        ({"w_ua": 0.0, "w_ps": 0.0}, 99, {}),
    ],
)
def test_the_second_round_learns_at_a_share_of_the_rate(options, step, rates):
    assert make_method("late_vote", options).rates(Progress(step, 100)) == rates


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"start": 0.0}, "start is 0.0"),
        ({"start": 1.0}, "start is 1.0"),
        ({"rate": 0.0}, "rate is 0.0"),
    ],
)
def test_a_late_vote_without_a_first_or_a_second_round_is_refused(options, words):
    with pytest.raises(ConfigError, match=words):
        make_method("late_vote", options)


def give_passes(monkeypatch, entropy):
    """A teacher whose passes have this entropy (2, 8, 8, 8), and no class it prefers."""
    passes = MCResult(torch.full((2, 3, 8, 8, 8), 1 / 3), entropy, entropy)
    for module in (embedding_matching, ua_mt):
        monkeypatch.setattr(module, "mc_dropout", lambda *args: passes)


def test_only_a_patch_with_its_share_of_unreliable_voxels_is_matched(monkeypatch):
    nets, batch = build_nets(make_method("late_vote"), SMALL, 3), make_batch()
    entropy = torch.zeros(2, 8, 8, 8)
    entropy[0, :2, :2, :2] = 1.0  # 8 of 512 voxels
    entropy[1, :4, :4, :4] = 1.0  # 64
    give_passes(monkeypatch, entropy)
    found = {}
    for share in (0.0, 8 / 512, 9 / 512, 0.2):
        method = make_method("late_vote", {"region": 1, "share": share})
        vectors = method.vectors(nets["student"](batch.x_u), batch.locations_u)
        found[share] = (
            method.assign(batch, nets, Progress(90, 100), vectors)
            .unreliable.sum((1, 2, 3))
            .tolist()
        )
    assert found == {0.0: [8, 64], 8 / 512: [8, 64], 9 / 512: [0, 64], 0.2: [0, 0]}


def forget(nets, method):
    """An empty memory, as at the start."""
    nets["memory"].load_state_dict(build_nets(method, SMALL, 3)["memory"].state_dict())


@pytest.fixture
def known_passes(monkeypatch):
    """Passes of a teacher that is unsure in a corner of the first patch and, less, of the
    second.
    """
    entropy = torch.zeros(2, 8, 8, 8)
    entropy[0, :6, :6, :6], entropy[1, :2] = 1.0, 1.0
    give_passes(monkeypatch, entropy)


def test_a_scan_vote_is_ua_mt_throughout_and_from_its_start_on_the_place_vote_beside_it(
    known_passes,
):
    batch = make_batch()
    vote = make_method("scan_vote", {"start": 0.5, "rampup": 0.5, "scans": 0.0, "region": 1})
    alone = make_method(
        "place_vote", {"share": 0.04, "w_ua": 0.0, "w_ps": vote.w_ps, "rampup": 0.5, "region": 1}
    )
    nets = build_nets(vote, SMALL, 3)

    def terms(method, progress):
        torch.manual_seed(0)  # the same dropout of the student
        forget(nets, vote)
        return {
            name: (pytest.approx(term.value.item()), term.weight)
            for name, term in method.losses(batch, nets, progress).items()
        }

    for step in (10, 49):
        assert terms(vote, Progress(step, 100)) == terms(make_method("ua_mt"), Progress(step, 50))
    height = terms(make_method("ua_mt"), Progress(50, 50))
    for step in (50, 99):
        assert terms(vote, Progress(step, 100)) == height | {
            "match": terms(alone, Progress(step, 100))["match"]
        }
    assert height["consistency"][1] == 0.1


def test_only_scans_that_stand_out_from_the_others_are_matched():
    method, batch = make_method("scan_vote"), make_batch()
    nets = build_nets(method, SMALL, 3)

    def asked(ids, shares, method=method):
        return method.asked(replace(batch, ids_u=ids), nets, torch.tensor(shares)).tolist()

    assert asked(("a", "b"), [0.10, 0.02]) == [True, False]  # the lower median is 0.02
    assert asked(("a", "c"), [0.02, 0.06]) == [False, False]  # a 0.092, b 0.02, c 0.06, median 0.06
    assert nets["scores"].recall("a") == pytest.approx(0.9 * 0.10 + 0.1 * 0.02)
    assert asked(("b", "a"), [0.0, 0.5]) == [False, True]  # a 0.1328, b 0.018, c 0.06
    assert asked(("a", "a"), [0.03, 0.3]) == [
        False,
        True,
    ]  # 0.1403; a patch needs its own share too
    assert asked(("b", "c"), [0.05, 0.03], make_method("scan_vote", {"scans": 0.0})) == [
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("options", "step", "rates"),
    [
        ({}, 79, {}),
        ({}, 80, {"student": 0.25}),
        ({"slow": 1.0}, 99, {}),
        ({"weight": 0.0, "w_ps": 0.0}, 99, {}),
    ],
)
def test_a_scan_vote_ends_at_a_share_of_the_rate(options, step, rates):
    assert make_method("scan_vote", options).rates(Progress(step, 100)) == rates


def test_an_evidential_vote_is_medl_throughout_and_from_its_start_on_the_match_teaches_both_networks(
    known_passes,
):
    batch = make_batch()
    vote = make_method(
        "evidential_vote",
        {"start": 0.5, "rampup": 0.5, "scans": 0.0, "region": 1, "sigma_student": 0.0},
    )
    medl = make_method("medl", {"sigma_student": 0.0})
    nets = build_nets(vote, replace(SMALL, dropout=0.0), 3)
    for step in (49, 50, 99):
        alone, terms = (method.losses(batch, nets, Progress(step, 100)) for method in (medl, vote))
        assert {name: (term.value.item(), term.weight) for name, term in alone.items()} == {
            name: (pytest.approx(terms[name].value.item()), terms[name].weight) for name in alone
        }
        assert set(terms) - set(alone) == ({"match"} if step >= 50 else set())
    outs = [
        nets[role](torch.cat([batch.x_l, batch.x_u])).split(2)[1] for role in ("student", "second")
    ]
    forget(nets, vote)
    found = vote.assign(batch, nets, Progress(99, 100), vote.vectors(outs[0], batch.locations_u))
    expected = [
        F.cross_entropy(out.logits, found.match, reduction="none")[found.trusted].sum()
        / found.trusted.numel()
        for out in outs
    ]
    forget(nets, vote)
    match = vote.losses(batch, nets, Progress(99, 100))["match"]
    assert found.trusted.any()
    assert match.value.item() == pytest.approx(sum(expected).item(), rel=1e-4)
    assert match.weight == 10.0
    match.value.backward()
    assert all(
        net.classifier.weight.grad is not None
        for role, net in nets.items()
        if role in ("student", "second")
    )


def test_both_networks_of_an_evidential_vote_predict_and_both_slow_down():
    vote, batch = make_method("evidential_vote"), make_batch()
    nets = build_nets(vote, replace(SMALL, dropout=0.0), 3)
    assert torch.equal(vote.predict(nets, batch.x_u), make_method("medl").predict(nets, batch.x_u))
    assert vote.rates(Progress(79, 100)) == {}
    assert vote.rates(Progress(80, 100)) == {
        "student": 0.25,
        "second": 0.25,
    }


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"slow": 1.1}, "slow is 1.1"),
        ({"slow": -0.1}, "slow is -0.1"),
        ({"scans": -1.0}, "scans is -1.0"),
    ],
)
def test_wrong_values_of_a_scan_vote_are_refused(options, words):
    with pytest.raises(ConfigError, match=words):
        make_method("scan_vote", options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"region": 4}, "region is 4"),
        ({"region": 0}, "region is 0"),
        ({"floor": -0.1}, "floor is -0.1"),
        ({"floor": 1.0}, "floor is 1.0"),
        ({"share": -0.1}, "share is -0.1"),
        ({"share": 1.0}, "share is 1.0"),
        ({"place": -1.0}, "place is -1.0"),
        ({"rampup": 0.0}, "rampup is 0.0"),
        ({"rampup": 1.5}, "rampup is 1.5"),
        ({"layer": "first"}, "layer is 'first'"),
        ({"mutual": True}, "kernel='vote'"),
    ],
)
def test_wrong_values_are_refused(options, words):
    with pytest.raises(ConfigError, match=words):
        make_method("embedding_matching", options)
