"""A step of UA-MT, against the same step written down plainly, and where its time goes.

The plain step has the same network with torch's dropout and layout, its passes one after the other,
and torch's default Adam.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace

import torch
from step_cost import late_training
from torch import Tensor, nn
from torch.nn import functional as F
from turns import Row, in_turns

from ssltut.nets.base import Dropout
from ssltut.synthetic.cohorts import synthetic_cohort
from ssltut.training.config import profile_named
from ssltut.training.steps import Training

SIZES = {"bench: U-Net of width 4, 24³": {"width": 4, "patch": (24,) * 3}}
SIZES |= {"class: U-Net of width 8, 32³": {}}


def with_torchs_dropout(net: nn.Module) -> nn.Module:
    for module in net.modules():
        for name, child in module.named_children():
            if isinstance(child, Dropout):
                setattr(module, name, nn.Dropout(child.p))
    return net.to(memory_format=torch.contiguous_format)


def plain_step(training: Training) -> Callable[[], object]:
    """One step of UA-MT (Yu et al. 2019) as a script has it."""
    student = with_torchs_dropout(deepcopy(training.nets["student"].module))
    teacher = deepcopy(student).requires_grad_(False)
    adam = torch.optim.Adam(student.parameters(), lr=1e-3)
    n = training.config.labelled

    def entropy(p: Tensor) -> Tensor:
        return -(p * (p + 1e-6).log()).sum(1)

    def step() -> None:
        batch = training.draw(training.done)
        x, y = torch.cat([batch.x_l, batch.unlabelled]), batch.y_l
        logits = student(x + 0.02 * torch.randn_like(x)).logits
        with torch.no_grad():
            noisy = batch.unlabelled + 0.1 * torch.randn_like(batch.unlabelled)
            target = teacher(noisy).logits.softmax(1)
            total = torch.zeros_like(target)
            for _ in range(8):
                noisy = batch.unlabelled + 0.1 * torch.randn_like(batch.unlabelled)
                total += teacher(noisy).logits.softmax(1)
            sure = (entropy(total / 8) < 0.6).float()
        p = logits.softmax(1)
        one_hot = F.one_hot(y, p.shape[1]).movedim(-1, 1)
        both = (p[:n] * one_hot).sum((0, 2, 3, 4))
        size = (p[:n] + one_hot).sum((0, 2, 3, 4))
        loss = F.cross_entropy(logits[:n], y) + 1 - (2 * both / (size + 1e-5))[1:].mean()
        gap = (p[n:] - target).square().mean(1)
        loss = loss + 0.1 * (gap * sure).sum() / (sure.sum() + 1e-6)
        adam.zero_grad()
        loss.backward()
        adam.step()
        with torch.no_grad():
            for a, b in zip(teacher.parameters(), student.parameters(), strict=True):
                a.mul_(0.99).add_(b, alpha=0.01)

    return step


def profile_of(work: Callable[[], object]) -> dict[str, str]:
    """Shares of the CPU time of a step by what torch does, down to 1 %, and their sum."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as found:
        work()
    times = {event.key: event.self_cpu_time_total for event in found.key_averages()}
    whole = sum(times.values())
    large = {name: t / whole for name, t in times.items() if t > 0.01 * whole}
    ordered = sorted(large.items(), key=lambda pair: -pair[1])
    shares = {name.removeprefix("aten::"): f"{share:.1%}" for name, share in ordered}
    return shares | {"accounted for": f"{sum(large.values()):.1%}"}


def rows() -> list[Row]:
    found = []
    cohort = synthetic_cohort(n=8, size=64, labelled=2, validation=1, test=1)
    for name, changes in SIZES.items():
        config = replace(profile_named("class").train, **changes)
        training = late_training("ua_mt", cohort, config)
        plain = plain_step(training)

        def ours(training: Training = training) -> None:
            training.step(training.draw(training.done))
            training.done -= 1

        timings = in_turns({"ours": ours, "plain": plain}, 5)
        what = f"UA-MT step, {name}"
        goal = "0.65 of the plain step" if name.startswith("class") else "-"
        found.append(Row(what, goal, timings, notes={"profile": profile_of(ours)}))
    return found
