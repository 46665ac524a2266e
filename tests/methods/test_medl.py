"""MEDL: opinions, their fusion, the Fisher term and the curriculum against closed forms."""

import math
from dataclasses import replace

import pytest
import torch
from golden import in_float64
from teaching import assert_same_teaching, taught
from toy import make_batch
from toy_step import HALF, STILL, rise

from ssltut.methods.contract import Progress
from ssltut.methods.further.evidence import (
    Opinion,
    dirichlet,
    fisher_loss,
    fuse,
    log_det_fisher,
    opinion,
    rank,
    reliability,
)
from ssltut.methods.losses import dice_loss, supervised_loss
from ssltut.methods.registry import make_method
from ssltut.nets.resnet import ResNet
from ssltut.nets.unet import UNet
from ssltut.training.networks import build_nets


def of(belief, uncertainty):
    return Opinion(
        torch.tensor([belief], dtype=torch.float64),
        torch.tensor([uncertainty], dtype=torch.float64),
    )


def test_belief_and_uncertainty_add_up_to_one_and_fusion_keeps_it_so():
    torch.manual_seed(0)
    first, second = (opinion(dirichlet(3 * torch.randn(2, 3, 4, 4, 4))) for _ in range(2))
    for o in (first, second, fuse(first, second)):
        assert torch.allclose(o.belief.sum(1) + o.uncertainty, torch.ones(2, 4, 4, 4), atol=1e-6)
        assert o.belief.min() >= 0
        assert o.uncertainty.min() > 0


def test_without_evidence_nothing_is_believed_and_with_it_the_shares_are_the_softmax():
    nothing = opinion(torch.ones(1, 4))
    assert nothing.belief.tolist() == [[0.0] * 4]
    assert nothing.uncertainty.item() == 1.0
    z = torch.tensor([[2.0, -1.0, 0.5]])
    b = opinion(dirichlet(z)).belief
    assert torch.allclose(b / b.sum(), z.softmax(1))
    assert torch.isfinite(dirichlet(torch.tensor([[500.0]]))).all()


@pytest.mark.parametrize("other", [[0.0, 0.0, 0.0], [0.2, 0.1, 0.1]])
def test_a_certain_opinion_stays_certain(other):
    certain, unsure = of([0.0, 1.0, 0.0], 0.0), of(other, 1.0 - sum(other))
    for fused in (fuse(certain, unsure), fuse(unsure, certain)):
        assert fused.belief.tolist() == [pytest.approx([0.0, 1.0, 0.0])]
        assert fused.uncertainty.item() == 0.0


def test_fusion_by_hand():
    fused = fuse(of([0.6, 0.1], 0.3), of([0.2, 0.4], 0.4))
    parts = [
        0.6 * 0.2 + (0.6 * 0.4 + 0.2 * 0.3) / 3,
        0.1 * 0.4 + (0.1 * 0.4 + 0.4 * 0.3) / 3,
        0.3 * 0.4,
    ]
    assert [*fused.belief[0].tolist(), fused.uncertainty.item()] == pytest.approx(
        [p / sum(parts) for p in parts]
    )
    assert fuse(of([0.0, 0.0], 1.0), of([0.0, 0.0], 1.0)).uncertainty.item() == 1.0
    conflict = fuse(of([1.0, 0.0], 0.0), of([0.0, 1.0], 0.0))
    assert conflict.belief.tolist() == [[0.0, 0.0]]
    assert conflict.uncertainty.item() == 1.0


def test_reliability_by_hand():
    assert reliability(of([1.0, 0.0], 0.0)).item() == 1.0
    assert reliability(of([0.5, 0.25], 0.25)).item() == pytest.approx(math.exp(-(0.25 + 0.5 + 0.5)))
    assert reliability(of([0.0, 0.0], 1.0)).item() == pytest.approx(math.exp(-1))


def test_the_rank_is_that_of_sorting():
    values = torch.tensor([[0.9, 0.001], [0.1, 0.02]])
    assert rank(values).flatten().tolist() == pytest.approx([1.0, -1.0, 1 / 3, -1 / 3])
    assert rank(torch.full((2, 2), 0.3)).tolist() == [[0.0, 0.0], [0.0, 0.0]]
    many = torch.rand(1000, dtype=torch.float64) + 0.01
    exact = 2 * many.argsort().argsort() / 999 - 1
    assert (rank(many) - exact).abs().max() < 0.01


def test_log_det_of_the_fisher_information_is_that_of_the_matrix():
    """I(α) = diag ψ1(α_n) - ψ1(S), and ψ1(1) = π²/6."""
    alpha = torch.tensor([[1.0, 2.5, 7.0, 1.2], [30.0, 1.0, 4.0, 2.0]], dtype=torch.float64)
    matrices = [torch.diag(torch.polygamma(1, a)) - torch.polygamma(1, a.sum()) for a in alpha]
    assert log_det_fisher(alpha).tolist() == pytest.approx(
        [torch.logdet(m).item() for m in matrices]
    )
    one, two = math.pi**2 / 6, math.pi**2 / 6 - 1.0  # ψ1(1), ψ1(2) = ψ1(1) - 1
    assert log_det_fisher(torch.ones(1, 2)).item() == pytest.approx(
        2 * math.log(one) + math.log(1 - 2 * two / one), rel=1e-4
    )
    sure = dirichlet(torch.tensor([[60.0, -60.0], [60.0, 60.0]]))
    assert torch.isfinite(log_det_fisher(sure)).all()


