# %% [markdown]
# # 10 · Scaling out
#
# A fair comparison is hundreds of runs. What does it cost, how do many machines share it, and
# what happens when one of them dies?
#
# *Minutes at class size on two cores: reading 5, computing 2, exercises 21.*

# %% [markdown]
# ## You will be able to
#
# - measure how the cost of a step grows
# - say how long a comparison takes on N workers, and when more workers do not help
# - lose a worker without losing a result
# - make a job whose result does not depend on who does it
# - plan a study on several GPUs
#
# **New words:** [run](../docs/glossary.md#run), [step](../docs/glossary.md#step),
# [patch](../docs/glossary.md#patch), [checkpoint](../docs/glossary.md#checkpoint),
# [precision](../docs/glossary.md#precision)

# %% tags=["parameters"]
profile = "class"  # smoke (seconds) or class (a laptop); full is the same as class here
seed = 0
out = ""  # folder for the numbers as CSV; "" writes none
price = 2.0  # of an hour of one GPU, in your currency: put yours

# %%
import os
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

# %%
from ssltut import compare, make_method, profile_named, show, synthetic_cohort
from ssltut.evaluation.record import recorded
from ssltut.exercises import check
from ssltut.methods.registry import title_of
from ssltut.training.steps import open_run

P = profile_named("smoke" if profile == "smoke" else "class")
threads = torch.get_num_threads()
torch.set_num_threads(1)  # what is measured here does not depend on your cores
numbers = []  # for the table of all notebooks

# %% [markdown]
# ## 1. What a step costs
#
# **Why.** A cost that you cannot predict, you cannot plan. Three things can grow: the side of
# the [patch](../docs/glossary.md#patch), the width of the network, and the number of
# unlabelled scans. If a step costs $c \cdot x^k$, then $k$ is its exponent:
# doubling $x$ multiplies the cost by `2**k`.

# %%
def seconds_a_step(side: int = 16, width: int = 8, scans: int = 4) -> float:
    """Processor seconds of the quicker of two steps of UA-MT, in one thread."""
    cohort = synthetic_cohort(n=scans + 4, size=32, labelled=2, validation=1, test=1)
    config = replace(P.train, patch=(side,) * 3, width=width, precision="32-true")
    method, folder = make_method("ua_mt"), Path(mkdtemp())
    training = open_run(method, cohort, config, folder, log=lambda line: None)
    seconds = []
    for _ in range(3):  # the first one is not counted
        batch, begun = training.draw(0), time.process_time()
        training.step(batch)
        seconds.append(time.process_time() - begun)
    return min(seconds[1:])

# %%
grows = {"side": [8, 16, 24, 32], "width": [2, 4, 8, 16], "scans": [2, 6, 18]}
grows = {name: x[:3] for name, x in grows.items()} if profile == "smoke" else grows
measured = {name: [seconds_a_step(**{name: n}) for n in x] for name, x in grows.items()}
for name, x in grows.items():
    k = np.diff(np.log(measured[name])) / np.diff(np.log(x))
    steps = ", ".join(f"{a} to {b}: {e:.1f}" for a, b, e in zip(x, x[1:], k))
    print(f"exponent of the {name:>5}, {steps}")
    numbers.append((f"exponent of the {name}, last", k[-1], "1"))

# %%
side = grows["side"]
cubes = [measured["side"][-1] * (n / side[-1]) ** 3 for n in side]
said = ", ".join(f"{n}: {s:.2f} s" for n, s in zip(side, measured["side"]))
show.lines(
    side, {"measured": measured["side"], "as the cube of the side": cubes},
    xlabel="side of the patch, voxels", ylabel="processor seconds a step",
    title="A step of UA-MT, one thread",
    alt=f"Seconds a step against the side of the patch, beside a cube. {said}.",
)

# %% [markdown]
# **So.** Small sizes mislead: their exponents lie below the 3 of a cube and the 2 of a
# width, because other work hides the convolutions. And scans that wait in memory cost a step
# nothing. So measure at the two largest sizes that you can afford.
#
# ## 2. Many runs, many workers
#
# **Why.** The runs of a comparison do not need each other: `compare(..., workers=N)` or
# `ssltut predict FOLDER --workers N` hands them to N processes. When is the last one done?
#
# ### Exercise 1 · write
#
# Jobs stand in a queue. A worker that is free takes the next one. When is the last job done?
#
# <details><summary>Hint</summary>
#
# Keep one number for each worker: when it is free. The next job goes to the smallest.
#
# </details>
# <details><summary>What it should look like</summary>
#
# `finish([3, 1, 1, 1], 2)` is 3:
#
# ![Worker 1 has the long job, worker 2 the three short ones.](figures/10_queue.png)
#
# </details>

