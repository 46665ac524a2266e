"""DTC: a second output of signed distances, and the mask that it must agree with."""

import math

import pytest
import torch
from teaching import assert_same_teaching, gradients_of
from torch.nn import functional as F
from toy_step import noisy_step, seen_by_student

from ssltut.methods.classic.dtc import signed_distance
from ssltut.methods.registry import make_method
from ssltut.training.networks import build_nets


def outputs(nets, batch):
    """Logits of the classes, and distances of the foreground ones, for all patches."""
    out = nets["student"](seen_by_student(batch), heads=True)
    return out.logits, out.heads["sdf"].tanh()


@pytest.fixture
def near_the_surface(monkeypatch):
    """A new network whose distances are so small that the mask is not 0 or 1 already."""

    def build(method, config, n_classes):
        nets = build_nets(method, config, n_classes)
        with torch.no_grad():
            nets["student"].heads["sdf"].weight.mul_(1 / method.k)
        return nets

    monkeypatch.setattr("toy_step.build_nets", build)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("options", [{}, {"k": 5.0}])
def test_distances_agree_with_the_classes_as_a_mask(n_classes, options, float64, near_the_surface):
    terms, nets, batch = noisy_step(make_method("dtc", options), n_classes=n_classes)
    logits, d = outputs(nets, batch)
    assert d.shape[1] == n_classes - 1
    mask = 1 / (1 + (options.get("k", 1500.0) * d).exp())
    assert mask.std() > 0.05  # and not all of it saturated
    expected = (mask - logits.softmax(1)[:, 1:]).square().mean()
    assert_same_teaching(terms["consistency"].value, expected, nets)
    moved = gradients_of(terms["consistency"].value, nets)
    assert {"student.classifier.weight", "student.heads.sdf.weight"} <= set(moved)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_distances_are_learnt_from_labels_alone(n_classes, float64):
    terms, nets, batch = noisy_step(make_method("dtc"), n_classes=n_classes)
    truth = signed_distance(batch.y_l, n_classes).double()
    expected = (outputs(nets, batch)[1][:2] - truth).square().mean()
    assert_same_teaching(terms["distance"].value, expected, nets)
    assert "student.classifier.weight" not in gradients_of(terms["distance"].value, nets)
    one_hot = F.one_hot(batch.y_l, n_classes).movedim(-1, 1)[:, 1:]
    assert torch.equal(torch.sigmoid(-1500.0 * truth).round(), one_hot.double())


def test_without_its_weight_there_is_no_distance_term():
    assert "distance" not in noisy_step(make_method("dtc", {"sdf_weight": 0.0}))[0]


def test_signed_distance_of_a_cube_by_hand():
    label = torch.zeros(3, 7, 7, 7, dtype=torch.long)
    label[0, 2:5, 2:5, 2:5], label[1] = 1, 1
    found = signed_distance(label, 2)[:, 0]
    far = math.sqrt(12) - 0.5  # the corner of the patch lies (2, 2, 2) from the cube
    assert found[0, 3, 3, :].tolist() == pytest.approx(
        [1.5 / far, 0.5 / far, -0.5 / 1.5, -1.0, -0.5 / 1.5, 0.5 / far, 1.5 / far], rel=1e-5
    )
    assert found[0, 0, 0, 0] == 1.0
    assert (found[1] == -1.0).all()
    assert (found[2] == 1.0).all()
