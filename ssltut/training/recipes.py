"""Recipes: from nothing to a trained model in one command."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ssltut.errors import ConfigError
from ssltut.methods.registry import make_method
from ssltut.synthetic.pelvis import pelvis_cohort
from ssltut.training.config import TrainConfig
from ssltut.training.loop import Log, train
from ssltut.training.run import Run

_SMOKE = TrainConfig(
    steps=4, patch=(16, 16, 16), width=4, depth=2, validate_every=2, norm="instance"
)
_CLASS = TrainConfig(steps=2000, patch=(48, 48, 48), width=8, depth=4, validate_every=500)
# Cohort and training by profile. Batch norm: instance norm takes its statistics from the window,
# and finds a head in a whole scan, not in a crop.
HIP: dict[str, tuple[dict[str, Any], TrainConfig]] = {
    "smoke": ({"n": 3, "spacing": 8.0, "validation": 1}, _SMOKE),
    "class": ({"n": 42, "spacing": 3.0, "validation": 2}, _CLASS),
}


def hip(out: Path, profile: str = "class", *, seed: int = 0, log: Log = print) -> Run:
    """Hip bone and femur in real CT, from synthetic pelves and their exact labels alone.

    It trains on ``pelvis_cohort`` with domain randomisation. The run is left in ``out``; a killed
    one is continued by the same call. Raises ConfigError for an unknown profile.
    """
    if profile not in HIP:
        fix = f"use one of {', '.join(HIP)}"
        raise ConfigError(f"the recipe has no profile {profile!r}", fix=fix)
    scans, config = HIP[profile]
    cohort = pelvis_cohort(**scans, seed=seed)
    pelves = f"{scans['n']} synthetic pelves of {scans['spacing']:g} mm"
    log(f"{pelves}, {config.steps} steps of {config.labelled} randomised patches")
    config = replace(config, seed=seed, dropout=0.0, randomise=1.0)
    return train(make_method("all_labels"), cohort, config, Path(out), log=log)


RECIPES: dict[str, Callable[..., Run]] = {"hip": hip}
