"""Speed of the live views; each function runs inside a notebook's kernel (``speed.in_kernel``).

There a widget sends its messages, and a figure is drawn as in JupyterLab.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

UNCOUNTED = 2


def row(what: str, seconds: list[float]) -> dict[str, object]:
    """Median and range of the counted ``seconds``."""
    counted = seconds[UNCOUNTED:]
    median = float(np.median(counted))
    return {
        "what": what,
        "median_s": median,
        "min_s": min(counted),
        "max_s": max(counted),
        "repeats": len(counted),
    }


def seconds_of(work: Callable[[object], object], value: object) -> float:
    """How long one call of ``work`` takes."""
    begun = time.perf_counter()
    work(value)
    return time.perf_counter() - begun


def explorer() -> list[dict[str, object]]:
    """One step of a slider through a scan of 256^3 with labels: the slice explorer with and
    without mouse, and ``interact`` with ``plt.show``.
    """
    import ipywidgets
    import matplotlib.pyplot as plt

    from ssltut import show
    from ssltut.data.labels import HIP

    label = np.zeros((256, 256, 256), np.uint8)
    label[60:200, 60:150, 60:200] = 1
    label[60:200, 150:200, 60:200] = 2
    noise = np.random.default_rng(0).integers(-200, 200, label.shape)
    image = (label * 300.0 + noise).astype(np.int16)

    def figure(z: int, n_planes: int) -> None:
        for axis in range(n_planes):
            plt.subplot(1, n_planes, axis + 1)
            grey, colour = (np.take(volume, z, axis=2 - axis).T for volume in (image, label))
            plt.imshow(grey, cmap="gray", vmin=-500, vmax=1300, origin="lower")
            plt.imshow(np.ma.masked_equal(colour, 0), alpha=0.5, origin="lower")
        plt.show()

    def plain(n_planes: int) -> ipywidgets.IntSlider:
        moved = ipywidgets.interactive(lambda z: figure(z, n_planes), z=(0, 255, 1))
        return moved.children[0]

    given = {"spacing": (1, 1, 1), "alt": "a scan", "overlay": label, "table": HIP}
    sliders = {
        "slice explorer, three planes": show.slices(image, **given).sliders["z"],
        "slice explorer without mouse, three planes": show.slices(
            image, **given, mouse=False
        ).sliders["z"],
        "interact and plt.show, one plane": plain(1),
        "interact and plt.show, three planes": plain(3),
    }
    spent: dict[str, list[float]] = {name: [] for name in sliders}
    for z in range(100, 122):
        for name, slider in sliders.items():  # in turn: a busy moment of the machine slows them all
            spent[name].append(seconds_of(lambda value, s=slider: setattr(s, "value", value), z))
    return [row(f"step of 256^3, {name}", seconds) for name, seconds in spent.items()]


def training_view(steps: int = 300) -> list[dict[str, object]]:
    """What ``LiveCurves`` with a slice costs of a training of the teacher, class profile."""
    import torch

    from ssltut import make_method, profile_named, show, synthetic_cohort, train

    profile = replace(profile_named("class"), cases=20)
    cohort = synthetic_cohort(**profile.cohort)
    config = replace(profile.teacher, steps=steps, validate_every=steps)
    spacing = cohort.validation()[0].spacing

    def look(nets: dict, batch: object) -> dict:
        with torch.no_grad():
            answer = nets["student"](batch.x_l[:1]).logits[0].argmax(0)
        image, overlay = batch.x_l[0, 0].numpy(), answer.byte().numpy()
        shown = {"image": image, "spacing": spacing, "window": None, "overlay": overlay}
        return {"prediction": shown | {"table": cohort.table}}

    method = make_method("labels_only")
    curves = {"steps": config.steps, "learning_rate": config.lr, "look": look}
    with tempfile.TemporaryDirectory() as folder:
        begun = time.monotonic()
        with show.LiveCurves(alt="training", **curves) as live:
            train(
                method,
                cohort,
                config,
                Path(folder) / "run",
                callbacks=[live],
                log=lambda line: None,
            )
        whole = time.monotonic() - begun
    seconds = {"training with a live view": whole, "the live view's part of it": live.spent}
    return [
        {"what": what, "median_s": s, "min_s": s, "max_s": s, "repeats": 1, "share": s / whole}
        for what, s in seconds.items()
    ]


def pick() -> list[dict[str, object]]:
    """One pick in the correspondence explorer, 64^3, 16 channels: search, six pictures, the lines
    in 3D.
    """
    import torch

    from ssltut import show
    from ssltut.data.labels import HIP
    from ssltut.synthetic.hip import make_case

    cases = [make_case(seed, size=64) for seed in range(2)]
    scan, labelled = (
        {
            "image": case.image,
            "spacing": case.spacing,
            "label": case.label,
            "embedding": torch.randn(16, 64, 64, 64),
        }
        for case in cases
    )
    scan["answer"] = cases[0].label
    rows = []
    for kernel in ("mean_cosine", "max_euclid"):
        view = show.explore_matches(
            scan,
            {"one": labelled},
            table=HIP,
            at=(32, 32, 32),
            alt="a scan",
            question={"kernel": kernel},
        )
        voxels = np.random.default_rng(0).integers(4, 60, (22, 3))
        spent = [seconds_of(view.go, voxel) for voxel in voxels]
        rows.append(row(f"pick in the correspondence explorer, 64^3, {kernel}", spent))
    return rows
