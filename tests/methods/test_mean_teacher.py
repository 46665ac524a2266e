"""Mean teacher by its equation, averages of networks, and memories."""

import pytest
import torch
from teaching import assert_same_teaching, taught
from toy_step import noisy_step, seen_by_student

from ssltut.methods.contract import Progress
from ssltut.methods.parts.ema import ema_update
from ssltut.methods.parts.memory import ReferenceMemory, after_storing
from ssltut.methods.registry import make_method
from ssltut.nets.build import build_net


def test_the_student_follows_the_noisy_teacher_in_eval_mode(float64):
    terms, nets, batch = noisy_step(make_method("mean_teacher"))
    p = nets["student"](seen_by_student(batch)).logits[2:].softmax(1)
    noisy = batch.noise(0.1, "teacher", "unlabelled")(batch.x_u)
    q = nets["teacher"].eval()(noisy).logits.softmax(1).detach()
    assert_same_teaching(terms["consistency"].value, (p - q).square().mean(), nets)
    assert taught(terms["consistency"].value, nets) == {"student"}


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


@pytest.mark.parametrize("name", ["mean_teacher", "ua_mt"])
def test_ema_decay_warms_up_where_published(name):
    decay = make_method(name).decay_at
    assert decay(Progress(0, 1000)) == 0.0
    assert decay(Progress(9, 1000)) == pytest.approx(0.9)
    assert decay(Progress(98, 1000)) == pytest.approx(1 - 1 / 99)
    assert decay(Progress(500, 1000)) == 0.99
    assert make_method(name, {"ema_warmup": False}).decay_at(Progress(0, 1000)) == 0.99


def test_the_teacher_of_embedding_matching_follows_at_once_or_not_at_all():
    assert make_method("embedding_matching").decay_at(Progress(0, 10)) == 0.99
    fixed = make_method("embedding_matching", {"ema_decay": 1.0})
    assert fixed.decay_at(Progress(5, 10)) == 1.0


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
