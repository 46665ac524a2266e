"""The networks of a run: their kinds, and the weights they start with."""

import json
from dataclasses import replace

import pytest
import torch
from toy import SMALL
from toy_run import run_of, same_weights

from ssltut.errors import CheckpointError
from ssltut.methods.contract import Network
from ssltut.methods.registry import LabelsOnly, make_method
from ssltut.training.networks import build_nets, start_from


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
