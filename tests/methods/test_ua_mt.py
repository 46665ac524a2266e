"""UA-MT: which voxels count, and what they teach."""

import math

import pytest
import torch
from teaching import assert_same_teaching
from toy_step import noisy_step, rise, seen_by_student

from ssltut.methods.contract import Progress
from ssltut.methods.registry import make_method
from ssltut.nets.modes import dropout_on


def entropies(p, classes):
    """Of probabilities (..., C, X, Y, Z) at dimension -4: over all, or the two most probable."""
    if classes == "two":
        p = p.topk(2, dim=-4).values
        p = p / p.sum(-4, keepdim=True)
    return -(p * p.log()).sum(-4)


@pytest.mark.parametrize("done", [0, 60, 100])
@pytest.mark.parametrize(("classes", "n_classes"), [("two", 3), ("two", 2), ("all", 3)])
def test_voxels_count_where_the_mean_of_eight_noisy_passes_has_little_entropy(
    classes, n_classes, done, float64
):
    method = make_method("ua_mt", {"classes": classes})
    progress = Progress(done, 100)
    terms, nets, batch = noisy_step(method, n_classes=n_classes, progress=progress)
    p = nets["student"](seen_by_student(batch)).logits[2:].softmax(1)
    teacher = nets["teacher"].eval()
    q = teacher(batch.noise(0.1, "teacher", "unlabelled")(batch.x_u)).logits.softmax(1)
    with dropout_on(teacher):
        views = [batch.noise(0.1, "mc", m)(batch.x_u) for m in range(8)]
        passes = teacher(torch.cat(views)).logits.softmax(1).unflatten(0, (8, -1))  # in one call
    limit = (0.75 + 0.25 * rise(done / 100)) * math.log(2 if classes == "two" else n_classes)
    of_mean = entropies(passes.mean(0), classes)
    sure = of_mean < limit
    assert (entropies(passes, classes).mean(0) < limit).sum() != sure.sum() or done == 100
    assert sure.any()
    assert not sure.all() or done == 100
    squared = (p - q.detach()).square().sum(1)
    expected = (squared * sure).sum() / (n_classes * sure.sum())
    assert_same_teaching(terms["consistency"].value, expected, nets)
    assert terms["consistency"].share == pytest.approx(sure.double().mean().item())