def test_the_error_is_the_expected_square_under_the_dirichlet_weighted_by_its_curvature():
    alpha = torch.tensor([[4.0, 1.5, 2.0]], dtype=torch.float64)
    torch.manual_seed(0)
    draws = torch.distributions.Dirichlet(alpha[0]).sample((200_000,))
    y = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
    expected = ((draws - y).square().mean(0) * torch.polygamma(1, alpha[0])).sum()
    assert fisher_loss(alpha, torch.tensor([1]), 0.0).item() == pytest.approx(
        expected.item(), rel=5e-3
    )
    gap = fisher_loss(alpha, torch.tensor([1]), 0.0) - fisher_loss(alpha, torch.tensor([1]), 0.7)
    assert gap.item() == pytest.approx(0.7 * log_det_fisher(alpha).item())


def test_sure_voxels_count_more_at_first_and_unsure_ones_at_the_end():
    method, psi = make_method("medl"), torch.tensor([-1.0, 0.0, 1.0])
    early, half, late = (method.omega(psi, Progress(s, 100)).tolist() for s in (0, 50, 100))
    assert early == pytest.approx([1 + 0.5 * math.tanh(1), 1.0, 1 - 0.5 * math.tanh(1)])
    assert late == pytest.approx(early[::-1])
    assert half == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("step", [0, 50, 100])
def test_the_evidence_term_ramps_up_and_the_others_do_not(step):
    method, progress = make_method("medl"), Progress(step, 100)
    terms = method.losses(make_batch(), build_nets(method, STILL, 3), progress)
    weights = {name: term.weight for name, term in terms.items()}
    assert weights.pop("evidence") == pytest.approx(rise(step / 100))
    assert weights == dict.fromkeys(
        ["supervised", "second supervised", "pseudo", "curriculum"], 1.0
    )


@pytest.mark.parametrize("n_classes", [2, 3])
def test_what_each_term_teaches_is_its_equation_with_fixed_opinions(n_classes):
    """Labels, reliability and curriculum carry no gradient; every network learns from all terms."""
    with in_float64():
        method, batch = make_method("medl", {"sigma_student": 0.0}), make_batch(n_classes)
        nets = build_nets(method, STILL, n_classes)
        terms = method.losses(batch, nets, Progress(20, 100))
        both = torch.cat([batch.x_l, batch.x_u])
        z = [nets[role](both).logits for role in ("student", "second")]
        alphas = [x.clamp(max=10).exp() + 1 for x in z]
        opinions = [opinion(alpha.detach()) for alpha in alphas]
        fused = fuse(*opinions)
        label, trust = fused.belief[2:].argmax(1), reliability(fused)[2:]
        pseudo = curriculum = evidence = 0.0
        for x, a, own in zip(z, alphas, opinions, strict=True):
            ce = -x[2:].log_softmax(1).gather(1, label[:, None])[:, 0]
            pseudo = pseudo + (trust * ce).mean() + dice_loss(x[2:], label, trust)
            unsure = (own.uncertainty + fused.uncertainty) / 2
            ranks = [rank(part) for part in (unsure[:2], unsure[2:])]
            omega = [1 + 0.5 * torch.tanh(-0.6 * r) for r in ranks]
            p = (a / a.sum(1, keepdim=True))[:2].gather(1, batch.y_l[:, None])[:, 0]
            curriculum = curriculum + (omega[0] * -p.log()).mean()
            evidence = evidence + (omega[1] * fisher_loss(a[2:], label, 0.05)).mean()
        expected = {"pseudo": pseudo, "curriculum": curriculum, "evidence": evidence}
        expected["supervised"] = supervised_loss(z[0][:2], batch.y_l)
        expected["second supervised"] = supervised_loss(z[1][:2], batch.y_l)
        assert terms.keys() == expected.keys()
        for name, loss in expected.items():
            assert_same_teaching(terms[name].value, loss, nets)
        assert terms["pseudo"].share == pytest.approx(trust.mean().item())
        assert taught(terms["second supervised"].value, nets) == {"second"}
        for name in ("pseudo", "curriculum", "evidence"):
            assert taught(terms[name].value, nets) == {"student", "second"}


def test_both_networks_learn_in_train_mode():
    method, batch = make_method("medl"), make_batch()
    nets = build_nets(method, replace(STILL, dropout=0.5, norm="batch"), 3)
    one, two = (method.forward(batch, nets, HALF) for _ in range(2))
    for role in ("student", "second"):
        assert not torch.equal(one[role].whole.logits, two[role].whole.logits)


def test_doubt_weighs_the_dice_of_a_voxel():
    z = torch.randn(1, 2, 1, 1, 3).double()
    y = torch.tensor([[[[1, 0, 1]]]])
    w = torch.tensor([[[[1.0, 0.5, 0.25]]]]).double()
    p = z.softmax(1)[0, 1, 0, 0]
    expected = 1 - 2 * (p[0] + 0.25 * p[2]) / (p[0] + 0.5 * p[1] + 0.25 * p[2] + 1.25)
    assert dice_loss(z, y, w).item() == pytest.approx(expected.item(), abs=1e-4)


def test_two_different_networks_and_the_mean_of_both_predicts():
    method, batch = make_method("medl"), make_batch()
    nets = build_nets(method, STILL, 3)
    assert [type(net) for net in nets.values()] == [UNet, ResNet]
    alphas = [dirichlet(nets[role](batch.x_l).logits) for role in method.networks]
    expected = sum(a / a.sum(1, keepdim=True) for a in alphas) / 2
    assert torch.allclose(method.predict(nets, batch.x_l), expected)