# %% tags=["solution"]
def finish(jobs: list[float], workers: int) -> float:
    """When the last job is done: a free worker takes the next job of the list."""
    # >>> solution: give each job to the worker that is free first
    free = [0.0] * workers
    for seconds in jobs:
        free[int(np.argmin(free))] += seconds
    return max(free)
    # <<< solution

# %% tags=["check"]
def queue(jobs: list[float], workers: int) -> float:
    free = [0.0] * workers
    for seconds in jobs:
        free[int(np.argmin(free))] += seconds
    return max(free)

with check("1"):
    mine = finish([1, 1, 1, 3], 2)
    assert mine is not None, "nothing comes back: is a return missing?"
    assert mine != 3, "3: no worker takes half of a job, and the list keeps its order"
    assert mine != 6, "6 is one worker alone: the second one is idle"
    assert mine == 4, f"[1, 1, 1, 3]: the long job runs from 1 to 4, yours to {mine}"
    assert finish([3, 1, 1, 1], 2) == 3, "the worker that is free takes the next job"
    assert finish([2, 2], 5) == 2, "with more workers than jobs, some are idle"

# %% [markdown]
# ### Exercise 2 · predict
#
# Nine jobs of one hour and one of five. Predict when all are done: (a) 2 workers, the long
# job last; (b) 2 workers, the long job first; (c) 100 workers.
#
# <details><summary>Hint</summary>
#
# (a) When does a worker become free for the long job? (c) Can a job be split?
#
# </details>
# <details><summary>What it should look like</summary>
#
# Three numbers of hours, each smaller than the one before.
#
# </details>

# %% tags=["solution"]
# >>> solution: the hours of (a), (b) and (c)
a = 9
b = 7
c = 5
# <<< solution

# %% tags=["check"]
with check("2"):
    for hours in (a, b, c):
        assert isinstance(hours, int | float), "put a number in the place of each ..."
    assert a != 7, "(a) 7 is half of 14 hours, but the long job starts at 4"
    assert a == queue([1] * 9 + [5], 2), f"(a) is {a}: the long job starts at hour 4"
    assert b == queue([5] + [1] * 9, 2), f"(b): meanwhile the other does 5, not {b}"
    assert c != 0.14, "(c) 14 hours / 100 would split the jobs"
    assert c == 5, f"(c) is {c}: nobody is done before the longest job"

# %%
figure = Figure(figsize=(9, 3.2), layout="constrained")
long_jobs = {"the long job last": [1] * 9 + [5], "the long job first": [5] + [1] * 9}
for ax, (title, queued) in zip(figure.subplots(1, 2, sharey=True), long_jobs.items()):
    free = [0, 0]
    for hours in queued:
        worker = int(np.argmin(free))
        look = {"color": "#0072b2" if hours > 1 else "#bcd9ea", "edgecolor": "black"}
        ax.barh(worker, hours, left=free[worker], **look)
        free[worker] += hours
    ax.set_title(f"{title}: done after {max(free)} h", fontsize=14)
    ax.set_xlabel("hours", fontsize=14)
    ax.set_yticks([0, 1], ["worker 1", "worker 2"], fontsize=14)
    ax.set(xlim=(0, 10), ylim=(1.6, -0.6))
show.picture(figure, alt="Two time lines: nine jobs of one hour and one of five. "
             "With the long job last all is done after 9 h, with it first after 7 h.")

# %% [markdown]
# **So.** Give the longest jobs first. Now a real study: every method, 10 draws of 2,400
# steps, with the seconds a step of [results/costs.csv](../results/costs.csv), one thread
# each. The *time* is simulated by `queue`: nobody ran it on 64 machines.

# %%
spent = recorded("costs")["seconds a step"]
jobs = [2400 / 3600 * s for s in spent for _ in range(10)]
workers = [1, 2, 4, 8, 16, 32, 64, 128, 256]
hours = {
    "as listed": [queue(jobs, n) for n in workers],
    "longest first": [queue(sorted(jobs, reverse=True), n) for n in workers],
    "ideal": [sum(jobs) / n for n in workers],
}
table = pd.DataFrame(hours, index=pd.Index(workers, name="workers"))
table["worker-hours idle"] = (table["longest first"] * table.index - sum(jobs)).clip(0)
numbers += [(f"study, {n} workers", table["longest first"][n], "h") for n in (1, 16)]
table.round(2)

