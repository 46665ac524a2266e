"""TransMedSeg: the closed form against draws, the running moments, the plain graph clustering."""

from dataclasses import replace

import pytest
import torch
from teaching import gradients_of, taught
from torch.nn import functional as F
from toy import SMALL, make_batch
from toy_step import HALF, STILL

from ssltut.data.components import largest_component
from ssltut.methods.contract import Progress
from ssltut.methods.further.transmedseg import (
    ClassMoments,
    cluster_loss,
    gap_and_covariance,
    transport_logits,
)
from ssltut.methods.parts.perturb import box_mask, halves
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
        expected -= torch.trace((graph - graph.max() / 2.0) @ s @ s.T) / 12 / 2
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
        pytest.approx(-1.0),
        pytest.approx(0.0),
        pytest.approx(0.0),
    )


def mixed(batch, nets):
    """Patches, labels and true voxels of the two mixes of a step, with the teacher's labels."""
    keep = box_mask((8, 8, 8), 2 / 3, batch.generator("box"))
    with torch.no_grad():
        teacher = nets["teacher"](batch.x_u)
    pseudo = largest_component(teacher.logits.argmax(1), 3)
    (a, b), (u, v) = halves(batch.x_l), halves(batch.x_u)
    y = torch.where(keep, batch.y_l[:1], pseudo[:1]), torch.where(keep, pseudo[1:], batch.y_l[1:])
    x = torch.cat([torch.where(keep, a, u), torch.where(keep, v, b)])
    return x, torch.cat(y), torch.stack([keep, ~keep]), teacher, pseudo


@pytest.fixture
def one():
    """A method, its networks (the teacher is not the student and knows all classes), a batch."""
    method, batch = make_method("transmedseg", {"sigma_student": 0.0}), make_batch()
    nets = build_nets(method, STILL, 3)
    with torch.no_grad():
        for p in nets["teacher"].parameters():
            p.mul_(0.7)
        nets["teacher"].classifier.bias -= nets["teacher"](batch.x_u).logits.mean((0, 2, 3, 4))
    return method, nets, batch


def transfer_loss(nets, batch, a):
    """L_TSA in float64 with the moments of one step, of which nothing but w and s learns."""
    x, y, true, teacher, pseudo = mixed(batch, nets)
    out = nets["student"](x)
    f = out.feats["embedding"].detach().movedim(1, -1).double()
    g = teacher.feats["embedding"].movedim(1, -1).double()
    w = nets["student"].classifier.weight.flatten(1).double()
    rows = []
    for c in range(3):
        d = w - w[c]
        gap = g[pseudo == c].mean(0) - f[true & (y == c)].mean(0)
        covariance = torch.cov(g[pseudo == c].T, correction=0)
        rows.append(a * d @ gap + a / 2 * ((d @ covariance) * d).sum(1))
    shift = torch.stack(rows)
    assert shift.abs().max() > 0
    logits = out.logits.double().movedim(1, -1)[true] + shift[y[true]]
    return F.cross_entropy(logits, y[true])


def clusters_loss(nets, batch):
    """L_CC in float64 by the whole graph F Fᵀ, which is fixed."""
    head, values = nets["student"].heads["clusters"], []
    for maps in nets["student"](mixed(batch, nets)[0]).feats["bottleneck"]:
        nodes = F.normalize(maps.detach().flatten(1).T.double(), dim=1)
        graph, h = nodes @ nodes.T, head[0](maps[None])[0].flatten(1).T.double()
        convolved = (graph / graph.sum(1, keepdim=True)) @ h
        s = head[1:](convolved.T.view_as(maps)[None].float())[0].flatten(1).T.softmax(1).double()
        values.append(-torch.trace((graph - 1 / 2) @ s @ s.T) / len(nodes))
    return sum(values) / len(values)


