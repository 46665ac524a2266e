"""The networks of a run, the weights they start with, and what moves them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ssltut.methods.contract import Method, Nets
from ssltut.nets.build import build_net
from ssltut.seeding import derive_seed
from ssltut.training.checkpoint import META, load_checkpoint, load_net, load_pretrained
from ssltut.training.config import TrainConfig


def build_nets(method: Method, config: TrainConfig, n_classes: int) -> dict[str, nn.Module]:
    """A network a role, those of EMA as copies without gradient, then the method's modules."""
    size = {name: getattr(config, name) for name in ("width", "depth", "dropout", "norm")}
    nets: dict[str, Any] = {}
    for role, spec in method.networks.items():
        model = method.networks[spec.ema_of or role]
        seed = derive_seed(config.seed, "init", spec.ema_of or role)
        arch = model.arch or config.arch
        if config.arch.endswith("2d") and ":" not in arch:
            arch = f"{arch.removesuffix('2d')}2d"
        net = build_net(arch, 1, n_classes, **size, seed=seed, heads=model.heads)
        net.train(spec.ema_of is None or spec.mode == "train")
        nets[role] = net.requires_grad_(spec.ema_of is None)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(config.seed, "init", "extra"))
        return {**nets, **method.extra_modules(next(iter(nets.values())), n_classes)}


def start_from(nets: Mapping[str, nn.Module], method: Method, init: Path) -> None:
    """Give every role the weights of the predicting network of the run in ``init``.

    Heads start anew, as that run may have had others, and so do networks of another kind.
    """
    groups, meta = load_checkpoint(init / "best.safetensors", META)
    tensors = groups[f"net.{meta['primary']}"]
    body = {name: t for name, t in tensors.items() if not name.startswith("heads.")}
    for role, spec in method.networks.items():
        model = method.networks[spec.ema_of or role]
        if model.arch is None and not any(head.prompts for head in model.heads.values()):
            own = nets[role].state_dict()
            heads = {name: t for name, t in own.items() if name.startswith("heads.")}
            load_net(nets[role], body | heads, init)


def start_pretrained(nets: Nets, method: Method, log: Callable[[str], None]) -> None:
    """Give the roles that ask for them their pre-trained weights, or log that there are none."""
    for role, spec in method.networks.items():
        if spec.weights:
            load_pretrained(nets[role], Path(spec.weights))
        elif spec.weights is not None:
            why = "as no pre-trained weights were given (option weights)"
            log(f"{method.title}: the network {role!r} starts at random, {why}")


def adam(nets: Mapping[str, nn.Module], config: TrainConfig) -> torch.optim.Adam:
    """Adam over all that learns, in a group of parameters for each role; fused where it can be."""
    groups: list[dict[str, Any]] = []
    for role, net in nets.items():
        parameters = [p for p in net.parameters() if p.requires_grad]
        if parameters:
            groups.append({"params": parameters, "role": role})
    fused = groups[0]["params"][0].device.type in ("cpu", "cuda") or None
    return torch.optim.Adam(groups, lr=config.lr, betas=config.betas, fused=fused)
