"""Each baseline's own equation against float64 or hand-computed values."""

import pytest
import torch
from toy_step import everything, rise, step

from ssltut.errors import ConfigError
from ssltut.methods.losses import dice_loss, supervised_loss
from ssltut.methods.parts.perturb import strong_view
from ssltut.methods.registry import make_method
from ssltut.nets.modes import eval_mode
from ssltut.seeding import generator_for


@pytest.mark.parametrize("on", ["all", "unlabelled"])
def test_cps_is_the_cross_entropy_to_the_labels_of_the_other(on):
    terms, nets, batch = step("cps", {"on": on})
    log_p, log_q = (
        everything(nets[role], batch)[0][0 if on == "all" else 2 :].log_softmax(1)
        for role in ("student", "second")
    )
    expected = sum(
        -a.gather(1, b.argmax(1, keepdim=True)).mean() for a, b in ((log_p, log_q), (log_q, log_p))
    )
    assert terms["consistency"].value.item() == pytest.approx(expected.item(), rel=1e-4)
    assert terms["consistency"].weight == pytest.approx(0.1 * rise(0.5))
    assert not torch.equal(log_p, log_q)
    for role, name in (("student", "supervised"), ("second", "second supervised")):
        assert terms[name].value.item() == pytest.approx(
            supervised_loss(nets[role](batch.x_l).logits, batch.y_l).item(), rel=1e-5
        )


def test_cps_labels_carry_no_gradient_to_the_network_that_gave_them():
    terms, nets, _ = step("cps", {"on": "unlabelled"})
    p, q = ([*nets[role].parameters()] for role in ("student", "second"))
    both = torch.autograd.grad(terms["consistency"].value, [*p, *q])
    assert all(g.abs().sum() > 0 for g in (both[0], both[len(p)]))
    nets["second"].requires_grad_(False)
    again, nets, _ = step("cps", {"on": "unlabelled"})
    assert all(
        torch.equal(a, b)
        for a, b in zip(
            torch.autograd.grad(again["consistency"].value, [*nets["student"].parameters()]),
            both,
            strict=False,
        )
    )


@pytest.mark.parametrize("loss", ["ce", "ce_dice"])
def test_fixmatch_learns_strong_views_where_the_weak_one_is_sure(loss):
    options = {"confidence": 0.45, "loss": loss}
    terms, nets, batch = step("fixmatch", options)
    with eval_mode(nets["student"]):
        sure, label = nets["student"](batch.x_u).logits.double().softmax(1).max(1)
    strong = batch.noise(0.1, "strong")(strong_view(batch.x_u, batch.generator("strong")))
    logits, mask = nets["student"](strong).logits.double(), sure >= 0.45
    assert 0 < mask.sum() < mask.numel()
    ce = -logits.log_softmax(1).gather(1, label[:, None])[:, 0]
    expected = (ce * mask).sum() / mask.numel() + (
        dice_loss(logits, label, mask) if loss == "ce_dice" else 0.0
    )
    assert terms["consistency"].value.item() == pytest.approx(expected.item(), rel=1e-4)
    assert terms["consistency"].share == pytest.approx(mask.double().mean().item())
    assert terms["consistency"].weight == 1.0
    assert step("fixmatch", options | {"weight": 0.1, "rampup": 1.0})[0][
        "consistency"
    ].weight == pytest.approx(0.1 * rise(0.5))


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


@pytest.mark.parametrize(
    ("name", "option", "words"),
    [
        ("cps", {"on": "labelled"}, "on is"),
        ("fixmatch", {"loss": "dice"}, "loss is"),
    ],
)
def test_wrong_options_are_refused_and_right_ones_are_not(name, option, words):
    with pytest.raises(ConfigError, match=words):
        make_method(name, option)
    assert make_method(name).options
