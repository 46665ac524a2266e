"""Speed on this machine: ``python benchmarks/speed.py
[phantom|precision|methods|explorer|training_view|pick ...]`` writes
benchmarks/results/speed-<what>-<machine>.csv.

Each value is the median of repeats, with the fastest and slowest beside it; nothing else should run
meanwhile.
"""

import argparse
import json
import os
import platform
import re
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import torch

RESULTS = Path(__file__).parent / "results"


def timed(work: Callable[[], object], repeats: int, warm_up: int = 1) -> dict[str, float]:
    for _ in range(warm_up):
        work()
    seconds = []
    for _ in range(repeats):
        begun = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begun)
    return {
        "median_s": float(np.median(seconds)),
        "min_s": min(seconds),
        "max_s": max(seconds),
        "repeats": repeats,
    }


def phantom() -> list[dict]:
    """Time to make one synthetic hip CT."""
    from ssltut.synthetic.hip import Pathology, make_case

    kinds = {"healthy": Pathology(), "metal": Pathology(implant=True)}
    return [
        {"what": f"phantom {size}^3, {name}"}
        | timed(
            lambda s=size, p=pathology: make_case(1, size=s, pathology=p), 5 if size < 100 else 3, 0
        )
        for size in (64, 96, 192)
        for name, pathology in kinds.items()
    ]


