"""One suite for all methods: what the contract promises, whatever they do."""

from dataclasses import replace
from functools import cache, partial
from itertools import product

import numpy as np
import pytest
import torch
from toy import SMALL, make_batch, total, toy_case, toy_cohort, trained_on_hips

from ssltut.methods.contract import Consistency, Method, Nets, Outs, Progress, Term
from ssltut.methods.losses import entropy, supervised_loss
from ssltut.methods.registry import METHODS, make_method
from ssltut.training.loop import train
from ssltut.training.networks import build_nets
from ssltut.training.steps import open_run

ALL = list(METHODS)
SEMI = [name for name, m in METHODS.items() if m.supervision == "labelled+unlabelled"]
OWN_FORWARD = [name for name, m in METHODS.items() if m.forward is not Method.forward]
OFF = {name: dict.fromkeys(METHODS[name].loss_weights, 0.0) for name in SEMI}
# What the first pass of the predicting network holds: as many patches as in labels only, and
# further views of them.
VIEWS = {"c3s3": 8, "cad": 6, "ersr": 8, "fixmatch": 6, "versemi": 5}
HALF = Progress(50, 100)
ACTS = {"self_paced": Progress(20, 100)}  # a step with terms of its own, where HALF is none
# A method in stages may be another one in its last steps only.
LAST = replace(SMALL, select="last")
quietly = partial(train, log=lambda line: None)


class Entropy(Consistency):
    """The least a method can be: one term beside the labels."""

    name, title, year = "entropy", "least entropy", 2005
    paper = "Grandvalet & Bengio, NeurIPS 2004"

    def unlabelled(self, batch, nets: Nets, outs: Outs) -> Term:
        return Term(entropy(outs["student"].unlabelled.logits.softmax(1)).mean())


def grid():
    """Method, classes, empty labels, network: all of them where a method has its own forward pass.

    The base class's pass is tried on all by the toy method, by the others on the U-Net.
    """
    for name in ["entropy", *ALL]:
        every = name == "entropy" or name in OWN_FORWARD
        for arch in ("unet", "vnet", "unet2d") if every else ("unet",):
            for n_classes, empty in product((2, 3), (False, True)):
                case = f"{name}-{n_classes}-{'empty' if empty else 'full'}-{arch}"
                yield pytest.param(name, n_classes, empty, arch, id=case)


def states(nets):
    return {
        (role, key): value.clone()
        for role, net in nets.items()
        for key, value in net.state_dict().items()
    }


def changed_roles(before, nets):
    after = states(nets)
    return {key[0] for key, value in before.items() if not torch.equal(after[key], value)}


def same_weights(a, b):
    a, b = states(a), states(b)
    return a.keys() == b.keys() and all(torch.equal(value, b[key]) for key, value in a.items())


@pytest.fixture(scope="module")
def run_of(tmp_path_factory):
    """The run of a method with its defaults, trained once."""
    folder = tmp_path_factory.mktemp("runs")
    return cache(lambda name: quietly(make_method(name), toy_cohort(), LAST, folder / name))


@pytest.mark.parametrize(("name", "n_classes", "empty", "arch"), list(grid()))
def test_a_step_is_finite_and_teaches_only_what_should_learn(name, n_classes, empty, arch):
    method = Entropy() if name == "entropy" else make_method(name)
    learners = method.learners(HALF)
    nets = build_nets(method, replace(SMALL, arch=arch), n_classes)
    batch = make_batch(n_classes, empty=empty)
    before = states(nets)
    terms = method.losses(batch, nets, HALF)
    total(terms).backward()
    assert all(torch.isfinite(t.value) for t in terms.values())
    for role, spec in method.networks.items():
        gradients = [p.grad for p in nets[role].parameters()]
        if role in learners:
            assert spec.ema_of is None
            assert all(g is not None and torch.isfinite(g).all() for g in gradients)
        else:
            assert all(g is None for g in gradients)
    for (role, key), value in states(nets).items():  # batch norm of what learns may move
        of_learner = role in learners or role not in method.networks
        statistics = "running_" in key or "num_batches" in key
        assert (of_learner and statistics) or torch.equal(before[role, key], value), (role, key)
    p = method.predict(nets, batch.x_l)
    assert p.shape == (2, n_classes, 8, 8, 8)
    assert torch.allclose(p.sum(1), torch.ones(2, 8, 8, 8), atol=1e-5)


@pytest.mark.parametrize("name", ALL)
def test_terms_are_pure_and_update_writes_memories_and_averages_alone(name):
    method, batch = make_method(name), make_batch()
    nets = build_nets(method, SMALL, 3)
    outs = method.forward(batch, nets, HALF)
    before, values = states(nets), []
    for _ in range(2):
        torch.manual_seed(0)
        terms = method.terms(batch, nets, outs, HALF)
        values.append({key: (t.value.item(), t.weight, t.share) for key, t in terms.items()})
    assert values[0] == values[1]
    assert changed_roles(before, nets) == set()
    method.update(batch, nets, outs, HALF)
    memories = set(nets) - set(method.networks)
    averages = {role for role, spec in method.networks.items() if spec.ema_of}
    assert changed_roles(before, nets) <= memories | averages


