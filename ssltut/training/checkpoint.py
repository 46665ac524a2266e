"""Checkpoints: one safetensors file, written atomically, with JSON in its header; no pickle."""

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ssltut.errors import CheckpointError
from ssltut.files import whole_file
from ssltut.methods.contract import Nets
from ssltut.options import WholeNumber, check_content

MAX_WEIGHT = 1e9  # no training that works comes near it
META = {  # what the header of a checkpoint holds
    "primary": str,
    "step": WholeNumber,
    "best": dict[str, Any] | None,
    "history": list[dict[str, Any]],
    "intensity": tuple[float, float],
}

MAKE_ROOM = "make room, then give the same command again: it goes on from the last checkpoint"


def flatten_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's tensors by "index.name"; its settings are in the configuration already."""
    return {
        f"{i}.{name}": torch.as_tensor(value)
        for i, state in optimizer.state_dict()["state"].items()
        for name, value in state.items()
        if value is not None
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put ``tensors`` back; fused Adam takes for granted that they lie as their parameters do."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        parameter = parameters[int(index)]
        if value.shape == parameter.shape:
            value = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})


def save_checkpoint(path: Path, groups: dict[str, dict[str, Tensor]], meta: dict[str, Any]) -> None:
    """Write tensors by group ("net.student", "optimizer") and ``meta`` to ``path``.

    The old file stays whole until the new one is. Raises CheckpointError for a full disk.
    """
    from safetensors.torch import save

    tensors = {
        f"{group}/{name}": t.detach().cpu().contiguous().clone()
        for group, items in groups.items()
        for name, t in items.items()
    }
    content = save(tensors, metadata={"ssltut": json.dumps(meta)})
    try:
        with whole_file(path) as part:
            part.write_bytes(content)
    except OSError as error:
        what = f"the checkpoint cannot be written ({error.strerror or error})"
        raise CheckpointError(what, where=path, fix=MAKE_ROOM) from None


def check_room(folder: Path, nets: Nets, optimizer: torch.optim.Optimizer) -> None:
    """Raises CheckpointError where the checkpoints of a run would not fit on the disk.

    They are the networks twice and Adam's two moments; while one is written its old self is there.
    """
    states = [tensor for net in nets.values() for tensor in net.state_dict().values()]
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    best = sum(tensor.nbytes for tensor in states)
    last = best + 2 * sum(tensor.nbytes for tensor in trained)
    files = [folder / "best.safetensors", folder / "last.safetensors"]
    present = sum(file.stat().st_size for file in files if file.exists())
    folder.mkdir(parents=True, exist_ok=True)
    need, free = best + 2 * last - present, shutil.disk_usage(folder).free
    if need > free:
        what = f"checkpoints need {need / 1e6:,.0f} MB more, and {free / 1e6:,.0f} MB are free"
        raise CheckpointError(what, where=folder, fix=MAKE_ROOM)


def load_checkpoint(
    path: Path, need: Iterable[str] = ()
) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """The groups and the meta data of ``path``.

    Raises CheckpointError for a missing, damaged or foreign file, and where the meta data are not
    of the kinds of META or lack one of ``need``.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        fix = "train first, or give the folder of a finished run"
        raise CheckpointError("there is no checkpoint here", where=path, fix=fix)
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            header = (file.metadata() or {}).get("ssltut")
            names = file.keys()  # safe_open is no dictionary: it cannot be iterated itself
            tensors = {name: file.get_tensor(name) for name in names}
            meta = header and json.loads(header)
    except (SafetensorError, OSError, ValueError) as error:
        what = f"the checkpoint cannot be read ({error})"
        fix = "delete the file and train again"
        raise CheckpointError(what, where=path, fix=fix) from None
    if not meta:
        fix = "give a file written by ssltut train"
        raise CheckpointError("the file is not an ssltut checkpoint", where=path, fix=fix)
    check_content(meta, META, path, need, CheckpointError)
    groups: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        group, _, name = key.partition("/")
        groups.setdefault(group, {})[name] = tensor
    return groups, meta


def load_net(net: nn.Module, tensors: dict[str, Tensor], where: Path) -> None:
    """Load weights into ``net``.

    float16 becomes float32, as the runs that ship need it. Raises CheckpointError for the weights
    of another network, of another type, and for those that are not finite or beyond MAX_WEIGHT.
    """
    own = net.state_dict()
    for name, tensor in tensors.items():
        wanted = own[name].dtype if name in own else tensor.dtype
        if tensor.dtype not in (wanted, torch.float16):
            what = f"the weights {name} are {tensor.dtype}, the network has {wanted}"
            raise CheckpointError(what, where=where, fix="convert them, or train again")
        # NaN is not. Memories hold whole numbers too, such as the keys of scans.
        if tensor.is_floating_point() and not (tensor.abs() <= MAX_WEIGHT).all():
            what = f"the weights {name} are not finite or beyond {MAX_WEIGHT:g}"
            raise CheckpointError(what, where=where, fix="take another checkpoint, or train again")
    try:
        net.load_state_dict(tensors)
    except RuntimeError as error:
        what = f"the weights do not fit the network ({str(error).splitlines()[1].strip()})"
        fix = "use the configuration the run was trained with"
        raise CheckpointError(what, where=where, fix=fix) from None


def load_pretrained(net: nn.Module, weights: Path) -> None:
    """Load weights from a .safetensors file of a state dict, or the folder of a run.

    Of a run it takes the predicting network. Raises CheckpointError where there are none, or they
    are those of another network.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if weights.is_dir():
        groups, meta = load_checkpoint(weights / "best.safetensors", META)
        tensors = groups[f"net.{meta['primary']}"]
    else:
        try:
            tensors = load_file(weights)
        except (SafetensorError, OSError) as error:
            what = f"the weights cannot be read ({error})"
            fix = "give a .safetensors file or the folder of a run"
            raise CheckpointError(what, where=weights, fix=fix) from None
    load_net(getattr(net, "net", net), tensors, weights)
