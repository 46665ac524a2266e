"""A label map by sliding window, against MONAI's windows and an argmax: the machinery alone."""

from collections.abc import Callable
from multiprocessing import get_context

import numpy as np
import torch
from turns import Row, in_turns, peak, peer

from ssltut.training.windows import most_probable, sliding_window

SIZE, PATCH = 128, (32, 32, 32)


def rows() -> list[Row]:
    torch.manual_seed(0)
    # A network of one 1 x 1 x 1 convolution costs next to nothing.
    net = torch.nn.Sequential(torch.nn.Conv3d(1, 3, 1), torch.nn.Softmax(1)).requires_grad_(False)
    image = np.random.default_rng(0).standard_normal((SIZE,) * 3).astype(np.float32)

    def ours(image: np.ndarray = image) -> torch.Tensor:
        return sliding_window(net, image, PATCH, torch.device("cpu"), keep=most_probable)

    contestants: dict[str, Callable[[], torch.Tensor]] = {"ours": ours}
    notes, skipped = {"memory": memory_of(ours, image)}, ["monai"]
    if peer("monai"):
        from monai.inferers import sliding_window_inference

        def monai(image: np.ndarray = image) -> torch.Tensor:
            x = torch.from_numpy(image)[None, None]
            p = sliding_window_inference(x, PATCH, 4, net, overlap=0.5, mode="gaussian")
            return p[0].argmax(0)

        contestants["MONAI and argmax"] = monai
        notes["memory of MONAI"] = memory_of(monai, image)  # before this process has done any
        notes["the same labels"] = torch.equal(ours().long(), monai())
        skipped = []
    what = f"label map of {SIZE}³, 3 classes, windows of 32³"
    return [Row(what, "0.5 of MONAI and argmax", in_turns(contestants, 5), skipped, notes)]


def memory_of(work: Callable[[np.ndarray], object], image: np.ndarray) -> str:
    """What ``work`` of ``image`` adds to the most memory of a process that has done a small one."""
    context = get_context("fork")
    found = context.SimpleQueue()

    def child() -> None:
        work(image[:40, :40, :40].copy())
        before = peak()
        work(image)
        found.put(peak() - before)

    process = context.Process(target=child)
    process.start()
    process.join()
    return f"+{found.get():.0f} MiB"
