"""The published method: each term against its equation, each option against what it says."""

import math
from dataclasses import replace

import pytest
import torch
from toy import SMALL, make_batch

from ssltut.errors import ConfigError
from ssltut.methods.contract import NetOutput, Progress
from ssltut.methods.losses import entropy
from ssltut.methods.matching.embedding_matching import EmbeddingMatching
from ssltut.methods.matching.primitives import (
    draw_references,
    similarity,
    surface_shell,
    voxel_vectors,
)
from ssltut.methods.registry import make_method
from ssltut.methods.uncertainty import class_entropy, mc_dropout
from ssltut.training.networks import build_nets

PLAIN = {"sigma_teacher": 0.0, "sigma_student": 0.0, "passes": 2, "k": 4, "redraws": 3, "band": 1}


def nets_without_dropout(method, n_classes=3):
    """Without dropout all passes agree; a sharper teacher has sure and unsure voxels."""
    nets = build_nets(method, replace(SMALL, dropout=0.0), n_classes)
    with torch.no_grad():
        nets["teacher"].classifier.weight.mul_(3.0)
    return nets


@pytest.mark.parametrize(("n_classes", "classes"), [(2, "two"), (3, "two"), (3, "all")])
def test_every_unlabelled_term_follows_its_equation(n_classes, classes):
    method = make_method("embedding_matching", PLAIN | {"classes": classes})
    batch = make_batch(n_classes)
    nets = nets_without_dropout(method, n_classes)
    terms = method.losses(batch, nets, Progress(30, 100))
    out = nets["student"](torch.cat([batch.x_l, batch.x_u])).split(2)[1]
    q = nets["teacher"](batch.x_u).logits.double().softmax(1)
    log_p = out.logits.double().log_softmax(1)
    largest = math.log(2 if classes == "two" else n_classes)
    limit = (0.75 + 0.25 * math.exp(-5 * 0.7**2)) * largest
    unreliable = class_entropy(q, classes) >= limit
    assert 0 < unreliable.sum() < unreliable.numel()
    ce = -log_p.gather(1, q.argmax(1)[:, None])[:, 0]
    assert terms["reliable"].value.item() == pytest.approx(ce[~unreliable].mean().item(), rel=1e-4)

    shell, draws = surface_shell(batch.y_l, 1), batch.generator("references")
    drawn = draw_references(batch.y_l, shell, n_classes, k=4, redraws=3, generator=draws)
    bank = voxel_vectors(nets["teacher"](batch.x_l).feats["embedding"])[drawn.voxels].double()
    k = similarity(bank, voxel_vectors(out.feats["embedding"]).double(), "mean_cosine")
    k = k.T.reshape(2, 8, 8, 8, n_classes)
    ce = -log_p.gather(1, k.argmax(-1)[:, None])[:, 0]
    assert terms["match"].value.item() == pytest.approx(ce[unreliable].mean().item(), rel=1e-4)
    unsure = entropy(k[unreliable].softmax(-1)).mean().item()
    assert terms["entropy"].value.item() == pytest.approx(unsure, rel=1e-4)
    assert terms["match"].share == pytest.approx(unreliable.double().mean().item())


@pytest.mark.parametrize("step", [0, 30, 100])
def test_the_weights_rise_over_the_whole_training(step):
    method = make_method("embedding_matching", {"threshold": 0.5})
    terms = method.losses(make_batch(), build_nets(method, SMALL, 3), Progress(step, 100))
    rise = math.exp(-5 * (1 - step / 100) ** 2)
    weights = [terms[name].weight for name in ("reliable", "match", "entropy")]
    assert weights == pytest.approx([0.25 * rise, 0.125 * rise, 0.125 * rise])


def test_the_entropy_term_has_the_published_floor():
    # K lies in [-1, 1], so softmax(K) of two classes never exceeds 0.881 and its entropy never
    # falls below 0.365 nats.
    assert entropy(torch.tensor([1.0, -1.0]).softmax(0), 0).item() == pytest.approx(0.365, abs=1e-3)


