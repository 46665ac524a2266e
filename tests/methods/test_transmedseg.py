"""TransMedSeg: the closed-form loss against draws, the running moments, and the graph clustering
against its plain form.
"""

import pytest
import torch
from torch.nn import functional as F
from toy import make_batch
from toy_step import HALF, STILL

from ssltut.data.components import largest_component
from ssltut.methods.further.transmedseg import ClassMoments, cluster_loss, transport_logits
from ssltut.methods.parts.masks import box_mask, halves
from ssltut.methods.registry import make_method
from ssltut.training.networks import build_nets


def random_case(seed=0, n_classes=3, dim=4):
    torch.manual_seed(seed)
    root = 0.5 * torch.randn(n_classes, dim, dim, dtype=torch.float64)
    return (
        torch.randn(n_classes, dim).double(),
        0.5 * torch.randn(n_classes, dim).double(),
        root @ root.mT,
    )


def test_the_closed_form_is_the_expected_loss_of_moved_embeddings():
    """CE(s', y) = log E[1 / p_y] with f + N(α Δμ, α Σ), and so no less than E[-log p_y]."""
    (w, gap, cov), alpha = random_case(), 0.25
    f, b = torch.randn(4).double(), torch.randn(3).double()
    for y in range(3):
        draws = torch.distributions.MultivariateNormal(
            f + alpha * gap[y], alpha * cov[y] + 1e-9 * torch.eye(4)
        ).sample((400_000,))
        log_p = (draws @ w.T + b).log_softmax(1)[:, y]
        closed = F.cross_entropy(
            (f @ w.T + b + transport_logits(w, gap, cov, alpha)[y])[None], torch.tensor([y])
        )
        assert closed.item() == pytest.approx((-log_p).exp().mean().log().item(), rel=0.02)
        assert closed >= -log_p.mean()


def test_what_moving_adds_by_hand():
    w, gap = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[1.0, 3.0], [0.5, 0.0]])
    cov = torch.stack([torch.eye(2), torch.tensor([[2.0, 1.0], [1.0, 4.0]])])
    first = 0.5 * (-1.0 * 1.0 + 2.0 * 3.0) + 0.25 * 5.0  # d = (-1, 2)
    second = 0.5 * (1.0 * 0.5) + 0.25 * (2.0 - 4.0 + 16.0)  # d = (1, -2)
    assert torch.allclose(
        transport_logits(w, gap, cov, 0.5), torch.tensor([[0.0, first], [second, 0.0]])
    )


def test_without_time_nothing_moves():
    assert transport_logits(*random_case(), 0.0).abs().max() == 0.0


def test_running_moments_are_those_of_the_mixture():
    moments, a, b = ClassMoments(3, 2), torch.randn(50, 2), torch.randn(80, 2) * 2 + 1
    moments.store(a, torch.ones(50, dtype=torch.long), 0.75)
    assert moments.seen.tolist() == [False, True, False]
    assert torch.allclose(moments.mean[1], a.mean(0))
    assert torch.allclose(moments.covariance[1], torch.cov(a.T, correction=0), atol=1e-5)
    moments.store(b, torch.ones(80, dtype=torch.long), 0.75)
    mean = 0.75 * a.mean(0) + 0.25 * b.mean(0)
    second = 0.75 * (a.T @ a) / 50 + 0.25 * (b.T @ b) / 80
    assert torch.allclose(moments.mean[1], mean, atol=1e-5)
    assert torch.allclose(moments.covariance[1], second - torch.outer(mean, mean), atol=1e-4)
    assert moments.mean[0].abs().max() == 0
    assert ClassMoments(2, 1).store(torch.ones(1, 1), torch.zeros(1, dtype=torch.long), 0.9) is None


def test_the_clusters_are_those_of_the_plain_graph():
    torch.manual_seed(0)
    maps = torch.rand(2, 6, 2, 3, 2)
    head = torch.nn.Sequential(
        torch.nn.Conv3d(6, 6, 1), torch.nn.PReLU(6), torch.nn.Conv3d(6, 4, 1)
    )
    expected = 0.0
    for sample in maps:
        f = F.normalize(sample.flatten(1).T, dim=1)
        graph, h = f @ f.T, head[0](sample[None])[0].flatten(1).T
        mixed = (graph / graph.sum(1, keepdim=True)) @ h
        s = head[1:](mixed.T.view(1, 6, 2, 3, 2))[0].flatten(1).T.softmax(1)
        assert graph.max().item() == pytest.approx(1.0)
        expected -= torch.trace((graph - graph.max() / 2.0) @ s @ s.T) / 12**2 / 2
    assert cluster_loss(maps, head, 2.0).item() == pytest.approx(expected.item(), rel=1e-4)


