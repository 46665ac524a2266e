"""Mean teacher and UA-MT by their equations, averages of networks, and memories."""

from dataclasses import replace

import pytest
import torch
from toy import SMALL, make_batch

from ssltut.methods.contract import Progress
from ssltut.methods.parts.ema import ema_update
from ssltut.methods.parts.memory import ReferenceMemory, after_storing
from ssltut.methods.registry import make_method
from ssltut.methods.uncertainty import class_entropy, published_threshold
from ssltut.nets.build import build_net
from ssltut.training.networks import build_nets


def on_unlabelled(nets, batch):
    """The student in train mode, normalised by the statistics of all patches of the step."""
    return nets["student"](torch.cat([batch.x_l, batch.x_u])).split(len(batch.x_l))[1]


def test_mean_teacher_consistency_by_hand():
    method = make_method("mean_teacher", {"sigma_teacher": 0.0, "sigma_student": 0.0})
    batch = make_batch()
    nets = build_nets(method, replace(SMALL, dropout=0.0), 3)
    with torch.no_grad():
        for p in nets["teacher"].parameters():
            p.mul_(0.9)
    term = method.losses(batch, nets, Progress(100, 100))["consistency"]
    p = on_unlabelled(nets, batch).logits.double().softmax(1)
    q = nets["teacher"](batch.x_u).logits.double().softmax(1)
    assert term.value.item() == pytest.approx((p - q).square().mean().item(), rel=1e-4)
    assert term.weight == pytest.approx(0.1)


@pytest.mark.parametrize("classes", ["two", "all"])
def test_ua_mt_counts_only_sure_voxels(classes):
    quiet = {"sigma_teacher": 0.0, "sigma_student": 0.0, "passes": 2}
    method = make_method("ua_mt", quiet | {"classes": classes})
    batch = make_batch()
    nets = build_nets(method, replace(SMALL, dropout=0.0), 3)
    with torch.no_grad():
        nets["teacher"].classifier.weight.mul_(3.0)
    term = method.losses(batch, nets, Progress(0, 100))["consistency"]
    p = on_unlabelled(nets, batch).logits.double().softmax(1)
    q = nets["teacher"](batch.x_u).logits.double().softmax(1)
    mask = class_entropy(q, classes) < published_threshold(0.0, 3, classes)
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


def test_a_copy_that_has_stored_leaves_the_memory_as_it_was():
    memory = ReferenceMemory(2, 3, 1)
    later = after_storing(memory, torch.ones(1, 1), torch.zeros(1, dtype=torch.long))
    assert later.filled.tolist() == [1, 0]
    assert memory.filled.tolist() == [0, 0]