@pytest.mark.parametrize("step", [30, 50, 100])
def test_transfer_and_clusters_are_their_equations_and_teach_what_these_say(one, step):
    """alpha grows with time: a = 0.25 t / T."""
    method, nets, batch = one
    terms = method.losses(batch, nets, Progress(step, 100))
    assert [(name, t.weight) for name, t in terms.items()] == [
        *(("supervised", 1.0), ("pasted", 0.5), ("transfer", 0.1), ("clusters", 0.02)),
    ]
    expected = {
        "transfer": transfer_loss(nets, batch, 0.25 * step / 100),
        "clusters": clusters_loss(nets, batch),
    }
    for name, value in expected.items():
        assert terms[name].value.item() == pytest.approx(value.item(), rel=1e-4)
        assert taught(terms[name].value, nets) == {"student"}
        found, wanted = gradients_of(terms[name].value, nets), gradients_of(value, nets)
        assert found.keys() == wanted.keys()
        parts = {key.split(".")[1] for key in found}
        own = {"up", "merge", "classifier"} if name == "transfer" else {"heads"}
        assert parts == {"down"} | own
        for key, gradient in found.items():
            assert torch.allclose(gradient, wanted[key].float(), rtol=1e-3, atol=1e-5), key
    assert terms["transfer"].share == 1.0


def test_the_moments_of_a_step_count_in_it_and_are_kept_with_a_decay(one):
    method, nets, batch = one
    for kind in ("labelled", "unlabelled"):
        nets[f"{kind} moments"].seen.fill_(True)  # of an earlier step, all with mean 0
    x, y, true, teacher, pseudo = mixed(batch, nets)
    progress = Progress(80, 100)
    outs = method.forward(batch, nets, progress)
    f = nets["student"](x).feats["embedding"].movedim(1, -1)
    g = teacher.feats["embedding"].movedim(1, -1)
    method.update(batch, nets, outs, progress)
    for c in range(3):
        for kind, vectors in (("labelled", f[true & (y == c)]), ("unlabelled", g[pseudo == c])):
            expected = 0.1 * vectors.mean(0)
            for moments in (outs["moments"][f"{kind} moments"], nets[f"{kind} moments"]):
                assert torch.allclose(moments.mean[c], expected, atol=1e-5), (c, kind)


def test_a_class_that_one_side_has_not_shown_is_not_moved(one):
    method, nets, batch = one
    bias = nets["teacher"].classifier.bias
    with torch.no_grad():
        bias[2] = -100.0
    outs = method.forward(batch, nets, HALF)
    gap, covariance = gap_and_covariance(outs["moments"])
    assert not gap[2].any()
    assert not covariance[2].any()
    assert gap[1].any()
    assert covariance[1].any()
    share = method.terms(batch, nets, outs, HALF)["transfer"].share
    assert share == pytest.approx(2 / 3)


def test_with_dropout_and_batch_norm_the_teacher_embeds_the_same_twice():
    method, batch = make_method("transmedseg"), make_batch()
    nets = build_nets(method, replace(SMALL, dropout=0.5, norm="batch"), 3)
    first, second = (method.forward(batch, nets, HALF)["moments"] for _ in range(2))
    labelled, unlabelled = "labelled moments", "unlabelled moments"
    assert torch.equal(first[unlabelled].mean, second[unlabelled].mean)
    assert not torch.equal(first[labelled].mean, second[labelled].mean)


@pytest.mark.parametrize(
    ("options", "absent"), [({"transfer": 0.0}, "transfer"), ({"clusters": 0.0}, "clusters")]
)
def test_each_part_has_an_off_switch_and_with_both_off_it_is_bcp(options, absent):
    method, batch = make_method("transmedseg", options), make_batch()
    terms = method.losses(batch, build_nets(method, STILL, 3), HALF)
    assert set(terms) == {"supervised", "pasted", "transfer", "clusters"} - {absent}
    plain = make_method("bcp").losses(batch, build_nets(make_method("bcp"), STILL, 3), HALF)
    assert all(torch.equal(plain[name].value, terms[name].value) for name in plain)