# %%
many = [n for n in workers if n >= 16]
show.lines(
    many, {name: values[-len(many):] for name, values in hours.items()},
    xlabel="workers", ylabel="hours until the last run is done",
    title=f"{len(jobs)} runs; the longest takes {max(jobs):.2f} h (simulated)",
    alt="Simulated hours against workers: "
        + ", ".join(f"{n} workers {table['longest first'][n]:.2f} h" for n in many),
)

# %% [markdown]
# ### Question 1
#
# 40 runs take 20 hours on 4 workers. The longest run takes 6. How long with 40 workers?
#
# - A. 2 hours
# - B. 6 hours
# - C. 20 hours
# - D. half an hour
#
# <details><summary>Answers</summary>
#
# - A shares 80 hours among 40, as if a run could be split.
# - **B** is right: each has one run, and all wait for the longest.
# - C believes that runs wait for each other. They do not.
# - D divides 20 by 40, but 20 hours are already those of 4 workers.
#
# </details>
#
# ## 3. A worker dies
#
# **Why.** Laptops go to sleep and clusters stop jobs. We start a cluster of two workers
# here, let it compare, and kill a worker in the middle of a run.

# %%
known = {"methods": ["labels_only", "mean_teacher"], "budgets": [2], "seeds": [0, 1]}
steps = 4 if profile == "smoke" else 30
shape = {"steps": steps, "validate_every": steps // 2, "precision": "32-true"}
known["config"] = replace(profile_named("smoke").train, **shape)
hips = synthetic_cohort(n=6, size=32, labelled=2, validation=1, test=2)
home, cluster = Path(mkdtemp()), None
if find_spec("distributed") is None:
    print('No Dask here (pip install "dask[distributed]"): all stays in this process.')
else:
    from distributed import Client, LocalCluster

    local = {"dashboard_address": "127.0.0.1:0", "env": {"OMP_NUM_THREADS": "1"}}
    local["silence_logs"] = "CRITICAL"  # Dask warns of the worker that we kill
    cluster = LocalCluster(2, threads_per_worker=1, memory_limit=0, **local)
    print(f"{len(cluster.workers)} workers at {cluster.scheduler_address}")

# %%
def kill_one(client: "Client", begun: Path, job: Future) -> str:
    """Kill a worker that is busy, once a run has a checkpoint; what was done."""
    import psutil

    pids = client.run(os.getpid)
    while not job.done():
        busy = [worker for worker, keys in client.processing().items() if keys]
        if busy and list(begun.glob("runs/*/last.safetensors")):
            psutil.Process(pids[busy[0]]).kill()
            return f"killed {busy[0]} in the middle of a run"
        time.sleep(0.02)
    return "nothing was killed: all runs were done"

# %%
quiet = {"log": lambda line: None, "progress": False}
if cluster is not None:
    with ThreadPoolExecutor(1) as pool, Client(cluster, set_as_default=False) as client:
        address = cluster.scheduler_address
        job = pool.submit(compare, hips, folder=home / "dask", dask=address, **known)
        print(what := kill_one(client, home / "dask", job))
        shared = job.result()
    cluster.close()
alone = compare(hips, folder=home / "alone", **known, **quiet)
if cluster is not None:
    columns = ["method", "seed", "case", "class", "metric", "value"]
    same = shared[columns].equals(alone[columns])
    print(f"{len(shared)} rows; equal to those of one process, bit for bit: {same}")
    if what.startswith("killed"):
        numbers.append(("rows equal after a kill", float(same), "1"))

# %% [markdown]
# **So.** The run of the dead worker went on from its last
# [checkpoint](../docs/glossary.md#checkpoint) in another process. After four deaths it
# becomes a row with status `failed`. If the whole comparison stops, give the same command again.
#
# Equal results need one more thing: a job must not depend on who does it, or when.
#
# ### Exercise 3 · repair
#
# All jobs draw their labelled scans from one stream of random numbers. Job 3 gets other
# scans when job 2 is done elsewhere. Repair it.
#
# <details><summary>Hint</summary>
#
# Make a generator inside the function. `np.random.default_rng` takes a list of numbers.
#
# </details>
# <details><summary>What it should look like</summary>
#
# Job 3 has the same four scans in any order of jobs, and job 4 has others.
#
# </details>

# %% tags=["solution"]
stream = np.random.default_rng(seed)

def labelled_by_job(job: int) -> list[int]:
    """Four of 16 scans, the same for this job wherever it is done."""
    # >>> solution: a generator of its own for each job
    #| own = stream
    #| return sorted(own.choice(16, 4, replace=False).tolist())
    own = np.random.default_rng([seed, job])
    return sorted(own.choice(16, 4, replace=False).tolist())
    # <<< solution

# %% tags=["check"]
with check("3"):
    forth = {job: labelled_by_job(job) for job in range(8)}
    back = {job: labelled_by_job(job) for job in reversed(range(8))}
    assert forth == back, "another order of jobs gives other scans: one stream for all"
    different = {tuple(scans) for scans in forth.values()}
    assert len(different) > 1, "all jobs have the same scans: seed it with the job"
    sizes = {len(set(scans)) for scans in forth.values()}
    assert sizes == {4}, f"draw four scans, none twice; you drew {sizes}"

# %% [markdown]
# ## 4. Several GPUs
#
# **Why.** Lightning Fabric puts one run on one device and chooses its
# [precision](../docs/glossary.md#precision). Several GPUs do several runs: one worker for
# each GPU ([how](../docs/clusters.md)). Was that tried? One H100 was
# [measured](../results/gpu/README.md), several never were: their hours below are
# simulated.

# %%
methods = ["labels_only", "mean_teacher", "ua_mt", "embedding_matching", "medl"]
fast = recorded("gpu/speed").query("method in @methods")
slow = recorded("gpu/cpu").query("method in @methods")
step = fast.pivot_table("seconds a step", "method", ["size", "precision"])
held = fast.pivot_table("peak memory (MiB)", "method", ["size", "precision"])
cores = slow[slow["size"] == "class"].groupby("method")["seconds a step"].mean()
gpu = pd.DataFrame({"class, 16 cores": cores,
                    "class, GPU": step["class", "32-true"],
                    "full, GPU, bf16": step["full", "bf16-mixed"],
                    "full, GiB": held["full", "bf16-mixed"] / 1024})
gpu["hours of 40,000 steps"] = gpu["full, GPU, bf16"] * 40_000 / 3600
gpu["price"] = price * gpu["hours of 40,000 steps"]
gpu.rename(index=title_of).round(3)

# %%
runs = [h for h in gpu["hours of 40,000 steps"].dropna() for _ in range(10)]
for n in (1, 4, 16, 64):
    hours = queue(sorted(runs, reverse=True), n)
    pay, idle = price * n * hours, abs(1 - sum(runs) / (n * hours))
    print(f"{len(runs)} runs, {n} GPUs: {hours:.1f} h, {pay:.0f} to pay, "
          f"{idle:.0%} of it for idle GPUs (simulated)")
    numbers.append((f"full study, {n} GPUs, simulated", hours, "h"))

# %% [markdown]
# **So.** At the class size a GPU waits for its host, and bf16 gains little; at the full size
# it pays. More GPUs cost the same money and less time, until some are idle.
#
# ### Question 2
#
# Why not split the 2 + 2 patches of a step over four GPUs?
#
# - A. It would only be faster: nothing speaks against it.
# - B. Each batch norm would see one patch: another method, with other results.
# - C. Fabric averages the gradients, so the result is the same.
# - D. Each GPU would need four times the memory.
#
# <details><summary>Answers</summary>
#
# - A forgets that patches meet in batch norm.
# - **B** is right: statistics over one patch instead of four (see the control in 06).
# - C is true of gradients, but not of batch norm's means.
# - D is the wrong way round: each would hold less.
#
# </details>

# %%
table = pd.DataFrame(numbers, columns=["quantity", "value", "unit"]).assign(seed=seed)
if out:
    Path(out).mkdir(parents=True, exist_ok=True)
    table.to_csv(Path(out) / "10_scaling_out.csv", index=False)
torch.set_num_threads(threads)
table.round(3)

# %% [markdown]
# ## You can now
#
# - measure how the cost of a step grows: at the two largest sizes
# - say how long a comparison takes on N workers, and when more workers do not help
# - lose a worker without losing a result: checkpoints
# - make a job whose result does not depend on who does it: its own seed
# - plan a study on several GPUs: a run each
#
# **In the code:** [workers](../ssltut/parallel.py), [comparisons](../ssltut/evaluation/compare.py),
# [checkpoints](../ssltut/training/checkpoint.py), [Fabric in a step](../ssltut/training/steps.py);
# commands for SLURM and GPUs: [clusters](../docs/clusters.md)
#
# **Sources:** [list scheduling, Graham 1969](https://doi.org/10.1137/0117039);
# [Dask, Rocklin 2015](https://doi.org/10.25080/Majora-7b98e3ed-013)
