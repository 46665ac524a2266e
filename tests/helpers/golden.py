"""Three steps of every method in float64: the value and weight of every term, to the last digits.

fp32 is no measure: rounding differs between kinds of processors and grows along a training. In
float64 the same steps agree to nine digits and more on all of them, with any number of threads.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from toy import SMALL, total, toy_cohort

from ssltut.data.patches import Intensity, PatchPool
from ssltut.methods.contract import Method, Plan, Progress, Supervision
from ssltut.seeding import derive_seed
from ssltut.training.batches import draw_batch
from ssltut.training.networks import build_nets

FOLDER = Path(__file__).parents[1] / "methods" / "golden"
# Every stage of every method has begun in the last two, and none but the first in the first.
STEPS = (Progress(5, 100), Progress(65, 100), Progress(95, 100))
CONFIG = replace(SMALL, labelled=2, unlabelled=2)


@contextmanager
def in_float64() -> Iterator[None]:
    """Everything that training keeps in fp32 is float64, what ``Tensor.float`` guards included."""
    plain = torch.Tensor.float
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double
    try:
        yield
    finally:
        torch.Tensor.float = plain
        torch.set_default_dtype(torch.float32)


def steps_of(method: Method) -> list[dict[str, list[float]]]:
    """Value and weight of every term in each of STEPS, with an update of all networks between."""
    cohort = toy_cohort()
    if method.supervision is Supervision.ALL:
        cohort = cohort.with_budget("all")
    with in_float64():
        parts = [cohort.training("labelled"), cohort.training("unlabelled")]
        intensity = Intensity.of([case for part in parts for case in part])
        pools = [
            PatchPool(part, intensity, CONFIG.patch, "cpu") if part else None for part in parts
        ]
        if method.supervision is not Supervision.SEMI:
            pools[1] = None
        nets = build_nets(method, CONFIG, cohort.table.n_classes)
        groups = [
            {"params": [p for p in net.parameters() if p.requires_grad], "role": role}
            for role, net in nets.items()
        ]
        optimizer = torch.optim.Adam([group for group in groups if group["params"]], lr=CONFIG.lr)
        found = []
        for progress in STEPS:
            torch.manual_seed(derive_seed(CONFIG.seed, "dropout", progress.step))
            plan = method.plan(progress, Plan(CONFIG.labelled, CONFIG.unlabelled))
            batch = draw_batch(*pools, plan, CONFIG, cohort.table.n_classes, progress.step)
            acting = method.acting(batch, progress)
            outs = acting.forward(batch, nets, progress)
            terms = acting.terms(batch, nets, outs, progress)
            for group in optimizer.param_groups:
                group["lr"] = CONFIG.lr * plan.rates.get(group["role"], 1.0)
            optimizer.zero_grad(set_to_none=True)
            total(terms).backward()
            optimizer.step()
            acting.update(batch, nets, outs, progress)
            found.append({k: [float(t.value.detach()), float(t.weight)] for k, t in terms.items()})
    return found


def golden(name: str) -> list[dict[str, list[float]]]:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def write(name: str, values: list[dict[str, list[float]]]) -> None:
    (FOLDER / f"{name}.json").write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