def precision() -> list[dict]:
    """A labelled training step of the U-Net with 16 channels, depth 4, on 2 x 64^3, in fp32 and in
    bf16 autocast.
    """
    from ssltut.nets.build import build_net

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    net = build_net("unet", 1, 3, width=16, depth=4, dropout=0.15, norm="instance", seed=0).to(
        device
    )
    optimizer = torch.optim.Adam(net.parameters())
    x, y = (
        torch.randn(2, 1, 64, 64, 64, device=device),
        torch.randint(3, (2, 64, 64, 64), device=device),
    )

    def step(low: bool) -> None:
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=low):
            loss = torch.nn.functional.cross_entropy(net(x).logits.float(), y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return [
        {"what": f"U-Net step 2 x 64^3, {name}"} | timed(lambda low=low: step(low), 5)
        for name, low in (("fp32", False), ("bf16", True))
    ]


def methods() -> list[dict]:
    """One training step of every method at the class profile in one thread, each in a process of
    its own, and the memory it adds at its peak.
    """
    from ssltut.methods.registry import METHODS

    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as alone:
        return list(alone.map(step_of, METHODS))


def step_of(name: str) -> dict:
    """Losses, backward, Adam and EMA of one method: seconds, and MiB above what the process held
    before its networks were built.
    """
    from step_cost import pools_of, step

    from ssltut.methods.contract import Plan, Progress
    from ssltut.methods.registry import make_method
    from ssltut.synthetic.cohorts import synthetic_cohort
    from ssltut.training.config import profile_named
    from ssltut.training.loop import build_nets, draw_batch

    torch.set_num_threads(1)
    profile = profile_named("class")
    cohort, config = synthetic_cohort(**replace(profile, cases=20).cohort), profile.train
    pools = pools_of(cohort, config)
    method, progress, before = make_method(name), Progress(config.steps // 2, config.steps), peak()
    nets = build_nets(method, config, 3)
    optimizer = torch.optim.Adam(
        [p for net in nets.values() for p in net.parameters() if p.requires_grad]
    )
    batch = draw_batch(
        *pools, method.plan(progress, Plan(config.labelled, config.unlabelled)), config, 3, 0
    )
    measured = timed(lambda: step(method, nets, optimizer, batch, progress), 5)
    return (
        {"what": f"step of {name}, class profile"} | measured | {"peak_mib": round(peak() - before)}
    )


def peak() -> float:
    """The most memory this process has held so far, in MiB."""
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return held / 2**20 if platform.system() == "Darwin" else held / 2**10


def in_kernel(code: str) -> list[dict]:
    """The JSON that ``code`` prints in a notebook's kernel: there a widget sends its messages and a
    figure is shown as in JupyterLab.
    """
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(
        env=os.environ | {"SSLTUT_FRONTEND": "lab"}, extra_arguments=["--log-level=ERROR"]
    )
    printed = []

    def heard(message: dict) -> None:
        if message["msg_type"] == "error":
            raise RuntimeError("\n".join(message["content"]["traceback"]))
        printed.append(
            message["content"].get("text", "") if message["content"].get("name") == "stdout" else ""
        )

    try:
        client.execute_interactive(code, output_hook=heard, timeout=3600)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    return json.loads(next(line for line in "".join(printed).splitlines() if line.startswith("[")))


STEP = """
%matplotlib inline
import json, time
import ipywidgets, matplotlib.pyplot as plt, numpy as np
from ssltut import show
from ssltut.data.labels import HIP
label = np.zeros((256, 256, 256), np.uint8)
label[60:200, 60:150, 60:200], label[60:200, 150:200, 60:200] = 1, 2
image = (label * 300.0 + np.random.default_rng(0).integers(-200, 200, label.shape)).astype(np.int16)
planes = [lambda a, z: a[:, :, z], lambda a, z: a[:, z], lambda a, z: a[z]]

def figure(z, n):
    for k in range(n):
        plt.subplot(1, n, k + 1)
        plt.imshow(planes[k](image, z).T, cmap="gray", vmin=-500, vmax=1300, origin="lower")
        plt.imshow(np.ma.masked_equal(planes[k](label, z).T, 0), alpha=0.5, origin="lower")
    plt.show()

view = show.slices(image, spacing=(1, 1, 1), alt="a scan", overlay=label, table=HIP)
core = show.slices(image, spacing=(1, 1, 1), alt="a scan", overlay=label, table=HIP, mouse=False)
sliders = {"slice explorer, three planes": view.sliders["z"], "slice explorer without mouse, three planes": core.sliders["z"]}
for n, what in ((1, "one plane"), (3, "three planes")):
    sliders[f"interact and plt.show, {what}"] = ipywidgets.interactive(lambda z, n=n: figure(z, n), z=(0, 255, 1)).children[0]
spent = {name: [] for name in sliders}
for z in range(100, 122):
    for name, slider in sliders.items():  # in turn, so that a busy moment of the machine meets all
        begun = time.perf_counter()
        slider.value = z
        spent[name].append(time.perf_counter() - begun)
print(json.dumps([{"what": f"step of 256^3, {name}", "median_s": float(np.median(s[2:])), "min_s": min(s[2:]), "max_s": max(s[2:]), "repeats": 20}
                  for name, s in spent.items()]))
"""


def explorer() -> list[dict]:
    """The kernel's share of one step of a slider through a 256^3 scan with labels: ours, and
    ``interact`` with ``plt.show``.
    """
    return in_kernel(STEP)


TRAINING = """
import json, tempfile, time
from dataclasses import replace
import torch
from ssltut import show
from ssltut.data.cohort import synthetic_cohort
from ssltut.methods import make_method
from ssltut.profiles import profile_named
from ssltut.train import train
profile = replace(profile_named("class"), cases=20)
cohort, config = synthetic_cohort(**profile.cohort), replace(profile.teacher, steps=STEPS, validate_every=STEPS)
first = cohort.validation()[0]

def look(nets, batch):
    with torch.no_grad():
        said = nets["student"](batch.x_l[:1]).logits[0].argmax(0)
    return {"prediction": {"image": batch.x_l[0, 0].numpy(), "spacing": first.spacing, "window": None, "overlay": said.byte().numpy(), "table": cohort.table}}

with tempfile.TemporaryDirectory() as folder:
    begun = time.monotonic()
    with show.LiveCurves(alt="training", steps=config.steps, learning_rate=config.lr, look=look) as live:
        train(make_method("labels_only"), cohort, config, folder + "/run", watch=live, log=lambda line: None)
    seconds = time.monotonic() - begun
rows = {"training with a live view": seconds, "the live view's part of it": live.spent}
print(json.dumps([{"what": what, "median_s": s, "min_s": s, "max_s": s, "repeats": 1, "share": s / seconds} for what, s in rows.items()]))
"""


def training_view() -> list[dict]:
    """What ``LiveCurves`` with a slice costs of a training of the teacher, class profile, cut to
    300 steps.
    """
    return in_kernel(TRAINING.replace("STEPS", "300"))


PICK = """
import json, time
import numpy as np, torch
from ssltut import show
from ssltut.data.labels import HIP
from ssltut.data.phantom import make_case
cases = [make_case(seed, size=64) for seed in range(2)]
target, labelled = ({"image": c.image, "spacing": c.spacing, "label": c.label, "embedding": torch.randn(16, 64, 64, 64)} for c in cases)
target |= {"answer": cases[0].label}
rows = []
for kernel in ("mean_cosine", "max_euclid"):
    view = show.explore_matches(target, {"one": labelled}, table=HIP, at=(32, 32, 32), alt="a scan", question={"kernel": kernel})
    spent = []
    for at in np.random.default_rng(0).integers(4, 60, (22, 3)):
        begun = time.perf_counter()
        view.pick(at)
        spent.append(time.perf_counter() - begun)
    rows.append({"what": f"pick in the correspondence explorer, 64^3, {kernel}", "median_s": float(np.median(spent[2:])), "min_s": min(spent[2:]),
                 "max_s": max(spent[2:]), "repeats": 20})
print(json.dumps(rows))
"""


def pick() -> list[dict]:
    """The kernel's share of one pick in the correspondence explorer, 16 channels: search, six
    pictures, the lines in 3D.
    """
    return in_kernel(PICK)


def main() -> None:
    benches = {
        bench.__name__: bench
        for bench in (phantom, precision, methods, explorer, training_view, pick)
    }
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", nargs="*", choices=[*benches, []], default=list(benches))
    accelerator = (
        torch.cuda.get_device_name(0)
        if torch.cuda.is_available()
        else f"{platform.machine()}-{os.cpu_count()}-cores"
    )
    machine = re.sub(r"\W+", "-", accelerator).lower()
    RESULTS.mkdir(exist_ok=True)
    for name in parser.parse_args().what:
        amx = torch.cpu._is_amx_tile_supported()
        table = pd.DataFrame(benches[name]()).assign(
            machine=machine,
            amx=amx,
            torch=torch.__version__,
            command=f"python benchmarks/speed.py {name}",
        )
        print(
            table[
                [
                    "what",
                    "median_s",
                    "min_s",
                    "max_s",
                    *table.columns.intersection(["share", "peak_mib"]),
                ]
            ]
            .round(4)
            .to_string(index=False)
        )
        table.to_csv(RESULTS / f"speed-{name}-{machine}.csv", index=False)


if __name__ == "__main__":
    main()