@pytest.mark.parametrize("name", ALL)
def test_the_2d_network_sees_every_slice_by_itself(name, tmp_path):
    # A patch may be one slice; the third side need not be halved.
    config = replace(SMALL, arch="unet2d", patch=(8, 8, 1), steps=2)
    run = quietly(make_method(name), toy_cohort(), config, tmp_path / "r")
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


@pytest.mark.parametrize("name", sorted(set(SEMI) - {"same_batch"}))
@pytest.mark.parametrize("certain", [False, True])
def test_a_step_is_finite_where_every_network_is_sure_and_where_none_is(name, certain):
    method = make_method(name)
    nets = build_nets(method, SMALL, 3)
    with torch.no_grad():
        for role in method.networks:
            nets[role].classifier.weight.zero_()
            nets[role].classifier.bias.zero_()[0] = 50.0 * certain
    terms = method.losses(make_batch(), nets, ACTS.get(name, HALF))
    total(terms).backward()
    assert len(terms) > 1
    assert all(torch.isfinite(t.value) for t in terms.values())
    assert all(
        p.grad is None or torch.isfinite(p.grad).all()
        for role in method.networks
        for p in nets[role].parameters()
    )


@pytest.mark.parametrize("name", sorted(set(SEMI) - {"versemi"}))
def test_weights_of_zero_are_labels_only_same_batch_bit_for_bit(name, run_of, tmp_path):
    off = quietly(make_method(name, OFF[name]), toy_cohort(), LAST, tmp_path / "off")
    plain = run_of("same_batch").nets["student"].state_dict()
    off = off.nets["student"].state_dict()
    assert all(torch.equal(value, off[key]) for key, value in plain.items())
    if name != "same_batch":
        on = run_of(name).nets["student"].state_dict()
        assert any(not torch.equal(value, on[key]) for key, value in plain.items())


def test_weight_zero_on_a_prompted_network_is_its_labels_alone():
    """VerSemi's network is one of its own, so no run of labels only has its weights."""
    method, batch = make_method("versemi", OFF["versemi"]), make_batch()
    nets = build_nets(method, replace(SMALL, dropout=0.0, norm="instance"), 3)
    terms = method.losses(batch, nets, HALF)
    logits = method.see(batch, nets).labelled.logits
    assert list(terms) == ["supervised"]
    assert torch.equal(terms["supervised"].value, supervised_loss(logits, batch.y_l))


@pytest.mark.parametrize("name", ALL)
def test_as_many_patches_as_in_any_other_method(name, tmp_path):
    training, seen = open_run(make_method(name), toy_cohort(), LAST, tmp_path / "r"), []
    for role in training.method.trained:
        training.nets[role].register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    training.done = 3
    training.step(training.draw(3))
    assert seen[0] == VIEWS.get(name, LAST.labelled + LAST.unlabelled)


@pytest.mark.parametrize("name", ALL)
def test_nan_labels_of_unlabelled_cases_change_nothing_and_the_test_split_stays_shut(
    name, run_of, tmp_path
):
    poisoned = toy_cohort()
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
    run = quietly(make_method(name), poisoned, LAST, tmp_path / "r")
    assert same_weights(run.nets, run_of(name).nets)


@pytest.mark.parametrize("name", ALL)
def test_save_and_resume_bit_for_bit(name, run_of, tmp_path):
    method = make_method(name)
    # after the checkpoint of step 2
    quietly(method, toy_cohort(), LAST, tmp_path / "parts", stop_after=3)
    parts = quietly(method, toy_cohort(), LAST, tmp_path / "parts")
    assert same_weights(parts.nets, run_of(name).nets)
    assert parts.history.equals(run_of(name).history)


@pytest.mark.parametrize("name", SEMI)
def test_batch_norm_averages_over_labelled_and_unlabelled_patches_together(name):
    """Two passes would leave running averages that fit neither half; at a weight of 1e-9 that alone
    cost 0.12 Dice.
    """
    method, batch = make_method(name), make_batch()
    nets = build_nets(method, replace(SMALL, norm="batch"), 3)
    method.losses(batch, nets, HALF)
    trained = [nets[role] for role in method.learners(HALF)]
    norms = [m for net in trained for m in net.modules() if isinstance(m, torch.nn.BatchNorm3d)]
    assert norms
    assert all(m.num_batches_tracked == 1 for m in norms)


@pytest.mark.parametrize("name", ALL)
def test_bf16_on_a_cpu_is_finite(name, tmp_path):
    arch = "unet2d" if name in OWN_FORWARD else "unet"
    config = replace(SMALL, precision="bf16-mixed", steps=2, arch=arch)
    run = quietly(make_method(name), toy_cohort(), config, tmp_path / "r")
    assert run.history["total"].notna().all()
    assert all(torch.isfinite(v).all() for n in run.nets.values() for v in n.state_dict().values())


@pytest.mark.parametrize("name", ALL)
def test_it_improves_on_its_own_start_on_synthetic_hips(name, tmp_path):
    before, after, _ = trained_on_hips(name, tmp_path / "r")
    assert after > before + 0.05


def test_toy_cases_are_alike_for_one_seed():
    assert (toy_case(1).image == toy_case(1).image).all()
    assert (toy_case(1).image != toy_case(2).image).any()
