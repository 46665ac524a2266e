"""Self-paced contrast: weights in closed form, pairs by hand, meta-labels, the two stages."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from golden import in_float64
from teaching import gradients_of, taught
from toy import SMALL, make_batch, toy_cohort

from ssltut.data.batch import PatchLocation
from ssltut.data.case import Case
from ssltut.data.patches import Intensity, PatchPool
from ssltut.errors import ConfigError
from ssltut.methods.contract import Plan, Progress
from ssltut.methods.further.self_paced import META, meta_label, pair_losses, self_paced_weights
from ssltut.methods.registry import make_method
from ssltut.seeding import generator_for
from ssltut.training.batches import draw_batch
from ssltut.training.loop import train
from ssltut.training.networks import build_nets

LATER, FIRST = Progress(50, 100), Progress(25, 100)


def on_points(batch):
    """Patches without extent: the centre alone is their place."""
    places = [
        tuple(p._replace(extent=(0.0, 0.0, 0.0)) for p in part)
        for part in (batch.locations_l, batch.locations_u)
    ]
    return replace(batch, locations_l=places[0], locations_u=places[1])


@pytest.mark.parametrize(
    ("kind", "regulariser"),
    [("hard", lambda w, age: -age * w), ("linear", lambda w, age: age * (w.square() / 2 - w))],
)
@pytest.mark.parametrize("age", [0.5, 2.0, 60.0])
def test_the_weights_minimise_the_regularised_loss(kind, regulariser, age):
    losses = torch.tensor([0.0, 0.3, 1.0, 1.9, 7.0]).double()
    grid = torch.linspace(0, 1, 10001).double()
    found = self_paced_weights(losses, age, kind)
    best = grid[(grid * losses[:, None] + regulariser(grid, age)).argmin(1)]
    assert torch.allclose(found, best, atol=2e-4)


def test_weights_by_hand_carry_no_gradient():
    losses = torch.tensor([0.0, 1.0, 2.0, 3.0], requires_grad=True)
    assert self_paced_weights(losses, 2.0, "linear").tolist() == [1.0, 0.5, 0.0, 0.0]
    assert self_paced_weights(losses, 2.0, "hard").tolist() == [1.0, 1.0, 1.0, 0.0]
    assert not self_paced_weights(losses, 2.0, "hard").requires_grad


def test_pair_losses_by_hand():
    z = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]]).double()
    found = pair_losses(z, 0.5)
    e = [math.exp(v / 0.5) for v in (0.0, 0.6, 0.8)]  # z0 z1, z0 z2, z1 z2
    assert found[0, 1].item() == pytest.approx(-math.log(e[0] / (e[0] + e[1])))
    assert found[2, 1].item() == pytest.approx(-math.log(e[2] / (e[1] + e[2])))
    assert torch.isinf(found.diagonal()).all()


def test_meta_labels_come_from_the_geometry():
    batch = on_points(make_batch())  # a left .2, b right .7, c left .7, a right .3
    assert meta_label("patient", batch, 8).tolist() == [0, 1, 2, 0]
    assert meta_label("side", batch, 8).tolist() == [0, 1, 0, 1]
    assert meta_label("position", batch, 8).tolist() == [1, 5, 5, 2]
    assert meta_label("position", batch, 3).tolist() == [0, 2, 2, 0]


@pytest.mark.parametrize(
    ("centre", "extent", "level"),
    [(0.25, 0.5, 0), (0.31, 0.5, 0), (0.32, 0.5, 1), (0.5, 0.5, 4), (0.75, 0.5, 7), (0.5, 1.0, 0)],
)
def test_the_levels_are_parts_of_the_heights_that_a_scan_allows(centre, extent, level):
    location = PatchLocation("a", "left", (0.0, 0.0, centre), (0.2, 0.2, extent))
    assert location.level(8) == level


@pytest.mark.parametrize(("height", "patch"), [(48, 24), (45, 24), (13, 8), (9, 8), (8, 8)])
def test_a_scan_gives_a_patch_of_every_level(height, patch):
    """Where a scan has fewer heights than levels, one as near as can be."""
    image = torch.zeros(12, 12, height).numpy()
    image[0, 0, 0] = 1.0
    cases = [Case(name, name, image, None, np.eye(4)) for name in "abc"]
    pool = PatchPool(cases, Intensity(0.0, 1.0), (4, 4, patch), "cpu")
    drawn = pool.sample(16, generator_for("cpu", 1), bins=8)
    assert drawn.ids == (*[drawn.ids[0]] * 8, *[drawn.ids[8]] * 8)
    levels = [place.level(8) for place in drawn.locations]
    room = height - patch
    if room >= 7:
        assert levels == [*range(8), *range(8)]
    else:
        found = [round((p.centre[2] - p.extent[2] / 2) * height) for p in drawn.locations[:8]]
        assert found == [min(-(-room * k // 8), room) for k in range(8)]


def test_all_heights_of_a_level_are_drawn():
    case = Case("a", "a", np.arange(48.0)[None, None].repeat(4, 0).repeat(4, 1), None, np.eye(4))
    pool = PatchPool([case], Intensity(0.0, 1.0), (4, 4, 24), "cpu")
    drawn = pool.sample(800, generator_for("cpu", 1), bins=8).locations
    heights = {k: {round(p.centre[2] * 48 - 12) for p in drawn[k::8]} for k in range(8)}
    assert heights == {k: {3 * k, 3 * k + 1, 3 * k + 2} for k in range(7)} | {7: {21, 22, 23, 24}}


def by_hand(method, nets, batch, ages):
    """Every L_k and its mean weight, pair by pair; the weights are fixed."""
    x = torch.cat([batch.x_l, batch.x_u, method.second_view(batch)])
    pooled, found = nets["student"](x).feats["bottleneck"].mean((2, 3, 4)), {}
    for kind, age in ages.items():
        z = nets["projector"][kind](pooled)
        z = z / z.norm(dim=1, keepdim=True)
        label = meta_label(kind, batch, 8).tolist() * 2
        rows, all_weights = [], []
        for i in range(8):
            others = [a for a in range(8) if a != i]
            bottom = torch.stack([(z[i] @ z[a] / 0.07).exp() for a in others]).sum()
            positives = [j for j in others if label[j] == label[i]]
            losses = [-((z[i] @ z[j] / 0.07).exp() / bottom).log() for j in positives]
            if method.weights == "linear":
                weights = [max(0.0, 1 - loss.item() / age) for loss in losses]
            else:
                weights = [float(loss.item() <= age) for loss in losses]
            products = [w * loss for w, loss in zip(weights, losses, strict=True)]
            rows.append(torch.stack(products).mean())
            all_weights += weights
        mean = sum(all_weights) / len(all_weights)
        found[kind] = torch.stack(rows).mean() / (mean if method.correct else 1.0), mean
    return found


AGES = {"position": (5.0, 60.0), "patient": (3.5, 50.0), "side": (2.0, 50.0)}


@pytest.mark.parametrize("correct", [False, True])
@pytest.mark.parametrize("weights", ["linear", "hard"])
def test_values_and_gradients_with_batch_norm_and_dropout(weights, correct):
    """The weights, and their mean, are fixed; the encoder and the projections learn."""
    options = {"sigma_student": 0.0, "weights": weights, "correct": correct, "weight": 0.5}
    with in_float64():
        method, batch = make_method("self_paced", options), on_points(make_batch())
        nets = build_nets(method, replace(SMALL, norm="batch", dropout=0.15), 3)
        at = Progress(1, 300)
        ages = {k: lo + (hi - lo) * math.sqrt(0.01) for k, (lo, hi) in AGES.items()}
        torch.manual_seed(0)
        terms = method.losses(batch, nets, at)
        torch.manual_seed(0)
        expected = by_hand(method, nets, batch, ages)
        assert terms.keys() == expected.keys()
        for kind, (value, share) in expected.items():
            assert terms[kind].value.item() == pytest.approx(value.item(), rel=1e-6)
            assert terms[kind].weight == pytest.approx(0.5 * META[kind][0])
            assert terms[kind].share == pytest.approx(share)
            theirs = gradients_of(value, nets)
            for name, gradient in gradients_of(terms[kind].value, nets).items():
                torch.testing.assert_close(gradient, theirs[name], rtol=1e-4, atol=1e-9)
        assert (terms["patient"].share < 1.0) == (weights == "linear")


@pytest.mark.parametrize(("joint", "end"), [(False, 100), (True, 300)])
@pytest.mark.parametrize("kind", AGES)
def test_the_age_grows_with_the_root_of_pre_training(kind, joint, end):
    """Joined with the labels, of the whole run."""
    method, (first, last) = make_method("self_paced", {"joint": joint}), AGES[kind]
    for share, done in ((0.0, 0.0), (0.25, 0.5), (1.0, 1.0)):
        age = method.age(kind, Progress(round(share * end), 300))
        assert age == pytest.approx(first + (last - first) * done)
    assert method.age(kind, Progress(300, 300)) == pytest.approx(last)


def test_pre_training_teaches_the_encoder_alone_without_labels():
    method, batch = make_method("self_paced"), make_batch()
    nets = build_nets(method, SMALL, 3)
    terms = method.losses(batch, nets, FIRST)
    assert terms.keys() == META.keys()
    for kind, term in terms.items():
        names = gradients_of(term.value, nets)
        assert all(name.startswith(("student.down", f"projector.{kind}")) for name in names)
        assert taught(term.value, nets) == {"student", "projector"}
    only = make_method("self_paced", {"use": ["side"]})
    assert only.losses(batch, nets, FIRST).keys() == {"side"}


def test_after_pre_training_it_is_labels_only_or_both_are_joined():
    batch = make_batch()
    nets = build_nets(make_method("self_paced"), SMALL, 3)
    for joint in (False, True):
        terms = make_method("self_paced", {"joint": joint}).losses(batch, nets, LATER)
        assert set(terms) == ({"supervised", *META} if joint else {"supervised"})
        assert terms["supervised"].weight == 1.0


@pytest.mark.parametrize(
    ("options", "progress", "plan"),
    [
        ({}, FIRST, Plan(8, 8, bins=8)),
        ({"scans": 5, "bins": 3}, FIRST, Plan(15, 15, bins=3)),
        ({}, Progress(33, 99), Plan(5, 0)),
        ({"joint": True}, LATER, Plan(2, 3)),
    ],
)
def test_the_plans(options, progress, plan):
    """A patch of every level in pre-training; then as many labelled ones as labels only has."""
    assert make_method("self_paced", options).plan(progress, Plan(2, 3)) == plan


def test_the_loop_fills_places():
    cohort = toy_cohort()
    parts = [cohort.training(part) for part in ("labelled", "unlabelled")]
    pools = [PatchPool(cases, Intensity.of(cases), SMALL.patch, "cpu") for cases in parts]
    batch = draw_batch(*pools, Plan(2, 5), SMALL, 3, 0)
    assert [p.patient.removeprefix("patient") for p in batch.locations_l + batch.locations_u] == [
        i.removeprefix("case") for i in batch.ids_l + batch.ids_u
    ]
    assert draw_batch(*pools, Plan(2, 0), SMALL, 3, 0).locations_u == ()
    levels = draw_batch(*pools, Plan(4, 8, bins=4), SMALL, 3, 0)
    places = levels.locations_l + levels.locations_u
    assert [place.level(4) for place in places] == [0, 1, 2, 3] * 3


@pytest.mark.parametrize(("arch", "patch"), [("unet", (8, 8, 8)), ("unet2d", (8, 8, 1))])
def test_both_stages_run_and_the_second_improves(arch, patch, tmp_path):
    config = replace(SMALL, arch=arch, patch=patch, steps=60, validate_every=20)
    history = train(
        make_method("self_paced"), toy_cohort(), config, tmp_path / "r", log=lambda line: None
    ).history
    assert history["supervised"].notna().tolist() == [False] * 20 + [True] * 40
    assert history["position"].notna().tolist() == [True] * 20 + [False] * 40
    scores = history["validation dice"].dropna()
    assert scores.iloc[-1] > scores.iloc[0]
    assert history["position share"].iloc[10:20].mean() > history["position share"].iloc[:5].mean()


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ({"weights": "soft"}, "weights is"),
        ({"use": ["phase"]}, "choose among position"),
        ({"use": []}, "choose among position"),
    ],
)
def test_wrong_options_are_refused_and_right_ones_are_not(option, words):
    with pytest.raises(ConfigError, match=words):
        make_method("self_paced", option)
    assert make_method("self_paced", {"weights": "hard", "use": ["position"]}).use == ("position",)
