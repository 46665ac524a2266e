"""Memory of a run and of a prediction: forecast, and refused before it is taken."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from toy import SMALL, toy_cohort
from toy_run import quiet

from ssltut import memory as memory_here
from ssltut.errors import ConfigError
from ssltut.methods.registry import make_method
from ssltut.nets.build import build_net
from ssltut.training import memory
from ssltut.training.loop import train
from ssltut.training.steps import open_run

SIZE = {"width": 4, "depth": 2, "dropout": 0.1, "norm": "batch", "seed": 0}


def test_what_a_pass_keeps_is_counted_without_computing_it() -> None:
    net = torch.nn.Sequential(torch.nn.Conv3d(1, 4, 1), torch.nn.ReLU(), torch.nn.Conv3d(4, 2, 1))
    before = net[0].weight.clone()
    # Input and weights of both convolutions; the ReLU keeps its output, which the second one reads.
    voxels = 2 * 8**3
    expected = 4 * (1 * voxels + 4 * voxels + 4 + 8)
    assert memory.bytes_kept(net, 2, (8, 8, 8)) == pytest.approx(expected, rel=0.01)
    assert torch.equal(net[0].weight, before)


@pytest.mark.parametrize("arch", ["unet", "vnet"])
def test_a_pass_keeps_twice_as_much_of_twice_as_many_patches(arch: str) -> None:
    net = build_net(arch, 1, 3, **SIZE).requires_grad_(False)
    one, two = (memory.bytes_kept(net, n, (16, 16, 16)) for n in (1, 2))
    assert two == pytest.approx(2 * one, rel=0.05)
    assert one > 16**3 * 4 * 4


def test_training_holds_its_pools_and_a_step() -> None:
    cases = toy_cohort().training("labelled")
    method = make_method("labels_only")
    nets = {"student": torch.nn.Conv3d(1, 1, 1)}
    needed = memory.bytes_of_training(method, nets, SMALL, cases)
    labels = sum(int((case.label > 0).sum()) for case in cases)
    pools = 3 * sum(case.image.size for case in cases) + 24 * labels
    n = SMALL.labelled + SMALL.unlabelled
    kept = memory.bytes_kept(nets["student"], n, SMALL.patch)
    assert needed == pools + memory.OF_A_STEP * kept + memory.SCRATCH


def test_training_that_does_not_fit_is_refused_before_it_begins(tmp_path, monkeypatch) -> None:
    method, cohort = make_method("labels_only"), toy_cohort()
    monkeypatch.setattr(memory, "free_on", lambda device: 2.0**20)
    with pytest.raises(ConfigError, match=r"training with patches of .* needs about 0\.1 GiB"):
        open_run(method, cohort, SMALL, tmp_path / "run", log=quiet)
    assert not (tmp_path / "run").exists()
    monkeypatch.undo()
    assert open_run(method, cohort, SMALL, tmp_path / "run", log=quiet).done == 0


def test_prediction_that_does_not_fit_is_refused(tmp_path, monkeypatch) -> None:
    trained = train(
        make_method("labels_only"), toy_cohort(), replace(SMALL, steps=1), tmp_path, log=quiet
    )
    case = toy_cohort().case("case0")
    monkeypatch.setattr(memory_here, "free_memory", lambda: 1000.0)
    for predict in (trained.predict, trained.probabilities):
        with pytest.raises(ConfigError, match=r"prediction of .* needs about"):
            predict(case)
    monkeypatch.undo()
    assert trained.predict(case).shape == case.image.shape


def test_labels_take_less_than_probabilities_and_the_scan_counts() -> None:
    net = build_net("unet", 1, 3, **SIZE)
    patch, shape = (16, 16, 16), (64, 64, 64)
    labels = memory.bytes_of_prediction(net, shape, 3, patch, labels=True)
    probabilities = memory.bytes_of_prediction(net, shape, 3, patch, labels=False)
    assert probabilities - labels == 11 * np.prod(shape)
    large = memory.bytes_of_prediction(net, (128, 64, 64), 3, patch, labels=True)
    assert large - labels == 9 * np.prod(shape)