def test_two_kinds_of_voxels_are_best_in_two_clusters():
    def split(by):
        maps = torch.zeros(1, 2, 4, 1, 1)
        maps[0, 0, :2], maps[0, 1, 2:] = 1.0, 1.0  # two kinds without anything in common
        head = torch.nn.Sequential(
            torch.nn.Conv3d(2, 2, 1), torch.nn.PReLU(2), torch.nn.Conv3d(2, 2, 1)
        )
        for layer, weight in ((head[0], torch.eye(2)), (head[2], torch.tensor(by))):
            layer.weight.data, layer.bias.data = weight.view(2, 2, 1, 1, 1), torch.zeros(2)
        return cluster_loss(maps, head, 2.0).item()

    apart = split([[99.0, 0.0], [0.0, 99.0]])
    together = split([[99.0, 99.0], [0.0, 0.0]])
    mixed = split([[0.0, 0.0], [0.0, 0.0]])
    assert (apart, together, mixed) == (
        pytest.approx(-0.25),
        pytest.approx(0.0),
        pytest.approx(0.0),
    )


def test_the_terms_of_a_step_in_float64():
    method, batch = make_method("transmedseg", {"sigma_student": 0.0}), make_batch()
    nets = build_nets(method, STILL, 3)
    terms = method.losses(batch, nets, HALF)
    keep = box_mask((8, 8, 8), 2 / 3, batch.generator("box"))
    teacher = nets["teacher"](batch.x_u)
    pseudo = largest_component(teacher.logits.argmax(1), 3)
    (a, b), (u, v) = halves(batch.x_l), halves(batch.x_u)
    y = torch.cat(
        [torch.where(keep, batch.y_l[:1], pseudo[:1]), torch.where(keep, pseudo[1:], batch.y_l[1:])]
    )
    out = nets["student"](torch.cat([torch.where(keep, a, u), torch.where(keep, v, b)]))
    true = torch.stack([keep, ~keep])
    f, g = (x.feats["embedding"].movedim(1, -1).double() for x in (out, teacher))
    w = nets["student"].classifier.weight.flatten(1).double()
    shift = torch.zeros(3, 3, dtype=torch.float64)
    for c in set(y[true].tolist()) & set(pseudo.flatten().tolist()):
        d = w - w[c]
        gap = g[pseudo == c].mean(0) - f[true & (y == c)].mean(0)
        shift[c] = 0.125 * d @ gap + 0.0625 * (
            (d @ torch.cov(g[pseudo == c].T, correction=0)) * d
        ).sum(1)
    assert shift.abs().max() > 0
    logits = out.logits.double().movedim(1, -1)[true] + shift[y[true]]
    assert terms["transfer"].value.item() == pytest.approx(
        F.cross_entropy(logits, y[true]).item(), rel=1e-4
    )
    assert (terms["transfer"].weight, terms["clusters"].weight) == (0.1, 0.01)
    clusters = cluster_loss(out.feats["bottleneck"], nets["student"].heads["clusters"], 2.0)
    assert terms["clusters"].value.item() == pytest.approx(clusters.item(), rel=1e-5)
    gradient = torch.autograd.grad(terms["clusters"].value, nets["student"].down[0][0][0].weight)[0]
    assert gradient.abs().sum() > 0  # the encoder learns from the clusters


@pytest.mark.parametrize(
    ("options", "absent"), [({"transfer": 0.0}, "transfer"), ({"clusters": 0.0}, "clusters")]
)
def test_each_part_has_an_off_switch_and_with_both_off_it_is_bcp(options, absent):
    method, batch = make_method("transmedseg", options), make_batch()
    terms = method.losses(batch, build_nets(method, STILL, 3), HALF)
    assert set(terms) == {"supervised", "pasted", "transfer", "clusters"} - {absent}
    plain = make_method("bcp").losses(batch, build_nets(make_method("bcp"), STILL, 3), HALF)
    assert all(torch.equal(plain[name].value, terms[name].value) for name in plain)