@pytest.mark.parametrize(
    ("use", "present"),
    [((), set()), (("UA",), {"reliable"}), (("NN",), {"match"}), (("EN",), {"entropy"})],
)
def test_every_term_has_an_off_switch(use, present):
    method = make_method("embedding_matching", {"use": use})
    terms = method.losses(make_batch(), build_nets(method, SMALL, 3), Progress(50, 100))
    assert set(terms) == {"supervised"} | present


def test_without_unreliable_voxels_nothing_is_matched():
    method = make_method("embedding_matching")
    nets = build_nets(method, replace(SMALL, dropout=0.0), 3)
    with torch.no_grad():
        nets["teacher"].classifier.bias.copy_(torch.tensor([50.0, 0.0, 0.0]))
    terms = method.losses(make_batch(), nets, Progress(50, 100))
    assert terms["match"].value.item() == 0.0
    assert terms["match"].share == 0.0
    assert terms["entropy"].value.item() == 0.0


def test_with_one_class_in_the_labels_nothing_is_matched():
    method, batch = make_method("embedding_matching", {"threshold": 0.5}), make_batch(empty=True)
    terms = method.losses(batch, build_nets(method, SMALL, 3), Progress(50, 100))
    assert set(terms) == {"supervised", "reliable", "match"}
    assert terms["match"].share == 0.0


def test_a_share_as_threshold_makes_that_share_unreliable():
    method, batch = make_method("embedding_matching", {"threshold": 0.25}), make_batch()
    nets = build_nets(method, SMALL, 3)
    outs = {"student": NetOutput(nets["student"](batch.x_u), 0)} | method.teach(batch, nets)
    found = method.assign(batch, nets, outs, Progress(50, 100))
    assert found.unreliable.float().mean().item() == pytest.approx(0.25, abs=0.01)
    assert torch.equal(found.trusted, found.unreliable)


def test_a_border_of_two_classes_is_unreliable_until_the_end_but_never_over_all_three_classes():
    """The teacher is torn between two classes everywhere: p = (1/2, 1/2, 0)."""
    batch, shares = make_batch(), {}
    for classes in ("two", "all"):
        method = make_method("embedding_matching", {"classes": classes})
        nets = build_nets(method, replace(SMALL, dropout=0.0), 3)
        with torch.no_grad():
            nets["teacher"].classifier.weight.zero_()
            nets["teacher"].classifier.bias.copy_(torch.tensor([0.0, 0.0, -50.0]))
        terms = [method.losses(batch, nets, Progress(step, 100)) for step in (0, 50, 99)]
        shares[classes] = [term["match"].share for term in terms]
    assert shares == {"two": [1.0, 1.0, 1.0], "all": [0.0, 0.0, 0.0]}


@pytest.mark.parametrize("name", ["embedding_matching", "ua_mt"])
def test_the_entropy_is_that_of_two_classes_unless_all_are_asked_for(name):
    assert make_method(name).options["classes"] == "two"
    assert make_method(name, {"classes": "all"}).options["classes"] == "all"
    with pytest.raises(ConfigError, match="classes"):
        make_method(name, {"classes": "three"})


def test_uncertainty_is_the_mean_of_the_entropies_of_the_passes():
    options = {"sigma_teacher": 0.5, "classes": "all"}
    method, batch = make_method("embedding_matching", options), make_batch()
    nets = build_nets(method, SMALL, 3)
    outs = {"student": NetOutput(nets["student"](batch.x_u), 0)} | method.teach(batch, nets)
    found = method.assign(batch, nets, outs, Progress(0, 1))
    assert torch.equal(found.uncertainty, outs["passes"].mean_of_entropies)
    passes = mc_dropout(nets["teacher"], [batch.x_u] * 5)
    assert (passes.mean_of_entropies <= passes.entropy_of_mean + 1e-5).all()


def test_the_published_method_has_at_most_a_dozen_options():
    own = set(EmbeddingMatching.__annotations__)
    assert len(own) <= 12
    assert set(make_method("embedding_matching").options) == own | {"sigma_student"}
