"""One training on several processes, as ``torchrun`` starts them: one for each GPU.

All draw the same batch, each learns from its share of the patches, and all step by the mean of
their gradients, so that their networks stay the same. The first process writes and reports.
"""

import os
from typing import TYPE_CHECKING, Any

import torch
from torch.optim import Optimizer

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def n_processes() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def make_fabric(device: torch.device, precision: Any) -> "Fabric":
    """Fabric on one device, or with the other processes that ``torchrun`` has started."""
    from lightning_fabric import Fabric
    from lightning_fabric.strategies import DDPStrategy

    class Unwrapped(DDPStrategy):
        """Without its wrapper, which a method that calls a network twice a step would confuse."""

        def setup_module(self, module: Any) -> Any:
            return module

    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    strategy: Any = Unwrapped() if n_processes() > 1 else "auto"
    fabric = Fabric(
        accelerator=device.type,
        strategy=strategy,
        devices=here,
        num_nodes=n_processes() // here,
        precision=precision,
    )
    fabric.launch()
    return fabric


def average_gradients(fabric: "Fabric", optimizer: Optimizer) -> None:
    """Give every process the mean of the gradients of all; one that has none counts as 0.

    A parameter that no process has a gradient of keeps none.
    """
    if fabric.world_size == 1:
        return
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    has = torch.tensor([float(p.grad is not None) for p in parameters], device=fabric.device)
    having: Any = fabric.all_reduce(has, reduce_op="sum")
    for parameter, n in zip(parameters, having.tolist(), strict=True):
        if n:
            mine = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            mean: Any = fabric.all_reduce(mine, reduce_op="mean")
            parameter.grad = mean


def mean_row(fabric: "Fabric", row: dict[str, float]) -> dict[str, float]:
    """A row of the history: the mean over the processes."""
    if fabric.world_size == 1:
        return row
    values = torch.tensor(list(row.values()), dtype=torch.float64, device=fabric.device)
    means: Any = fabric.all_reduce(values, reduce_op="mean")
    return dict(zip(row, means.tolist(), strict=True))
