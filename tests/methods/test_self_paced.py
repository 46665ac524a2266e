"""Self-paced contrast: weights in closed form, pairs by hand, meta-labels, the two stages."""

import math
from dataclasses import replace

import pytest
import torch
from toy import SMALL, make_batch, total, toy_cohort
from toy_step import STILL

from ssltut.errors import ConfigError
from ssltut.methods.contract import Plan, Progress
from ssltut.methods.further.self_paced import META, meta_label, pair_losses, self_paced_weights
from ssltut.methods.losses import supervised_loss
from ssltut.methods.registry import make_method
from ssltut.training.batches import draw_batch
from ssltut.training.loop import train
from ssltut.training.networks import build_nets

SEMI, FIRST = Progress(50, 100), Progress(20, 100)


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
    batch = (
        make_batch()
    )  # patients a, b, c, a; left, right, left, right; heights 0.2, 0.7, 0.7, 0.3
    assert meta_label("patient", batch, 8).tolist() == [0, 1, 2, 0]
    assert meta_label("side", batch, 8).tolist() == [0, 1, 0, 1]
    assert meta_label("position", batch, 8).tolist() == [1, 5, 5, 2]
    assert meta_label("position", batch, 3).tolist() == [0, 2, 2, 0]
    top = replace(
        batch, locations_l=tuple(p._replace(centre=(0.0, 0.0, 1.0)) for p in batch.locations_l)
    )
    assert meta_label("position", top, 8).tolist()[:2] == [7, 7]


@pytest.mark.parametrize("correct", [False, True])
@pytest.mark.parametrize("weights", ["linear", "hard"])
def test_terms_in_float64(weights, correct):
    options = {"sigma_student": 0.0, "weights": weights, "correct": correct, "weight": 0.5}
    method, batch = make_method("self_paced", options), make_batch()
    nets = build_nets(method, STILL, 3)
    terms = method.losses(batch, nets, SEMI)
    x = torch.cat([batch.x_l, batch.x_u, method.second_view(batch)])
    pooled = nets["student"](x).feats["bottleneck"].mean((2, 3, 4))
    for kind, (scale, first, last) in META.items():
        z = nets["projector"][kind](pooled).detach().double()
        z = z / z.norm(dim=1, keepdim=True)
        label = meta_label(kind, batch, 8).tolist() * 2
        age = first + (last - first) * math.sqrt(0.5)
        rows = []
        ws = []
        for i in range(8):
            others = [a for a in range(8) if a != i]
            bottom = sum(math.exp(float(z[i] @ z[a]) / 0.07) for a in others)
            losses = [
                -math.log(math.exp(float(z[i] @ z[j]) / 0.07) / bottom)
                for j in others
                if label[j] == label[i]
            ]
            w = [max(0.0, 1 - v / age) if weights == "linear" else float(v <= age) for v in losses]
            rows.append(sum(a * b for a, b in zip(w, losses, strict=False)) / len(losses))
            ws += w
        mean = sum(ws) / len(ws)
        expected = sum(rows) / 8 / (mean if correct else 1.0)
        assert terms[kind].value.item() == pytest.approx(expected, rel=1e-3)
        assert terms[kind].weight == pytest.approx(0.5 * scale)
        assert terms[kind].share == pytest.approx(mean, rel=1e-4)
    expected = supervised_loss(nets["student"](batch.x_l).logits, batch.y_l).item()
    assert terms["supervised"].value.item() == pytest.approx(expected, rel=1e-5)


def test_pre_training_teaches_the_encoder_alone_on_more_patches_without_labels():
    method, batch = make_method("self_paced"), make_batch()
    nets = build_nets(method, SMALL, 3)
    terms = method.losses(batch, nets, FIRST)
    total(terms).backward()
    learns = {name: p.grad is not None for name, p in nets["student"].named_parameters()}
    assert set(terms) == set(META)
    assert all(learns[n] == n.startswith("down") for n in learns)
    assert all(p.grad is not None for p in nets["projector"].parameters())
    assert method.plan(FIRST, Plan(2, 2)) == Plan(2, 6)
    assert method.plan(SEMI, Plan(2, 2)) == Plan(2, 2)
    assert method.plan(FIRST, Plan(2, 9)) == Plan(2, 9)
    assert make_method("self_paced", {"weight": 0.0}).plan(FIRST, Plan(2, 2)) == Plan(2, 2)
    assert make_method("self_paced", {"use": ["side"]}).losses(batch, nets, FIRST).keys() == {
        "side"
    }


def test_the_loop_fills_places():
    from ssltut.data.patches import Intensity, PatchPool

    cohort = toy_cohort()
    parts = [cohort.training(part) for part in ("labelled", "unlabelled")]
    pools = [PatchPool(cases, Intensity.of(cases), SMALL.patch, "cpu") for cases in parts]
    batch = draw_batch(*pools, Plan(2, 5), SMALL, 3, 0)
    assert [p.patient.removeprefix("patient") for p in batch.locations_l + batch.locations_u] == [
        i.removeprefix("case") for i in batch.ids_l + batch.ids_u
    ]
    assert draw_batch(*pools, Plan(2, 0), SMALL, 3, 0).locations_u == ()


@pytest.mark.parametrize(("arch", "patch"), [("unet", (8, 8, 8)), ("unet2d", (8, 8, 1))])
def test_both_stages_run_and_the_second_improves(arch, patch, tmp_path):
    config = replace(SMALL, arch=arch, patch=patch, steps=60, validate_every=20)
    history = train(
        make_method("self_paced"), toy_cohort(), config, tmp_path / "r", log=lambda line: None
    ).history
    assert history["supervised"].notna().tolist() == [False] * 20 + [True] * 40
    assert history["position"].notna().all()
    scores = history["validation dice"].dropna()
    assert scores.iloc[-1] > scores.iloc[0]
    assert history["position share"].iloc[10:].mean() > history["position share"].iloc[:5].mean()


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
