"""How the time grows with patch side, width, passes, classes, scans, queries and references."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from step_cost import TINY, late_training
from turns import Row, in_turns

from ssltut.methods.matching.primitives import nearest
from ssltut.methods.uncertainty import mc_dropout
from ssltut.nets.build import build_net
from ssltut.synthetic.cohorts import synthetic_cohort
from ssltut.synthetic.hip import make_case

Work = Callable[[], object]


def step(side: int = 24, width: int = 8, scans: int = 6) -> Work:
    """A step of UA-MT."""
    cohort = synthetic_cohort(n=scans + 2, size=48, labelled=2, validation=1, test=1)
    config = replace(TINY, patch=(side,) * 3, width=width)
    training = late_training("ua_mt", cohort, config)

    def work() -> None:
        training.step(training.draw(training.done))
        training.done -= 1

    return work


def passes(n: int) -> Work:
    net = unet(classes=3)
    views = [torch.randn(2, 1, 24, 24, 24) for _ in range(n)]
    return lambda: mc_dropout(net, views)


def classes(n: int) -> Work:
    net, x = unet(n), torch.randn(2, 1, 24, 24, 24)
    return lambda: net(x).logits.sum().backward()


def unet(classes: int) -> torch.nn.Module:
    return build_net("unet", 1, classes, width=4, depth=2, dropout=0.1, norm="batch", seed=0)


def matches(queries: int = 8000, references: int = 4000) -> Work:
    query, bank = torch.randn(queries, 32), torch.randn(references, 32)
    return lambda: nearest(query, bank, 9)


CURVES: dict[str, tuple[Callable[[int], Work], Sequence[int]]] = {
    "patch side, UA-MT step": (lambda n: step(side=n), (16, 24, 32)),
    "width, UA-MT step": (lambda n: step(width=n), (4, 8, 16)),
    "passes, MC dropout": (passes, (4, 8, 16)),
    "classes, forward and backward": (classes, (3, 12, 48)),
    "scans, UA-MT step": (lambda n: step(scans=n, side=16), (4, 16, 32)),
    "queries, exact top-9": (lambda n: matches(queries=n), (4000, 8000, 16000)),
    "references, exact top-9": (lambda n: matches(references=n), (3000, 6000, 12000)),
    "side of a synthetic scan": (lambda n: lambda: make_case(1, size=n), (48, 72, 108)),
}


def rows() -> list[Row]:
    found = []
    for what, (make, sizes) in CURVES.items():
        timings = in_turns({str(n): make(n) for n in reversed(sizes)}, 3)
        cpu = [timings[str(n)]["cpu"] for n in sizes]
        whole = math.log(cpu[-1] / cpu[0]) / math.log(sizes[-1] / sizes[0])
        last = math.log(cpu[-1] / cpu[-2]) / math.log(sizes[-1] / sizes[-2])
        notes = {"exponent": f"{whole:.2f} over {sizes[0]} to {sizes[-1]}, {last:.2f} at the end"}
        found.append(Row(f"growth: {what}", "-", timings, notes=notes))
    return found
