"""How much memory a run or a prediction will take, found before it takes any."""

import copy
from collections.abc import Mapping, Sequence
from math import prod

import torch
from torch import Tensor, nn

from ssltut.data.case import Case
from ssltut.memory import free_memory
from ssltut.methods.contract import Method
from ssltut.training.config import TrainConfig
from ssltut.training.windows import A_CALL

SCRATCH = 110 * 2**20  # bytes that convolutions take besides, measured (benchmarks/memory.py)
OF_A_STEP = 1.2  # and what a step takes, as a share of what its passes keep
OF_A_PASS = 0.45  # what a pass without gradients takes, as a share of what it would keep


def free_on(device: torch.device) -> float:
    """Bytes that are free where networks compute."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else free_memory()


def bytes_of_training(
    method: Method, nets: Mapping[str, nn.Module], config: TrainConfig, cases: Sequence[Case]
) -> float:
    """The pools of patches of ``cases``, and the step in which most is held."""
    pools = sum(map(_bytes_in_a_pool, cases))
    filling = 14 * max(case.image.size for case in cases)
    n = config.labelled + config.unlabelled
    kept = sum(bytes_kept(nets[role], n, config.patch) for role in method.trained)
    return pools + max(filling, OF_A_STEP * kept + SCRATCH)


def _bytes_in_a_pool(case: Case) -> int:
    """An int16 image; of a labelled scan also its label, and three int64 a voxel of a class."""
    if case.label is None:
        return 2 * case.image.size
    return 3 * case.image.size + 24 * int((case.label > 0).sum())


def bytes_of_prediction(
    net: nn.Module, shape: Sequence[int], n_classes: int, patch: Sequence[int], *, labels: bool
) -> float:
    """A label map, or the probabilities, of a scan by sliding window, beside the scan itself."""
    kept = 1 if labels else 4 * n_classes
    sums = 4 * (n_classes + 2) * patch[0] * prod(shape[1:])
    return (8 + kept) * prod(shape) + sums + OF_A_PASS * bytes_kept(net, A_CALL, patch)


def bytes_kept(net: nn.Module, n: int, patch: Sequence[int]) -> int:
    """What a pass of ``n`` patches keeps for the backward pass: told by tensors without content."""
    storages = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        storages[storage._cdata] = storage  # kept, so that no address is given twice
        return tensor

    empty = copy.deepcopy(net).to("meta").requires_grad_().train()
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        empty(torch.empty((n, 1, *patch), device="meta"))
    return sum(storage.nbytes() for storage in storages.values())
