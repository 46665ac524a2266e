"""CPS: hard labels of each network for the other."""

import pytest
import torch
from teaching import assert_same_teaching, gradients_of
from torch.nn import functional as F
from toy_step import noisy_step, seen_by_student

from ssltut.errors import ConfigError
from ssltut.methods.losses import supervised_loss
from ssltut.methods.registry import make_method


@pytest.mark.parametrize(("on", "first"), [("all", 0), ("unlabelled", 2)])
def test_each_network_learns_the_hard_labels_of_the_other(on, first, float64):
    terms, nets, batch = noisy_step(make_method("cps", {"on": on}))
    z, w = (nets[role](seen_by_student(batch)).logits[first:] for role in ("student", "second"))
    assert not torch.equal(z, w)
    expected = F.cross_entropy(z, w.argmax(1)) + F.cross_entropy(w, z.argmax(1))
    assert_same_teaching(terms["consistency"].value, expected, nets)


def test_each_network_learns_the_labels(float64):
    terms, nets, batch = noisy_step(make_method("cps"))
    for role, name in (("student", "supervised"), ("second", "second supervised")):
        logits = nets[role](seen_by_student(batch)).logits[:2]
        assert_same_teaching(terms[name].value, supervised_loss(logits, batch.y_l), nets)


def test_labels_carry_no_gradient_to_the_network_that_gave_them(float64):
    terms, nets, batch = noisy_step(make_method("cps"))
    z = nets["student"](seen_by_student(batch)).logits
    labels = nets["second"](seen_by_student(batch)).logits.argmax(1)
    mine = gradients_of(F.cross_entropy(z, labels), nets)
    both = gradients_of(terms["consistency"].value, nets)
    assert set(mine) == {name for name in both if name.startswith("student")}
    assert all(torch.allclose(grad, both[name]) for name, grad in mine.items())


def test_other_patches_than_all_or_the_unlabelled_are_refused():
    with pytest.raises(ConfigError, match="on is"):
        make_method("cps", {"on": "labelled"})
    assert make_method("cps", {"on": "unlabelled"}).options["on"] == "unlabelled"
