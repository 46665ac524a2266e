"""Sliding windows: the numbers of MONAI's, and what is kept of a few layers is kept of all."""

import numpy as np
import pytest
import torch

from ssltut.training.windows import most_probable, sliding_window

CPU = torch.device("cpu")
SIZES = {
    "several windows along each axis": ((40, 33, 27), (16, 12, 16)),
    "odd sides": ((31, 25, 20), (15, 13, 9)),
    "smaller than the patch along two axes": ((7, 30, 9), (16, 16, 16)),
    "as large as the patch": ((12, 12, 12), (12, 12, 12)),
    "one layer": ((30, 20, 1), (16, 16, 1)),
}


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv3d(1, 4, 3, padding=1), torch.nn.Softmax(1))


def scan(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("size", SIZES)
def test_windows_give_the_bits_of_monai(size):
    inferers = pytest.importorskip("monai.inferers")
    (shape, patch), forward = SIZES[size], network()
    image = scan(shape)
    with torch.no_grad():
        expected = inferers.sliding_window_inference(
            torch.from_numpy(image)[None, None],
            patch,
            4,
            forward,
            overlap=0.5,
            mode="gaussian",
            padding_mode="constant",
            cval=float(image.min()),
        )[0]
    found = sliding_window(forward, image, patch, CPU)
    assert torch.equal(found, expected)
    label = sliding_window(forward, image, patch, CPU, keep=most_probable)
    assert label.dtype == torch.uint8
    assert torch.equal(label.long(), expected.argmax(0))


def test_only_the_layers_that_windows_still_reach_are_in_memory():
    image, seen = scan((64, 16, 16)), []

    def keep(p):
        seen.append(p.shape[1])
        return p.sum(0, keepdim=True)

    total = sliding_window(network(), image, (16, 16, 16), CPU, keep=keep)
    assert total.shape == (1, 64, 16, 16)
    assert torch.allclose(total, torch.ones(()))
    assert sum(seen) == 64
    assert max(seen) <= 16


def test_equal_probabilities_give_the_first_class_and_no_number_the_class_that_has_none():
    p = torch.tensor([[0.4, 0.2, 0.1], [0.4, 0.4, torch.nan], [0.2, 0.4, 0.9]])
    assert most_probable(p).tolist() == [0, 1, 1]
    many = torch.randint(3, (5, 8, 9, 10), generator=torch.Generator().manual_seed(0)).float()
    assert torch.equal(most_probable(many).long(), many.argmax(0))
    assert np.array_equal(most_probable(many), many.numpy().argmax(0))
