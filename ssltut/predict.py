"""Sliding-window prediction of whole scans, the same for validation, test and users' own."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ssltut.data.case import Case
from ssltut.data.patches import Intensity


@torch.no_grad()
def sliding_window(forward: Callable[[Tensor], Tensor], image: np.ndarray, patch: tuple[int, int, int], device,
                   overlap: float = 0.5) -> Tensor:
    """``forward`` on Gaussian-weighted windows of a normalised ``image`` (X, Y, Z) -> (C, X, Y, Z) float32 on the CPU (MONAI)."""
    from monai.inferers import sliding_window_inference

    x = torch.from_numpy(np.ascontiguousarray(image))[None, None]
    out = sliding_window_inference(
        x, patch, sw_batch_size=4, predictor=forward, overlap=overlap, mode="gaussian", padding_mode="replicate", sw_device=device,
        device="cpu", progress=False)
    return out[0].float()


def predict_probabilities(method, nets, case: Case, intensity: Intensity, patch: tuple[int, int, int]) -> Tensor:
    """Class probabilities (C, X, Y, Z) of one scan; networks are put in eval mode and back."""
    modes = {net: net.training for net in nets.values()}
    device = next(net for net in nets.values()).parameters().__next__().device
    for net in modes:
        net.eval()
    try:
        return sliding_window(lambda x: method.predict(nets, x), intensity.normalise(case.image), patch, device)
    finally:
        for net, mode in modes.items():
            net.train(mode)


def predict_label(method, nets, case: Case, intensity: Intensity, patch: tuple[int, int, int]) -> np.ndarray:
    """The most probable class of every voxel, (X, Y, Z) uint8."""
    return predict_probabilities(method, nets, case, intensity, patch).argmax(0).numpy().astype(np.uint8)
