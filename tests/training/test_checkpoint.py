"""Checkpoints: whole or not at all, and nothing but tensors and JSON."""

import pytest
import torch
from torch import nn

from ssltut.errors import CheckpointError
from ssltut.files import write_atomically
from ssltut.training.checkpoint import (
    flatten_optimizer,
    load_checkpoint,
    load_net,
    restore_optimizer,
    save_checkpoint,
)

META = {"step": 3, "history": [{"step": 0, "total": 1.5}], "name": "é"}


@pytest.fixture
def file(tmp_path):
    save_checkpoint(
        tmp_path / "c.safetensors",
        {"net.student": nn.Linear(3, 2).state_dict(), "optimizer": {}},
        META,
    )
    return tmp_path / "c.safetensors"


def fail(*args, **options):
    raise OSError(28, "No space left on device")


def test_round_trip(tmp_path):
    net = nn.Sequential(nn.Conv3d(1, 2, 3), nn.BatchNorm3d(2))
    save_checkpoint(
        tmp_path / "new" / "c.safetensors",
        {"net.student": net.state_dict(), "other": {"a/b": torch.ones(2).bfloat16()}},
        META,
    )
    groups, meta = load_checkpoint(tmp_path / "new" / "c.safetensors")
    assert meta == META
    assert set(groups) == {"net.student", "other"}
    assert groups["other"]["a/b"].dtype == torch.bfloat16
    assert all(torch.equal(v, groups["net.student"][k]) for k, v in net.state_dict().items())
    twin = nn.Sequential(nn.Conv3d(1, 2, 3), nn.BatchNorm3d(2))
    load_net(twin, groups["net.student"], tmp_path)
    assert all(torch.equal(v, twin.state_dict()[k]) for k, v in net.state_dict().items())


def test_the_optimiser_goes_on_where_it_stopped(tmp_path):
    nets = [nn.Linear(2, 1, bias=False) for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    optimizers = [torch.optim.Adam(net.parameters(), lr=0.1) for net in nets]

    def step(net, optimizer, x):
        optimizer.zero_grad()
        net(x).sum().backward()
        optimizer.step()

    step(nets[0], optimizers[0], torch.tensor([[1.0, 2.0]]))
    nets[1].load_state_dict(nets[0].state_dict())
    save_checkpoint(tmp_path / "c", {"optimizer": flatten_optimizer(optimizers[0])}, META)
    restore_optimizer(optimizers[1], load_checkpoint(tmp_path / "c")[0]["optimizer"])
    for net, optimizer in zip(nets, optimizers, strict=True):
        step(net, optimizer, torch.tensor([[-3.0, 0.5]]))
    assert torch.equal(nets[0].weight, nets[1].weight)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"nothing\.safetensors: there is no checkpoint here"):
        load_checkpoint(tmp_path / "nothing.safetensors")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: b"",
        lambda data: data[:5],
        lambda data: data[:-1],
        lambda data: data[: len(data) // 2],
        lambda data: b"garbage" * 50,
        lambda data: data.replace(b'\\"step\\"', b'\\"step\\x'),
        lambda data: b"\xff" * 8 + data[8:],
    ],
)
def test_a_damaged_file_is_named_in_one_line(file, spoil):
    assert load_checkpoint(file)[1] == META
    file.write_bytes(spoil(file.read_bytes()))
    with pytest.raises(
        CheckpointError, match=r"c\.safetensors: the checkpoint cannot be read"
    ) as found:
        load_checkpoint(file)
    assert "\n" not in str(found.value)


def test_a_foreign_file_is_refused(tmp_path):
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "f.safetensors")
    with pytest.raises(CheckpointError, match="not an ssltut checkpoint"):
        load_checkpoint(tmp_path / "f.safetensors")


@pytest.mark.parametrize(
    ("net", "words"),
    [
        (nn.Linear(4, 2), "weight"),
        (nn.Linear(3, 2, bias=False), "bias"),
        (nn.Conv3d(1, 1, 1), "weight"),
    ],
)
def test_weights_of_another_network_name_the_tensor(file, net, words):
    with pytest.raises(CheckpointError, match=f"do not fit the network .*{words}") as found:
        load_net(net, load_checkpoint(file)[0]["net.student"], file)
    assert "\n" not in str(found.value)


def test_a_failed_write_leaves_the_old_file(file, monkeypatch):
    old = file.read_bytes()
    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(CheckpointError, match=r"c\.safetensors: .*No space .*Next: make room"):
        save_checkpoint(file, {"net.student": {"w": torch.zeros(1)}}, {"step": 4})
    assert file.read_bytes() == old
    assert [p.name for p in file.parent.iterdir()] == [file.name]


def test_a_failed_replacement_leaves_the_old_text(tmp_path, monkeypatch):
    write_atomically(tmp_path / "run.json", "old")
    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="No space"):
        write_atomically(tmp_path / "run.json", "new")
    assert (tmp_path / "run.json").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1
