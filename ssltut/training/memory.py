"""How much memory a run or a prediction will take, found and refused before it takes any."""

import copy
from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn

from ssltut.data.case import Case
from ssltut.memory import check_memory, free_memory
from ssltut.methods.contract import Method, Nets
from ssltut.training.config import TrainConfig
from ssltut.training.windows import A_CALL

SCRATCH = 110 * 2**20  # bytes that convolutions take besides, measured (benchmarks/memory.py)
OF_A_STEP = 1.2  # and what a step takes, as a share of what its passes keep
OF_A_PASS = 0.45  # what a pass without gradients takes, as a share of what it would keep


def free_on(device: torch.device) -> float:
    """Bytes that are free where networks compute."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else free_memory()


def bytes_of_training(
    method: Method, nets: Nets, config: TrainConfig, cases: Sequence[Case]
) -> float:
    """The pools of patches of ``cases``, and the step in which most is held."""
    pools = sum(map(_bytes_in_a_pool, cases))
    filling = 14 * max(case.image.size for case in cases)
    n = config.labelled + config.unlabelled
    kept = sum(bytes_kept(nets[role], n, config.patch) for role in method.trained)
    return pools + max(filling, OF_A_STEP * kept + SCRATCH)


def check_training(
    method: Method, nets: Nets, config: TrainConfig, cases: Sequence[Case], where: str
) -> None:
    """Raises ConfigError where the memory would not do to train on ``cases``."""
    work = f"training with patches of {' x '.join(map(str, config.patch))} voxels"
    fix = "use smaller patches, a narrower network, larger voxels or fewer scans"
    free = free_on(next(next(iter(nets.values())).parameters()).device)
    check_memory(
        bytes_of_training(method, nets, config, cases), work, free=free, where=where, fix=fix
    )


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


def check_prediction(
    net: nn.Module, case: Case, n_classes: int, patch: Sequence[int], labels: bool, besides: float
) -> None:
    """Raises ConfigError where the memory would not do for a scan, and ``besides`` (bytes)."""
    shape = case.image.shape
    work = f"prediction of {' x '.join(map(str, shape))} voxels"
    fix = "crop the scan, or predict it on a machine with more memory"
    needed = bytes_of_prediction(net, shape, n_classes, patch, labels=labels) + besides
    check_memory(needed, work, where=case.id, fix=fix)


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
