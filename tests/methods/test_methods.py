"""One suite for all methods, and each method's own equations."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from toy import SMALL, make_batch, total, toy_case, toy_cohort, trained_on_hips

from ssltut.methods.contract import Plan, Progress
from ssltut.methods.losses import entropy
from ssltut.methods.parts.ema import ema_update
from ssltut.methods.parts.memory import ReferenceMemory
from ssltut.methods.registry import METHODS, make_method
from ssltut.methods.uncertainty import published_threshold
from ssltut.nets.build import build_net
from ssltut.training.loop import train
from ssltut.training.networks import build_nets

ALL, SEMI = (
    list(METHODS),
    [name for name, m in METHODS.items() if m.supervision == "labelled+unlabelled"],
)
OFF = {name: {"weight": 0.0} for name in SEMI} | {
    "medl": {"weight": 0.0, "curriculum": 0.0, "evidence": 0.0},
    "c3s3": {"weight": 0.0, "agreement": 0.0, "contrast": 0.0},
    "dtc": {"weight": 0.0, "sdf_weight": 0.0},
    "embedding_matching": {"w_ua": 0.0, "w_ps": 0.0},
    "neighbour_vote": {"w_ua": 0.0, "w_ps": 0.0},
    "region_vote": {"w_ua": 0.0, "w_ps": 0.0},
    "vote_beside": {"weight": 0.0, "w_ps": 0.0},
    "rpg": {"w_reference": 0.0, "w_consistency": 0.0},
}


def on_unlabelled(nets, batch):
    """The student in train mode, normalised by the statistics of all patches of the step."""
    return nets["student"](torch.cat([batch.x_l, batch.x_u])).split(len(batch.x_l))[1]


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("empty", [False, True])
@pytest.mark.parametrize("arch", ["unet", "vnet", "unet2d"])
def test_a_step_is_finite_and_teaches_only_what_should_learn(name, n_classes, empty, arch):
    method = make_method(name)
    learners = method.learners(Progress(50, 100))
    nets = build_nets(method, replace(SMALL, arch=arch), n_classes)
    batch = make_batch(n_classes, empty=empty)
    before = {
        role: {k: v.clone() for k, v in net.state_dict().items()} for role, net in nets.items()
    }
    terms = method.losses(batch, nets, Progress(50, 100))
    total(terms).backward()
    assert all(torch.isfinite(t.value) for t in terms.values())
    for role, spec in method.networks.items():
        gradients = [p.grad for p in nets[role].parameters()]
        if role in learners:
            assert spec.ema_of is None
            assert all(g is not None and torch.isfinite(g).all() for g in gradients)
        else:
            assert all(g is None for g in gradients)
            assert all(torch.equal(before[role][k], v) for k, v in nets[role].state_dict().items())
    p = method.predict(nets, batch.x_l)
    assert p.shape == (2, n_classes, 8, 8, 8)
    assert torch.allclose(p.sum(1), torch.ones(2, 8, 8, 8), atol=1e-5)


@pytest.mark.parametrize("name", ALL)
def test_the_2d_network_sees_every_slice_by_itself(name, tmp_path):
    config = replace(
        SMALL, arch="unet2d", patch=(8, 8, 1)
    )  # a patch may be one slice; the third side need not be halved
    run = train(make_method(name), toy_cohort(), config, tmp_path / "r", log=lambda s: None)
    for role, spec in run.method.networks.items():
        x, net = make_batch().x_u, run.nets[role]
        whole, slices = net(x, heads=True), [net(x[..., z : z + 1], heads=True) for z in range(8)]
        heads = run.method.networks[spec.ema_of or role].heads
        assert set(whole.heads) == {
            name for name, head in heads.items() if 2 ** (head.level or 0) <= net.factor
        }
        for key in (None, *whole.heads):
            a, parts = (
                (whole.logits, [s.logits for s in slices])
                if key is None
                else (whole.heads[key], [s.heads[key] for s in slices])
            )
            assert torch.allclose(a, torch.cat(parts, -1), atol=1e-4), key


@pytest.mark.parametrize("name", SEMI)
@pytest.mark.parametrize("certain", [False, True])
def test_a_step_is_finite_where_every_network_is_sure_and_where_none_is(name, certain):
    method = make_method(name)
    nets = build_nets(method, SMALL, 3)
    with torch.no_grad():
        for role in method.networks:
            nets[role].classifier.weight.zero_()
            nets[role].classifier.bias.zero_()[0] = 50.0 * certain
    terms = method.losses(make_batch(), nets, Progress(50, 100))
    total(terms).backward()
    assert len(terms) > 1
    assert all(torch.isfinite(t.value) for t in terms.values())
    assert all(
        p.grad is None or torch.isfinite(p.grad).all()
        for role in method.networks
        for p in nets[role].parameters()
    )


@pytest.mark.parametrize("name", SEMI)
def test_weight_zero_is_labels_only_bit_for_bit(name, tmp_path, monkeypatch):
    """Where heads learn from the labels the network is another one: then it is the same run without
    any unlabelled patch.
    """
    cohort, config = (
        toy_cohort(),
        replace(SMALL, select="last"),
    )  # a method in stages may be another one in its last steps only
    off = train(make_method(name, OFF[name]), cohort, config, tmp_path / "off", log=lambda s: None)
    on = train(make_method(name), cohort, config, tmp_path / "on", log=lambda s: None)
    if any(head.supervised for head in METHODS[name].networks["student"].heads.values()):
        monkeypatch.setattr(
            METHODS[name], "plan", lambda self, progress, default: Plan(default.labelled, 0)
        )
        plain = train(make_method(name), cohort, config, tmp_path / "plain", log=lambda s: None)
    else:
        plain = train(
            make_method("labels_only"), cohort, config, tmp_path / "plain", log=lambda s: None
        )
    weights, off, on = (run.nets["student"].state_dict() for run in (plain, off, on))
    assert all(torch.equal(value, off[key]) for key, value in weights.items())
    assert any(not torch.equal(value, on[key]) for key, value in weights.items())


@pytest.mark.parametrize("name", ALL)
def test_nan_labels_of_unlabelled_cases_change_nothing_and_the_test_split_stays_shut(
    name, tmp_path
):
    clean, poisoned = toy_cohort(), toy_cohort()
    for case_id in poisoned.split.unlabelled:
        case = poisoned.case(case_id)
        spoiled = replace(case, label=np.full(case.label.shape, np.nan))
        poisoned.sources[case_id] = poisoned.sources[case_id]._replace(
            load=lambda spoiled=spoiled: spoiled
        )
    for case_id in poisoned.split.test:
        poisoned.sources[case_id] = poisoned.sources[case_id]._replace(
            load=lambda: pytest.fail("the test split was opened")
        )
    runs = [
        train(make_method(name), c, SMALL, tmp_path / str(i), log=lambda s: None)
        for i, c in enumerate((clean, poisoned))
    ]
    same = [
        torch.equal(v, runs[1].nets[role].state_dict()[k])
        for role, net in runs[0].nets.items()
        for k, v in net.state_dict().items()
    ]
    assert all(same)


@pytest.mark.parametrize("name", ALL)
def test_save_and_resume_bit_for_bit(name, tmp_path):
    cohort, options = toy_cohort(), {"memory": 8} if name == "neighbour_vote" else {}
    whole = train(make_method(name, options), cohort, SMALL, tmp_path / "whole", log=lambda s: None)
    train(
        make_method(name, options),
        cohort,
        SMALL,
        tmp_path / "parts",
        stop_after=3,
        log=lambda s: None,
    )  # after the checkpoint of step 2
    parts = train(make_method(name, options), cohort, SMALL, tmp_path / "parts", log=lambda s: None)
    for role in whole.nets:
        a, b = whole.nets[role].state_dict(), parts.nets[role].state_dict()
        assert all(torch.equal(a[k], b[k]) for k in a), role
    assert whole.history.equals(parts.history)


@pytest.mark.parametrize("name", SEMI)
def test_batch_norm_averages_over_labelled_and_unlabelled_patches_together(name):
    """Two passes would leave running averages that fit neither half; at a weight of 1e-9 that alone
    cost 0.12 Dice.
    """
    method, batch = make_method(name), make_batch()
    nets = build_nets(method, replace(SMALL, norm="batch"), 3)
    method.losses(batch, nets, Progress(50, 100))
    trained = [nets[role] for role in method.learners(Progress(50, 100))]
    norms = [m for net in trained for m in net.modules() if isinstance(m, torch.nn.BatchNorm3d)]
    assert norms
    assert all(m.num_batches_tracked == 1 for m in norms)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("arch", ["unet", "unet2d"])
def test_bf16_on_a_cpu_is_finite(name, arch, tmp_path):
    config = replace(SMALL, precision="bf16-mixed", steps=2, arch=arch)
    run = train(make_method(name), toy_cohort(), config, tmp_path / "r", log=lambda s: None)
    assert run.history["total"].notna().all()
    assert all(torch.isfinite(v).all() for n in run.nets.values() for v in n.state_dict().values())


@pytest.mark.parametrize("name", ALL)
def test_it_improves_on_its_own_start_on_synthetic_hips(name, tmp_path):
    before, after, _ = trained_on_hips(name, tmp_path / "r")
    assert after > before + 0.05


def test_mean_teacher_consistency_by_hand():
    method, batch = (
        make_method("mean_teacher", {"sigma_teacher": 0.0, "sigma_student": 0.0}),
        make_batch(),
    )
    nets = build_nets(method, replace(SMALL, dropout=0.0), 3)
    with torch.no_grad():
        for p in nets["teacher"].parameters():
            p.mul_(0.9)
    term = method.losses(batch, nets, Progress(100, 100))["consistency"]
    p, q = (
        on_unlabelled(nets, batch).logits.double().softmax(1),
        nets["teacher"](batch.x_u).logits.double().softmax(1),
    )
    assert term.value.item() == pytest.approx((p - q).square().mean().item(), rel=1e-4)
    assert term.weight == pytest.approx(0.1)


def test_ua_mt_counts_only_sure_voxels():
    method, batch = (
        make_method("ua_mt", {"sigma_teacher": 0.0, "sigma_student": 0.0, "passes": 2}),
        make_batch(),
    )
    nets = build_nets(method, replace(SMALL, dropout=0.0), 3)
    with torch.no_grad():
        nets["teacher"].classifier.weight.mul_(3.0)
    term = method.losses(batch, nets, Progress(0, 100))["consistency"]
    p, q = (
        on_unlabelled(nets, batch).logits.double().softmax(1),
        nets["teacher"](batch.x_u).logits.double().softmax(1),
    )
    mask = entropy(q) < published_threshold(0.0, 3)
    assert 0 < mask.sum() < mask.numel()
    assert term.value.item() == pytest.approx(
        (p - q).square().mean(1)[mask].mean().item(), rel=1e-4
    )
    assert term.share == pytest.approx(mask.double().mean().item())


def test_ema_against_its_closed_form_with_buffers():
    student, teacher = (
        build_net("unet", 1, 2, width=4, depth=2, dropout=0.0, norm="batch", seed=s) for s in (0, 1)
    )
    start = {k: v.clone() for k, v in teacher.state_dict().items()}
    student(torch.randn(2, 1, 8, 8, 8))  # moves the running statistics
    for _ in range(5):
        ema_update(teacher, student, 0.9)
    for key, value in teacher.state_dict().items():
        target = student.state_dict()[key]
        if value.dtype.is_floating_point:
            assert torch.allclose(
                value.double(),
                0.9**5 * start[key].double() + (1 - 0.9**5) * target.double(),
                atol=1e-6,
            ), key
        else:
            assert torch.equal(value, target), key
    assert any("running" in key for key in start)


def test_ema_decay_warms_up_where_published():
    assert make_method("mean_teacher").decay_at(Progress(0, 10)) == 0.0
    assert make_method("mean_teacher").decay_at(Progress(9, 10)) == pytest.approx(0.9)
    assert make_method("embedding_matching").decay_at(Progress(0, 10)) == 0.99
    assert (
        make_method("embedding_matching", {"ema_decay": 1.0}).decay_at(Progress(5, 10)) == 1.0
    )  # a fixed teacher


def test_memory_is_first_in_first_out():
    memory = ReferenceMemory(2, 3, 1)
    memory.store(torch.tensor([[1.0], [2.0], [9.0]]), torch.tensor([0, 0, 1]))
    memory.store(torch.tensor([[3.0], [4.0]]), torch.tensor([0, 0]))
    vectors, labels = memory.recall()
    assert sorted(vectors[labels == 0].flatten().tolist()) == [2.0, 3.0, 4.0]
    assert vectors[labels == 1].tolist() == [[9.0]]


def test_toy_cases_are_alike_for_one_seed():
    assert (toy_case(1).image == toy_case(1).image).all()
    assert (toy_case(1).image != toy_case(2).image).any()
