"""Steps of UA-MT and embedding matching, against plain ones, and where their time goes.

The plain step has the same network with torch's dropout and layout, its passes one after the other,
and torch's default Adam.
"""

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch
from step_cost import late_training
from torch import Tensor, nn
from torch.nn import functional as F
from turns import Row, in_turns

from ssltut.methods.schedules import ramp
from ssltut.nets.base import Dropout
from ssltut.synthetic.cohorts import synthetic_cohort
from ssltut.training.config import profile_named
from ssltut.training.steps import Training

Work = Callable[[], object]
SIZES = {"bench: U-Net of width 4, 24³": {"width": 4, "patch": (24,) * 3}}
SIZES |= {"class: U-Net of width 8, 32³": {}}


def with_torchs_dropout(net: nn.Module) -> nn.Module:
    for module in net.modules():
        for name, child in module.named_children():
            if isinstance(child, Dropout):
                setattr(module, name, nn.Dropout(child.p))
    return net.to(memory_format=torch.contiguous_format)


def plain_ua_mt(training: Training) -> Work:
    """One step of UA-MT (Yu et al. 2019) as a script has it."""
    student, teacher, adam = plain_nets(training)
    n = training.config.labelled

    def step() -> None:
        batch = training.draw(training.done)
        logits = student(noisy(torch.cat([batch.x_l, batch.unlabelled]), 0.02)).logits
        with torch.no_grad():
            target = teacher(noisy(batch.unlabelled, 0.1)).logits.softmax(1)
            total = torch.zeros_like(target)
            for _ in range(8):
                total += teacher(noisy(batch.unlabelled, 0.1)).logits.softmax(1)
            sure = (entropy(total / 8) < 0.6).float()
        gap = (logits[n:].softmax(1) - target).square().mean(1)
        loss = supervised(logits[:n], batch.y_l)
        loss = loss + 0.1 * (gap * sure).sum() / (sure.sum() + 1e-6)
        learn(loss, student, teacher, adam)

    return step


def plain_matching(training: Training) -> Work:
    """One step of embedding matching (Xie et al. 2024) as a script has it."""
    student, teacher, adam = plain_nets(training)
    n, passes, redraws, k = training.config.labelled, 5, 5, 16
    rise = ramp(training.done / training.config.steps)
    limit = (0.75 + 0.25 * rise) * math.log(2)

    def step() -> None:
        batch = training.draw(training.done)
        out = student(torch.cat([batch.x_l, batch.unlabelled]))
        with torch.no_grad():
            total, unsure = 0.0, 0.0
            for _ in range(passes):
                p = teacher(noisy(batch.unlabelled, 0.01)).logits.softmax(1)
                total, unsure = total + p / passes, unsure + entropy(p) / passes
            teacher.eval()
            bank = teacher(noisy(batch.x_l, 0.01)).feats["embedding"].movedim(1, -1)
            teacher.train()
            unreliable = unsure >= limit
            labels = total.argmax(1)
            label = batch.y_l[:, None].float()
            edge = F.max_pool3d(label, 5, 1, 2) + F.max_pool3d(-label, 5, 1, 2) != 0
        query = F.normalize(out.feats["embedding"][n:].movedim(1, -1)[unreliable], dim=-1)
        classes = []
        for c in range(batch.n_classes):
            found = bank[(batch.y_l == c) & edge[:, 0]]
            scores = torch.zeros(len(query))
            for _ in range(redraws):
                drawn = found[torch.randperm(len(found))[:k]]
                pairs = query @ F.normalize(drawn, dim=-1).T
                scores = scores + pairs.mean(1) / redraws
            classes.append(scores)
        scores = torch.stack(classes, 1)
        per_voxel = F.cross_entropy(out.logits[n:], labels, reduction="none")
        sure = (~unreliable).float()
        loss = supervised(out.logits[:n], batch.y_l)
        loss = loss + 0.25 * rise * (per_voxel * sure).sum() / (sure.sum() + 1e-6)
        if len(query):
            matched = out.logits[n:].movedim(1, -1)[unreliable]
            loss = loss + 0.125 * rise * F.cross_entropy(matched, scores.argmax(1))
            loss = loss + 0.125 * rise * entropy(scores.softmax(1)).mean()
        learn(loss, student, teacher, adam)

    return step


def plain_nets(training: Training) -> tuple[nn.Module, nn.Module, torch.optim.Optimizer]:
    """Student, teacher and optimiser as torch has them."""
    student = with_torchs_dropout(deepcopy(training.nets["student"].module))
    teacher = deepcopy(student).requires_grad_(False)
    return student, teacher, torch.optim.Adam(student.parameters(), lr=1e-3)


def noisy(x: Tensor, sigma: float) -> Tensor:
    return x + sigma * torch.randn_like(x)


def entropy(p: Tensor) -> Tensor:
    return -(p * (p + 1e-6).log()).sum(1)


def supervised(logits: Tensor, label: Tensor) -> Tensor:
    """Cross-entropy and Dice."""
    p = logits.softmax(1)
    one_hot = F.one_hot(label, p.shape[1]).movedim(-1, 1)
    both = (p * one_hot).sum((0, 2, 3, 4))
    size = (p + one_hot).sum((0, 2, 3, 4))
    return F.cross_entropy(logits, label) + 1 - (2 * both / (size + 1e-5))[1:].mean()


def learn(loss: Tensor, student: nn.Module, teacher: nn.Module, adam: Any) -> None:
    adam.zero_grad()
    loss.backward()
    adam.step()
    with torch.no_grad():
        for a, b in zip(teacher.parameters(), student.parameters(), strict=True):
            a.mul_(0.99).add_(b, alpha=0.01)


PLAIN = {"ua_mt": ("UA-MT", plain_ua_mt)}
PLAIN |= {"embedding_matching": ("embedding matching", plain_matching)}


def profile_of(work: Work) -> dict[str, str]:
    """Shares of the CPU time of a step by what torch does, down to .4 %, and their sum."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as found:
        work()
    times = {event.key: event.self_cpu_time_total for event in found.key_averages()}
    whole = sum(times.values())
    large = {name: t / whole for name, t in times.items() if t > 0.004 * whole}
    ordered = sorted(large.items(), key=lambda pair: -pair[1])
    shares = {name.removeprefix("aten::"): f"{share:.1%}" for name, share in ordered}
    return shares | {"accounted for": f"{sum(large.values()):.1%}"}


def rows() -> list[Row]:
    found = []
    cohort = synthetic_cohort(n=8, size=64, labelled=2, validation=1, test=1)
    for size, changes in SIZES.items():
        for name, (title, plain) in PLAIN.items():
            config = replace(profile_named("class").train, **changes)
            training = late_training(name, cohort, config)

            def ours(training: Training = training) -> None:
                training.step(training.draw(training.done))
                training.done -= 1

            timings = in_turns({"ours": ours, "plain": plain(training)}, 5)
            goal = "0.65 of the plain step" if size.startswith("class") else "-"
            notes = {"profile": profile_of(ours)}
            found.append(Row(f"{title} step, {size}", goal, timings, notes=notes))
    return found
