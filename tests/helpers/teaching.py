"""What a term teaches: the parameters that it moves, and by how much."""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn


def gradients_of(value: Tensor, nets: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """The gradient of ``value`` for every parameter "role.name" that it moves at all."""
    named = {
        f"{role}.{name}": parameter
        for role, net in nets.items()
        for name, parameter in net.named_parameters()
        if parameter.requires_grad
    }
    found = torch.autograd.grad(value, list(named.values()), retain_graph=True, allow_unused=True)
    pairs = zip(named, found, strict=True)
    return {name: grad for name, grad in pairs if grad is not None and grad.any()}


def taught(value: Tensor, nets: Mapping[str, nn.Module]) -> set[str]:
    """The roles (and further modules) of ``nets`` that ``value`` moves."""
    return {name.split(".")[0] for name in gradients_of(value, nets)}


def assert_same_teaching(
    value: Tensor, reference: Tensor, nets: Mapping[str, nn.Module], rel: float = 1e-6
) -> None:
    """Two terms have one value, and move the same parameters alike."""
    assert value.item() == pytest.approx(reference.item(), rel=rel)
    mine, theirs = gradients_of(value, nets), gradients_of(reference, nets)
    assert mine.keys() == theirs.keys()
    for name, grad in mine.items():
        assert torch.allclose(grad, theirs[name], rtol=rel, atol=1e-9), name
