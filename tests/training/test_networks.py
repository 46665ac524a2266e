"""The networks of a run: their kinds, and the weights they start with."""

import json
from dataclasses import replace

import pytest
import torch
from toy import SMALL, make_batch, toy_cohort
from toy_run import run_of, same_weights

from ssltut.errors import CheckpointError
from ssltut.methods.contract import Network, Progress
from ssltut.methods.registry import LabelsOnly, make_method
from ssltut.training.batch_norm import precise_batch_norm
from ssltut.training.networks import build_nets, start_from
from ssltut.training.run import load_run
from ssltut.training.steps import open_run


def test_init_starts_every_role_from_the_teacher(plain):
    method = make_method("embedding_matching")
    nets = build_nets(method, SMALL, 3)
    assert not same_weights(nets["student"], plain.nets["student"])
    start_from(nets, method, plain.folder)
    assert same_weights(nets["student"], plain.nets["student"])
    assert same_weights(nets["teacher"], plain.nets["student"])


def test_a_role_may_have_a_network_of_another_kind(plain, tmp_path, monkeypatch):
    """Its follower has the same kind, and a start from a run leaves it its own weights."""
    networks = {
        "student": Network(),
        "other": Network(arch="vnet"),
        "teacher": Network(ema_of="other"),
    }
    monkeypatch.setattr(LabelsOnly, "networks", networks)
    nets = build_nets(make_method("labels_only"), SMALL, 3)
    assert [type(net).__name__ for net in nets.values()] == ["UNet", "VNet", "VNet"]
    before = {k: v.clone() for k, v in nets["other"].state_dict().items()}
    start_from(nets, make_method("labels_only"), plain.folder)
    assert torch.equal(nets["student"].classifier.weight, plain.nets["student"].classifier.weight)
    assert all(torch.equal(before[k], v) for k, v in nets["other"].state_dict().items())
    flat = build_nets(make_method("labels_only"), replace(SMALL, arch="unet2d"), 3)
    assert [(type(net).__name__, net.sides) for net in flat.values()] == [
        ("UNet", 2),
        ("VNet", 2),
        ("VNet", 2),
    ]


def test_init_is_part_of_the_run(plain, tmp_path):
    config = replace(SMALL, steps=1)
    warm = run_of("mean_teacher", tmp_path / "warm", config, init=plain.folder)
    cold = run_of("mean_teacher", tmp_path / "cold", config)
    assert (
        json.loads((warm.folder / "run.json").read_text())["init"]
        == json.loads((plain.folder / "run.json").read_text())["hash"]
    )
    assert not same_weights(warm.nets["student"], cold.nets["student"])
    with pytest.raises(CheckpointError, match="no run here"):
        run_of("mean_teacher", tmp_path / "none", config, init=tmp_path / "nothing")
    with pytest.raises(CheckpointError, match="do not fit"):
        run_of("mean_teacher", tmp_path / "wide", replace(config, width=6), init=plain.folder)
    assert not (tmp_path / "wide").exists()


def other_layout(tensors):
    """Names of the 5D tensors without channels as the innermost axis."""
    return [
        name
        for name, t in tensors.items()
        if t.ndim == 5 and not t.is_contiguous(memory_format=torch.channels_last_3d)
    ]


def test_networks_batches_and_their_copies_keep_channels_innermost(tmp_path):
    def opened():
        return open_run(make_method("ua_mt"), toy_cohort(), SMALL, tmp_path)

    first = opened()
    for step in range(2):
        batch = first.draw(step)
        first.step(batch)
    first.validate()
    resumed = opened()
    precise = precise_batch_norm(first.method, first.nets, [make_batch()], Progress(1, 4))
    assert other_layout({"labelled": batch.x_l, "unlabelled": batch.x_u}) == []
    for nets in (first.nets, resumed.nets, precise, load_run(tmp_path, unfinished=True).nets):
        for role in ("student", "teacher"):
            weights = nets[role].state_dict()
            assert any(t.ndim == 5 and t.stride(1) == 1 for t in weights.values())
            assert other_layout(weights) == []
    for training in (first, resumed):
        for parameter, state in training.optimizer.state.items():
            assert state["exp_avg"].stride() == parameter.stride()
            assert state["exp_avg_sq"].stride() == parameter.stride()
            assert parameter.grad is None or other_layout({"gradient": parameter.grad}) == []


def test_adam_is_fused_and_moves_weights_by_the_betas_of_the_configuration(tmp_path):
    config = replace(SMALL, betas=(0.6, 0.7), precision="32-true", decay=0.0)
    training = open_run(make_method("labels_only"), toy_cohort(), config, tmp_path)
    assert training.optimizer.defaults["fused"]
    weights = dict(training.nets["student"].named_parameters())
    expected = {name: w.detach().double() for name, w in weights.items()}
    m, v = dict.fromkeys(weights, 0.0), dict.fromkeys(weights, 0.0)
    for step in range(3):
        training.step(training.draw(step))
        for name, weight in weights.items():
            gradient = weight.grad.double()
            m[name] = 0.6 * m[name] + 0.4 * gradient
            v[name] = 0.7 * v[name] + 0.3 * gradient.square()
            corrected = m[name] / (1 - 0.6 ** (step + 1)), v[name] / (1 - 0.7 ** (step + 1))
            expected[name] -= config.lr * corrected[0] / (corrected[1].sqrt() + 1e-8)
    for name, weight in weights.items():
        assert torch.allclose(weight.double(), expected[name], atol=1e-5), name
