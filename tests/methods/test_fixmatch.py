"""FixMatch: what the student is sure of on a weak view teaches it on a strong one."""

import pytest
import torch
from teaching import assert_same_teaching
from torch.nn import functional as F
from toy_step import noisy_step, seen_by_student

from ssltut.errors import ConfigError
from ssltut.methods.losses import dice_loss, supervised_loss
from ssltut.methods.parts.perturb import strong_view
from ssltut.methods.registry import make_method
from ssltut.seeding import generator_for


def in_one_pass(nets, batch):
    """Logits of labelled, strong and weak views, which pass the student together."""
    views = seen_by_student(batch)
    strong = batch.noise(0.1, "strong")(strong_view(batch.x_u, batch.generator("strong")))
    return nets["student"](torch.cat([views[:2], strong, views[2:]])).logits.split(2)


@pytest.mark.parametrize("loss", ["ce", "ce_dice"])
@pytest.mark.parametrize("confidence", [0.4, 0.5])
def test_strong_views_learn_the_label_of_sure_voxels_of_weak_ones(loss, confidence, float64):
    method = make_method("fixmatch", {"confidence": confidence, "loss": loss})
    terms, nets, batch = noisy_step(method)
    _, strong, weak = in_one_pass(nets, batch)
    p, label = weak.detach().softmax(1).max(1)
    sure = p >= confidence
    assert 0 < sure.sum() < sure.numel()
    expected = (F.cross_entropy(strong, label, reduction="none") * sure).mean()
    if loss == "ce_dice":
        expected = expected + dice_loss(strong, label, sure)
    assert_same_teaching(terms["consistency"].value, expected, nets)
    assert terms["consistency"].share == pytest.approx(sure.double().mean().item())


def test_pseudo_labels_are_those_of_the_statistics_that_the_student_learns_under():
    """Running averages of a young network said other things than the batch: .55 right, not .63."""
    method = make_method("fixmatch", {"confidence": 0.0})
    _, nets, batch = noisy_step(method)
    for norm in (m for m in nets["student"].modules() if isinstance(m, torch.nn.BatchNorm3d)):
        norm.running_mean.fill_(7.0)
    torch.manual_seed(0)
    outs = method.forward(batch, nets, None)
    torch.manual_seed(0)
    _, strong, weak = in_one_pass(nets, batch)
    assert torch.equal(outs["student"].unlabelled.logits, strong)
    assert torch.equal(outs["weak"], weak.softmax(1))
    assert outs["student"].labelled.logits.requires_grad
    assert not outs["weak"].requires_grad


def test_labels_are_learnt_on_their_weak_views(float64):
    terms, nets, batch = noisy_step(make_method("fixmatch"))
    labelled, *_ = in_one_pass(nets, batch)
    assert_same_teaching(terms["supervised"].value, supervised_loss(labelled, batch.y_l), nets)


def test_a_strong_view_moves_no_voxel_and_cuts_one_box():
    x = torch.full((2, 1, 9, 9, 9), 3.0)
    x[:, :, 0] = 7.0  # a mirror would move this side
    seen = strong_view(x, generator_for("cpu", 0))
    assert torch.equal(seen, strong_view(x, generator_for("cpu", 0)))
    assert all((sample == 0).sum() == 27 for sample in seen)
    assert not torch.equal(seen[0], seen[1])
    assert all(
        sample[0, 0][sample[0, 0] != 0].min() > sample[0, 1:][sample[0, 1:] != 0].max()
        for sample in seen
    )


def test_another_loss_is_refused():
    with pytest.raises(ConfigError, match="loss is"):
        make_method("fixmatch", {"loss": "dice"})
    assert make_method("fixmatch", {"loss": "ce_dice"}).options["loss"] == "ce_dice"
