"""What a training step of a method costs: passes through networks, networks, memory, seconds.

``results/costs.py`` measures every method with it.
"""

import time
from collections.abc import Mapping, Sequence

import pandas as pd
import torch
from torch import nn

from ssltut.data.batch import Batch
from ssltut.data.cohort import Cohort
from ssltut.data.patches import Intensity, PatchPool
from ssltut.evaluation.record import COSTS
from ssltut.methods.contract import Method, Plan, Progress, Supervision
from ssltut.methods.registry import METHODS, make_method
from ssltut.training.batches import draw_batch
from ssltut.training.config import TrainConfig
from ssltut.training.networks import build_nets

TINY = TrainConfig(steps=100, patch=(16, 16, 16), width=4, depth=2)
WHEN = 0.85  # the fraction of training at which every stage of every method has begun


def costs(
    cohort: Cohort,
    names: Sequence[str] = tuple(METHODS),
    config: TrainConfig = TINY,
    repeats: int = 3,
) -> pd.DataFrame:
    """The costs of a step of each method on this machine's CPU, a row each by its title; columns
    COSTS.
    """
    pools = pools_of(cohort, config)
    return pd.DataFrame(
        {
            METHODS[name].title: cost(
                make_method(name), pools, config, cohort.table.n_classes, repeats
            )
            for name in names
        }
    ).T


def pools_of(cohort: Cohort, config: TrainConfig) -> list[PatchPool]:
    """The labelled and the unlabelled scans of a cohort, as training draws patches of them."""
    cases = cohort.training("labelled"), cohort.training("unlabelled")
    intensity = Intensity.of([case for part in cases for case in part])
    return [PatchPool(part, intensity, config.patch, "cpu") for part in cases]


def step(
    method: Method,
    nets: Mapping[str, nn.Module],
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    progress: Progress,
) -> None:
    """One training step on the CPU in fp32."""
    outs = method.forward(batch, nets, progress)
    terms = method.terms(batch, nets, outs, progress)
    optimizer.zero_grad(set_to_none=True)
    sum(term.weight * term.value for term in terms.values() if term.weight).backward()
    optimizer.step()
    method.update(batch, nets, outs, progress)


def cost(
    method: Method, pools: Sequence[PatchPool], config: TrainConfig, n_classes: int, repeats: int
) -> dict[str, float]:
    """One row of ``costs``: passes and memory of the last, seconds of the quickest of ``repeats``
    steps, after one that is not counted.

    Memory: all weights and buffers, and what the step keeps until its backward pass is done. A pass
    takes a whole batch of patches.
    """
    nets = build_nets(method, config, n_classes)
    learning = [p for net in nets.values() for p in net.parameters() if p.requires_grad]
    optimizer, count = torch.optim.Adam(learning, lr=config.lr), {"passes": 0}
    hooks = [
        nets[role].register_forward_hook(lambda *_: count.update(passes=count["passes"] + 1))
        for role in method.networks
    ]
    state = held(nets)
    seconds, kept = [], {}
    for n in range(repeats + 1):
        progress = Progress(round(WHEN * config.steps) + n, config.steps)
        plan = method.plan(progress, Plan(config.labelled, config.unlabelled))
        batch = draw_batch(
            pools[0],
            pools[1] if method.supervision is Supervision.SEMI else None,
            plan,
            config,
            n_classes,
            n,
        )
        count["passes"], kept, begun = 0, {}, time.perf_counter()

        def keep(tensor: torch.Tensor, kept: dict[int, int] = kept) -> torch.Tensor:
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            step(method, nets, optimizer, batch, progress)
        seconds.append(time.perf_counter() - begun)
    for hook in hooks:
        hook.remove()
    memory = sum((kept | state).values()) / 2**20
    return dict(
        zip(COSTS, (count["passes"], len(method.networks), memory, min(seconds[1:])), strict=True)
    )


def held(nets: dict[str, nn.Module]) -> dict[int, int]:
    """Bytes of every parameter and buffer, by where they lie."""
    tensors = [t for net in nets.values() for t in (*net.parameters(), *net.buffers())]
    return {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
