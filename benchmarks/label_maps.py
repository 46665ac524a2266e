"""A label map by sliding window, against MONAI's windows and an argmax: the machinery alone."""

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import torch
from turns import Row, in_turns, peak, peer

from ssltut.training.windows import most_probable, sliding_window

SIZE, PATCH = 128, (32, 32, 32)


def scan() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((SIZE,) * 3).astype(np.float32)


def network() -> torch.nn.Module:
    """One 1 x 1 x 1 convolution, which costs next to nothing."""
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv3d(1, 3, 1), torch.nn.Softmax(1)).requires_grad_(False)


def ours(image: np.ndarray) -> torch.Tensor:
    return sliding_window(network(), image, PATCH, torch.device("cpu"), keep=most_probable)


def monai(image: np.ndarray) -> torch.Tensor:
    from monai.inferers import sliding_window_inference

    x = torch.from_numpy(image)[None, None]
    p = sliding_window_inference(x, PATCH, 4, network(), overlap=0.5, mode="gaussian")
    return p[0].argmax(0)


def memory_of(name: str) -> str:
    """What a label map adds to the most memory of a process that has made a small one."""
    command = [sys.executable, __file__, name]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def rows() -> list[Row]:
    image, skipped = scan(), []
    contestants: dict[str, Callable[[], torch.Tensor]] = {"ours": lambda: ours(image)}
    notes = {"memory": memory_of("ours")}
    if peer("monai"):
        contestants["MONAI and argmax"] = lambda: monai(image)
        notes["memory of MONAI"] = memory_of("monai")
        notes["the same labels"] = str(torch.equal(ours(image).long(), monai(image)))
    else:
        skipped.append("monai")
    what = f"label map of {SIZE}³, 3 classes, windows of 32³"
    return [Row(what, "0.5 of MONAI and argmax", in_turns(contestants, 5), skipped, notes)]


if __name__ == "__main__":
    work = {"ours": ours, "monai": monai}[sys.argv[1]]
    work(scan()[:40, :40, :40].copy())
    before = peak()
    work(scan())
    print(f"+{peak() - before:.0f} MiB")
