"""Precise batch norm: averages that fit the weights."""

from dataclasses import replace

import pytest
import torch
from toy import SMALL, make_batch

from ssltut.methods.contract import Progress
from ssltut.methods.registry import make_method
from ssltut.training.batch_norm import precise_batch_norm
from ssltut.training.networks import build_nets


@pytest.mark.filterwarnings("ignore::ssltut.errors.DataWarning")
def test_precise_batch_norm_is_the_mean_over_the_batches():
    """The averages of a precise copy are the plain mean over the replayed batches; the networks in
    training keep theirs.
    """
    method = make_method("mean_teacher", {"sigma_student": 0.0})
    nets = build_nets(method, replace(SMALL, norm="batch"), 3)
    batches = [make_batch(seed=seed) for seed in range(3)]
    before = {
        role: {k: v.clone() for k, v in net.state_dict().items()} for role, net in nets.items()
    }
    precise = precise_batch_norm(method, nets, batches, Progress(50, 100))
    first, norm = (
        next(m for m in precise["student"].modules() if isinstance(m, kind))
        for kind in (torch.nn.Conv3d, torch.nn.BatchNorm3d)
    )
    with torch.no_grad():
        maps = [first(torch.cat([b.x_l, b.x_u])) for b in batches]
    assert torch.allclose(
        norm.running_mean, torch.stack([m.mean((0, 2, 3, 4)) for m in maps]).mean(0), atol=1e-6
    )
    assert torch.allclose(
        norm.running_var, torch.stack([m.var((0, 2, 3, 4)) for m in maps]).mean(0), rtol=1e-5
    )
    assert all(
        torch.equal(before[role][k], v)
        for role, net in nets.items()
        for k, v in net.state_dict().items()
    )


def test_networks_without_batch_norm_come_back_as_they_are():
    method = make_method("mean_teacher")
    nets = build_nets(method, replace(SMALL, norm="instance"), 3)
    assert precise_batch_norm(method, nets, [make_batch()], Progress(50, 100)) is nets


def test_what_a_method_adds_to_the_networks_stays_as_it_is_too():
    method = make_method("ss_net")
    nets = build_nets(method, replace(SMALL, norm="batch"), 3)
    before = {k: v.clone() for k, v in nets["separator"].state_dict().items()}
    precise = precise_batch_norm(method, nets, [make_batch()], Progress(50, 100))
    assert all(torch.equal(before[k], v) for k, v in nets["separator"].state_dict().items())
    assert precise["separator"].project[1].num_batches_tracked == 1
