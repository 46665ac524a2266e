"""Make the pictures that exercises should lead to: ``python notebooks/expected.py``.

They lie in ``notebooks/figures`` and show the teacher that ships, at the size of a class.
"""

from math import log
from pathlib import Path

import numpy as np
import torch

from ssltut import profile_named, show, synthetic_cohort
from ssltut.data.views import Noise
from ssltut.methods.losses import entropy
from ssltut.nets.modes import dropout_on
from ssltut.training.shipped import shipped

FIGURES = Path(__file__).resolve().parent / "figures"


def two_entropies() -> bytes:
    """Exercise 1 of notebook 03, on its patch, with the difference beside it."""
    scans = synthetic_cohort(**profile_named("class").cohort)
    teacher, case = shipped("teacher_class"), scans.validation()[0]
    side = teacher.config.patch[0]
    middle = np.argwhere(case.label > 0).mean(0)
    starts = np.clip(middle - side / 2, 0, np.subtract(case.image.shape, side)).astype(int)
    box = tuple(slice(start, start + side) for start in starts)
    x = torch.from_numpy(teacher.intensity.normalise(case.image[box]))[None, None]
    torch.manual_seed(0)
    with dropout_on(teacher.nets["student"]), torch.no_grad():
        logits = [teacher.nets["student"](Noise(0.01, m)(x)).logits for m in range(5)]
    passes = torch.cat(logits).softmax(1)
    within = entropy(passes, dim=1).mean(0).numpy()
    whole = entropy(passes.mean(0), dim=0).numpy()
    maps = {"mean of entropies": within, "entropy of the mean": whole, "difference": whole - within}
    look = {"image": case.image[box], "spacing": case.spacing, "heat_label": "nats"}
    panels = {
        name: look | {"heat": np.maximum(m, 0), "heat_max": log(3)} for name, m in maps.items()
    }
    return show.grid(panels, columns=3, alt="two entropies of one patch and their difference").png


def main() -> None:
    FIGURES.mkdir(exist_ok=True)
    (FIGURES / "03_two_entropies.png").write_bytes(two_entropies())


if __name__ == "__main__":
    main()
