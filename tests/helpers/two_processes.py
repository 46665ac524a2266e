"""Trainings that ``torchrun`` shares between processes, and what each of them ended with.

``python two_processes.py FOLDER`` is one of the processes.
"""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import torch
from golden import in_float64
from torch import Tensor
from torch.nn.functional import cross_entropy
from toy import SMALL, toy_cohort

from ssltut.data.batch import Batch
from ssltut.methods.classic.mean_teacher import MeanTeacher
from ssltut.methods.contract import Method, Outs, Supervision, Term, Terms
from ssltut.methods.registry import METHODS, make_method
from ssltut.training.config import TrainConfig
from ssltut.training.loop import train
from ssltut.training.processes import average_gradients, make_fabric
from ssltut.training.steps import open_run

# No layer joins the patches of a batch, and none draws.
APART = replace(SMALL, steps=4, labelled=4, unlabelled=2, norm="instance", dropout=0.0)
SHORT = replace(SMALL, steps=2, labelled=2, unlabelled=2)


class PerPatch(MeanTeacher):
    """A mean teacher whose loss is a mean over patches, so that it can be shared exactly."""

    name = "per_patch"

    def labelled(self, batch: Batch, outs: Outs) -> Terms:
        logits = outs[self.trained[0]].labelled.logits
        return {"supervised": Term(cross_entropy(logits, batch.y_l))}


def steps_of(method: Method, config: TrainConfig, folder: Path) -> tuple[dict, list[dict]]:
    """The steps of ``config``: all weights that are learnt or follow, and the history."""
    cohort = toy_cohort()
    if method.supervision is Supervision.ALL:
        cohort = cohort.with_budget("all")
    training = open_run(method, cohort, config, folder, log=lambda line: None)
    for step in range(config.steps):
        training.step(training.draw(step))
    weights = {
        f"{role}.{name}": value.detach().clone()
        for role, net in training.nets.items()
        for name, value in net.named_parameters()
    }
    return weights, training.history


def per_patch(folder: Path) -> tuple[dict[str, Tensor], list[dict[str, float]]]:
    with in_float64():
        return steps_of(PerPatch(sigma_student=0.0, sigma_teacher=0.0), APART, folder)


def averaged() -> list[float | None]:
    """Gradients of which both processes have the first, the second process the next, none the last.

    The first process has 2, the second 4.
    """
    rank = int(os.environ["RANK"])
    values = [torch.nn.Parameter(torch.zeros(())) for _ in range(3)]
    for value in values[: rank + 1]:
        value.grad = torch.tensor(2.0 * (rank + 1))
    fabric = make_fabric(torch.device("cpu"), "32-true")
    average_gradients(fabric, torch.optim.SGD(values, lr=1.0))
    return [None if value.grad is None else float(value.grad) for value in values]


def in_two_processes(folder: Path) -> list[dict]:
    """What the two processes of one training ended with."""
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *command, __file__, str(folder)],
        env=env,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    ends = [torch.load(folder / f"end{rank}.pt", weights_only=False) for rank in (0, 1)]
    return [end | {"said": done.stdout} for end in ends]


def main() -> None:
    folder = Path(sys.argv[1])
    end = {"per patch": per_patch(folder / "per patch")}
    end["methods"] = {
        name: steps_of(make_method(name), SHORT, folder / name)[0] for name in METHODS
    }
    for stop_after in (2, None):  # it is stopped, and goes on
        run = train(
            make_method("ua_mt"), toy_cohort(), SMALL, folder / "run", stop_after=stop_after
        )
    end |= {"history": run.history, "gradients": averaged()}
    torch.save(end, folder / f"end{os.environ['RANK']}.pt")


if __name__ == "__main__":
    main()
