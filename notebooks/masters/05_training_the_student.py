# %% [markdown]
# # 05 · Training the student
#
# The student learns from few labels, from the teacher where the teacher is sure, and from matched voxels where it is not.
#
# After this notebook **you will be able to**
# - assemble the loss term by term and say what each contributes at any time of training
# - write the EMA teacher and the masked pseudo-label loss, and compute what one voxel weighs
# - train a student in two ways: from scratch as published, and from a trained teacher
# - explain from curves what the match adds, and what it only repeats
# - ablate a term and report the difference with its spread
#
# About 25 minutes at `class` on two CPU cores, 14 of them where notebook 04 was run. It uses the teacher of 02, and makes
# what it does not find.

# %% tags=["parameters"]
profile = "class"  # smoke (seconds, numbers without meaning), class (a laptop) or full (a GPU, the paper's size)
seed = 0
out = ""  # folder for the numbers as CSV; "" writes none
cohort = ""  # folder of a cohort; "" takes the synthetic hips
bone = False  # True: all classes as one; for hips bone against rest, the task of the paper

# %%
import sys
if "google.colab" in sys.modules:
    # %pip install -q ssltut

# %%
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F

from ssltut import read_cohort, show, synthetic_cohort
from ssltut import inspection
from ssltut.evaluation.runs import score_run
from ssltut.data.labels import LabelTable
from ssltut.data.patches import PatchPool
from ssltut.seeding import generator_for
from ssltut.methods.losses import masked_cross_entropy

# %%
from ssltut.methods.contract import Plan, Progress
from ssltut import cached_run, make_method, profile_named
from ssltut.methods.parts.ema import ema_update
from ssltut.methods.schedules import ramp
from ssltut.training.batches import draw_batch
from ssltut.training.networks import build_nets, start_from
from ssltut.methods.uncertainty import published_threshold

# %%
P = profile_named(profile)
scans = read_cohort(Path(cohort)) if cohort else synthetic_cohort(**P.cohort)
scans = scans.as_bone() if bone else scans
names, C, ct = scans.table.names, scans.table.n_classes, "bone" if scans.modality == "CT" else None
config, every = replace(P.train, seed=seed), max(1, P.train.steps // 12)
teacher = cached_run(make_method("labels_only"), scans, replace(P.teacher, seed=seed))
print(f"{len(scans.split.labelled)} labelled and {len(scans.split.unlabelled)} unlabelled scans; {config.steps} steps a student.")
if profile == "smoke":
    print("Profile smoke: everything runs, but no number below means anything.")

# %% [markdown]
# ## 1. One batch, term by term
#
# $$L = L_S + w_{UA} L_{UA} + w_{PS}(L_{NN} + L_{EN})$$
#
# Labels; the teacher's labels on reliable voxels; the match on unreliable ones; the entropy of the match there. Here are all four on one
# batch, student and teacher both starting from the trained teacher.

# %%
method = make_method("embedding_matching")
nets = build_nets(method, config, C)
start_from(nets, method, teacher.folder)
pools = [PatchPool(scans.training(part), teacher.intensity, config.patch, "cpu") for part in ("labelled", "unlabelled")]
batch = draw_batch(*pools, Plan(config.labelled, config.unlabelled), config, C, step=0)

def terms_at(t: float) -> pd.DataFrame:
    """Value, weight, product and share of voxels of every term at fraction t of training."""
    torch.manual_seed(seed)
    terms = method.losses(batch, nets, Progress(round(1000 * t), 1000))
    rows = {name: {"value": term.value.item(), "weight": term.weight, "weight x value": term.weight * term.value.item(),
                   "share of voxels": np.nan if term.share is None else term.share} for name, term in terms.items()}
    return pd.DataFrame(rows).T

half = terms_at(0.5)
print(f"At half of training the loss of this batch is {half['weight x value'].sum():.4f}.")
half.style.format("{:.4f}", na_rep="all labelled")

# %%
import matplotlib.pyplot as plt

times = (0.0, 0.25, 0.5, 0.75, 0.95)
parts = pd.DataFrame({f"{t:g}": terms_at(t)["weight x value"] for t in times}).T
fig, ax = plt.subplots(figsize=(9, 4.6), layout="constrained")
parts.plot.bar(stacked=True, ax=ax, rot=0, color=["#BBBBBB", "#0072B2", "#D55E00", "#009E73"], edgecolor="black", fontsize=13)
for bars, hatch in zip(ax.containers, ("", "//", "xx", "..")):
    for bar in bars:
        bar.set_hatch(hatch)
ax.set_xlabel("fraction of training t", fontsize=14)
ax.set_ylabel("weight x value", fontsize=14)
ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=13, reverse=True)
share = 1 - parts["supervised"] / parts.sum(axis=1)
print("The three unlabelled terms are", ", ".join(f"{v:.0%} of the loss at t = {t}" for t, v in share.items()))
show.picture(fig, alt="Stacked bars of the four weighted loss terms of one batch at five times of training.")

# %% [markdown]
# *Reading:* the batch and the networks are the same in every bar; only the schedules moved. Which term gains most? Its *share of voxels* is
# another matter: see section 4.
#
# ## 2. The schedules
#
# Both weights and the threshold follow the same ramp over the whole run.

# %%
t = np.linspace(0, 1, 101)
curves = {"w_UA": [0.25 * ramp(v) for v in t], "w_PS": [0.125 * ramp(v) for v in t],
          "threshold / ln 2": [published_threshold(v, C, "two") / np.log(2) for v in t]}
print(f"At half time the weights have reached {ramp(0.5):.0%} of their end, at three quarters {ramp(0.75):.0%}. "
      f"The threshold goes from {published_threshold(0, C, 'two'):.3f} to {published_threshold(1, C, 'two'):.3f} nats; "
      f"no entropy of two classes exceeds {np.log(2):.3f}.")
show.lines(t, curves, xlabel="fraction of training t", ylabel="weight, or share of the largest entropy",
           alt="Weights of the reliable and match terms and the entropy threshold over training; all rise slowly, then steeply.")

# %% [markdown]
# *Reading:* all three arrive together. What can lie above the threshold at the end?
#
# **Why ln 2, with three classes too?** On a border only two classes have any probability. The most undecided voxel there is
# $p = (1/2, 1/2, 0)$ with 0.693 nats, ln 2, whether there are three classes or thirty. A threshold of $\ln 3$ would start at 0.826: it shuts
# bone surfaces out, and they are what the match is for. The record has three trainings, watched on the same patches of unlabelled scans.

# %%
from ssltut.evaluation.record import recorded

record = recorded("matching")
forms = {"two classes, ln 2": (15, 2.2), "three classes, ln 2": (320, 7), "three classes, ln 3": (265, 0.015)}  # where a name begins
tables = {name: rows.set_index("step") for name, rows in record.groupby("method") if name in forms}
shares = {name: 100 * tables[name]["unreliable share"] for name in forms if name in tables}
told = {name: ", ".join(f"{share[step]:.2g} % at step {step}" for step in (200, 300, 400)) for name, share in shares.items()}
for name, text in told.items():
    print(f"{name}: {text}")
show.lines({name: share.index for name, share in shares.items()}, shares, xlabel="step of 600", ylabel="unreliable voxels, %", log=True,
           labels=forms, alt="Share of unreliable voxels along three trainings, falling from nearly all to none. "
           + "; ".join(f"{name}: {text}" for name, text in told.items())) if shares else None

# %% [markdown]
# *Reading:* of three classes, ln 3 calls fewer voxels unreliable than ln 2, two thirds of them half way and less than half at step 400, and
# only voxels torn between all three classes: no border of two. Either way hardly any are left when the weights are high.
#
# ## 3. The teacher follows the student
#
# After each step every weight of the teacher moves a little towards the student's: $\theta' \leftarrow d\,\theta' + (1-d)\,\theta$.
# Unrolled, the teacher is a weighted mean of all past students. Write both.

# %% tags=["solution"]
def ema(teacher: dict, student: dict, decay: float) -> dict:
    """One update of every tensor of the teacher, buffers too."""
    # >>> solution: decay times the old teacher plus (1 - decay) times the student, for each name
    return {name: decay * old + (1 - decay) * student[name] for name, old in teacher.items()}
    # <<< solution


def unrolled(start: torch.Tensor, students: list, decay: float) -> torch.Tensor:
    """The teacher after following all ``students`` in turn, without a loop over updates."""
    # >>> solution: decay^n start + (1 - decay) sum over i of decay^(n-1-i) student_i
    n = len(students)
    powers = torch.tensor([decay ** (n - 1 - i) for i in range(n)], dtype=start.dtype)
    return decay**n * start + (1 - decay) * torch.tensordot(powers, torch.stack(students), dims=1)
    # <<< solution

# %% tags=["check"]
torch.manual_seed(seed)
follower, leaders = torch.nn.BatchNorm1d(4), [torch.nn.BatchNorm1d(4) for _ in range(6)]
for leader in leaders:
    leader(torch.randn(8, 4))  # moves its running mean: a buffer, not a parameter
mine = {"running_mean": follower.running_mean.clone()}
start = mine["running_mean"]
for leader in leaders:
    mine = ema(mine, {"running_mean": leader.running_mean}, 0.99)
    ema_update(follower, leader, 0.99)
assert torch.allclose(mine["running_mean"], follower.running_mean), "one update differs from ssltut's"
sums = unrolled(start, [leader.running_mean for leader in leaders], 0.99)
assert torch.allclose(sums, follower.running_mean), "the unrolled form differs"
print(f"Right. At 0.99 a student counts half after {np.log(0.5) / np.log(0.99):.0f} steps; this profile trains {config.steps}, "
      f"and {0.99 ** config.steps:.1%} of the teacher is still what it started as.")

# %% [markdown]
# ## 4. Masked pseudo-labels
#
# Each unlabelled term is a cross-entropy over *some* voxels. Divide by how many they are ("set", as published) or by all voxels of the
# patch
# ("all")? It looks like a detail.

# %% tags=["solution"]
def masked(logits: torch.Tensor, target: torch.Tensor, mask: torch.Tensor, normalise: str) -> torch.Tensor:
    """Cross-entropy of logits (B, C, X, Y, Z) to target (B, X, Y, Z), summed where mask, over the size of the mask or of everything."""
    # >>> solution: one value per voxel, 0 outside the mask, summed and divided; an empty set gives 0
    values = F.cross_entropy(logits, target, reduction="none")
    return torch.where(mask, values, 0.0).sum() / (mask.sum().clamp(min=1) if normalise == "set" else mask.numel())
    # <<< solution

# %% tags=["check"]
g = generator_for("cpu", seed, "exercise 2")
logits, target = torch.randn(2, C, 8, 8, 8, generator=g), torch.randint(C, (2, 8, 8, 8), generator=g)
for n in (1024, 512, 8, 0):
    few = (torch.randperm(1024, generator=g) < n).view(2, 8, 8, 8)
    for normalise in ("set", "all"):
        mine, ours = masked(logits, target, few, normalise), masked_cross_entropy(logits, target, few, normalise)
        assert torch.allclose(mine, ours), f"{n} voxels, {normalise}: {mine:.4f} instead of {ours:.4f}"
print("Right. Weight of one voxel of the set, in ordinary voxels:", ", ".join(f"{1024 / n:.0f} when {n} of 1024" for n in (1024, 512, 8)))

# %% [markdown]
# ## 5. Two ways in, one ablation
#
# *As published*: from scratch, the teacher is the average of the student throughout. *As this series teaches it*: both start from the
# teacher
# of notebook 02. Beside them the *neighbour vote* (ours) and an ablation: the published form with its match and entropy terms switched off.

# %%
fixed_teacher = False  # True: in the taught way the teacher stays what it was
follow = {"ema_decay": 1.0} if fixed_teacher else {}
plans = {"published": ("embedding_matching", {}, None), "taught": ("embedding_matching", follow, teacher.folder),
         "neighbour vote": ("neighbour_vote", {}, None), "reliable only": ("embedding_matching", {"use": ("UA",)}, None)}

# %% [markdown]
# While a run trains, one patch is watched: the labels the student is taught there, whose they are, and the truth that no method sees. A run
# that was kept is found instead, and nothing moves.

# %%
known = scans.known_unlabelled() or scans.split.validation
pool = PatchPool([scans.case(i) for i in known], teacher.intensity, config.patch, "cpu")  # scans whose truth only we know
fixed, fixed_truth, fixed_ids, _ = pool.sample(1, generator_for("cpu", seed, "watched"))
view = {"image": fixed[0, 0].numpy(), "spacing": scans.case(fixed_ids[0]).spacing, "window": "whole", "at": [n // 2 for n in config.patch]}
origin = LabelTable("origin", ("the teacher's", "the match's", "none"), ("#000000", "#D55E00", "#F0E442"))

# %%
def look(nets, batch):
    """What is taught now on one patch, and by whom."""
    found, _ = inspection.assignment(watched, nets, replace(batch, x_u=fixed.to(batch.x_l.device)), Progress(int(live.rows[-1]["step"]), config.steps))
    label = torch.where(found.trusted, found.match, found.teacher)
    whose = found.unreliable.byte() + (found.unreliable & ~found.trusted).byte()
    layers = {"pseudo-labels now": (label, scans.table), "whose label": (whose, origin), "truth": (fixed_truth, scans.table)}
    return {name: view | {"overlay": layer[0].byte().cpu().numpy(), "table": table} for name, (layer, table) in layers.items()}

# %%
runs, probes = {}, {}
for name, (which, options, init) in plans.items():
    watched = make_method(which, options)
    with show.LiveCurves(alt=f"Loss terms, weights and shares of voxels while {name} trains; pseudo-labels of one patch, whose they are, and the truth.",
                         look=look, steps=config.steps, learning_rate=config.lr) as live:
        runs[name], probes[name] = inspection.probed_run(watched, scans, config, every=every, init=init, callbacks=[live])
    chosen = runs[name].selected
    print(f"{name}: weights of step {chosen['step']} (rule: {chosen['rule']}), validation score {chosen['score']:.3f}")

# %%
show.curves(runs["published"].history, alt="Loss terms, their weights, shares of voxels and validation scores along the published run.")

# %% [markdown]
# *Reading:* first `match share`, then `match weight`. What is left when the weight arrives? (The taught student has seen the labels for
# longer:
# it is no fair rival of the others.)
#
# ## 6. What the match says, and how loudly
#
# Every few steps the runs were asked about fixed patches whose truth only we know.

# %%
matched = ("published", "taught", "neighbour vote")
steps = {name: probes[name]["step"] for name in matched}
show.lines(steps, {name: probes[name]["unreliable share"] for name in matched}, xlabel="step", ylabel="share of unreliable voxels",
           alt="Share of voxels counted as unreliable along three runs.")

# %%
loud = {name: probes[name]["pull of a voxel"] * probes[name]["match weight"] for name in matched}
for name, weight in loud.items():
    top = probes[name]["step"][weight.idxmax()]
    print(f"{name}: one matched voxel weighs at most {weight.max():.2g} ordinary voxels (step {top}), "
          f"{weight.iloc[-1]:.2g} at the last look" + (", with no voxel left" if weight.iloc[-1] == 0 else ""))
show.lines(steps, {name: np.log10(weight.where(weight > 0)) for name, weight in loud.items()}, xlabel="step",
           ylabel="weight of a matched voxel, log10", title="0: as heavy as an ordinary voxel",
           alt="Weight of one matched voxel, as a power of ten, along three runs.")

# %%
show.lines(steps, {name: probes[name]["match agrees with student"] for name in matched}, xlabel="step",
           ylabel="match says what the student says",
           alt="Share of unreliable voxels on which the match gives the student's own label, along three runs.")

# %% [markdown]
# **Why does the published form repeat the student?** Test your guess on the finished published student. Each row changes one option; all
# look
# at the same 5 % most uncertain voxels of the same patches.

# %%
x, truth, *_ = pool.sample(8, generator_for("cpu", seed, "notebook 05"))
guesses = {"published (mean cosine)": make_method("embedding_matching", {"threshold": 0.05}),
           "max cosine": make_method("embedding_matching", {"threshold": 0.05, "kernel": "max_cosine"}),
           "mean euclid": make_method("embedding_matching", {"threshold": 0.05, "kernel": "mean_euclid"}),
           "vote of 9": make_method("neighbour_vote", {"gate": 0.0})}
looks = {}
for name, variant in guesses.items():
    torch.manual_seed(seed)
    looks[name] = inspection.accuracy_on_unreliable(variant, runs["published"].nets, replace(batch, x_u=x), truth, Progress(1, 2))
columns = ["match agrees with student", "match right", "student right", "teacher right"]
looks = pd.DataFrame(looks).T[columns]
looks.style.format("{:.3f}")

# %%
for name, row in looks.iterrows():
    print(f"{name}: differs from the student at {1 - row['match agrees with student']:.1%} of these voxels; "
          f"share right minus the student's {row['match right'] - row['student right']:+.3f}")

# %% [markdown]
# *Reading:* a match that agrees teaches the student what it already says. A match that differs helps only if the last number is above zero.
# Hint: the student's last layer is linear in this embedding, and so is mean cosine (notebook 04).

# %% tags=["instructor"]
# Prototypes are class means of the very vectors that the last layer separates linearly; both rules cut the space alike, so L_NN asks the
# student
# for its own answer. What differs lies close to both planes. Ask who can name an option that breaks the tie, and what it costs.
print(pd.concat({name: probes[name][["step", *columns]].round(3) for name in matched}).to_string())

# %% [markdown]
# ## 7. Did it help?
#
# Whole validation scans, with the last weights of each run; the test scans stay closed until notebook 06.

# %%
everyone = {"teacher": teacher} | runs
scores = pd.concat([score_run(run, scans.validation()).assign(run=name) for name, run in everyone.items()])
tall = scores.pivot(index=["case", "class"], columns=["metric", "run"], values="value")
wide = {metric: tall[metric][list(everyone)] for metric in ("dice", "hd95")}
print(f"{(scores['status'] == 'missed').sum() // scores['metric'].nunique()} structures missed (scored with the image diagonal).")
pd.concat({"Dice": wide["dice"], "HD95 (mm)": wide["hd95"]}).style.format("{:.3f}")

# %%
pairs = [("published", "reliable only"), ("neighbour vote", "reliable only"), ("published", "teacher"), ("taught", "teacher")]
differences = {f"{a} - {b}": {metric: wide[metric][a] - wide[metric][b] for metric in wide} for a, b in pairs}
for name, by_metric in differences.items():
    d, h = by_metric["dice"], by_metric["hd95"]
    print(f"{name}: Dice {d.mean():+.3f} (sd {d.std():.3f}, {d.min():+.3f} to {d.max():+.3f}), HD95 {h.mean():+.1f} mm (sd {h.std():.1f}), "
          f"better Dice on {(d > 0).sum()} of {len(d)} structures")
print(f"{len(scans.split.validation)} validation scan(s) and one seed decide nothing. "
      f"The teacher trained {P.teacher.steps} steps, the students {config.steps}, the taught one after the teacher's.")

# %% [markdown]
# *Reading:* the first two rows are the ablation, what matching adds to reliable pseudo-labels. Is the mean larger than the spread?
#
# **Try:** switch off one other term, `{"use": ("UA", "NN")}`, or set `fixed_teacher = True`.

# %%
case = scans.validation()[0]
maps = {name: run.predict(case) for name, run in everyone.items()}
base = {"image": case.image, "spacing": case.spacing, "window": ct, "at": np.argwhere(case.label > 0).mean(0).round()}
shown = {"truth": case.label} | maps
show.grid({name: base | {"overlay": values, "table": scans.table} for name, values in shown.items()}, columns=3,
             alt=f"The same coronal slice of {case.id}: truth, teacher and four students, bones coloured.")

# %%
kinds = LabelTable("errors", ("right", "missed", "invented", "of the wrong name"), ("#000000", "#D55E00", "#56B4E9", "#F0E442"))

def errors(said: np.ndarray) -> np.ndarray:
    """0 where right, 1 missed, 2 invented, 3 misnamed."""
    return np.select([said == case.label, said == 0, case.label == 0], [0, 1, 2], 3).astype(np.uint8)

wrong = {name: errors(values) for name, values in maps.items()}
print("Wrong voxels:", ", ".join(f"{name} {(e > 0).mean():.2%}" for name, e in wrong.items()))
show.grid({name: base | {"overlay": e, "table": kinds} for name, e in wrong.items()}, columns=3,
             alt=f"The same slice of {case.id}: missed, invented and misnamed bone of teacher and four students.")

# %% [markdown]
# *Reading:* do the students err where the teacher erred? An error that all share is one that no pseudo-label of theirs can mend.

# %%
def row(quantity: str, value: float, unit: str = "share") -> dict[str, object]:
    return {"quantity": quantity, "value": value, "unit": unit, "seed": seed}

units = {"dice": "1", "hd95": "mm"}
rows = [row(f"{name}, {metric}, {word} over validation structures", getattr(wide[metric][name], word)(), units[metric])
        for metric in wide for name in everyone for word in ("mean", "std")]
rows += [row(f"{name}, {metric}, {word} over validation structures", getattr(values, word)(), units[metric])
         for name, by_metric in differences.items() for metric, values in by_metric.items() for word in ("mean", "std", "min", "max")]
rows += [row(f"{name}, last look, {column}", probes[name][column].iloc[-1])
         for name in matched for column in ("unreliable share", "match agrees with student")]
rows += [row(f"{name}, largest weight of a matched voxel", weight.max(), "voxels") for name, weight in loud.items()]
rows += [row(f"published student asked by {name}: {column}", looks.loc[name, column]) for name in looks.index for column in columns]

# %%
if out:
    Path(out).mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).dropna().to_csv(Path(out) / "05_training_the_student.csv", index=False)
print(f"{len(rows)} numbers" + (f" written to {out}" if out else "; give out= to keep them"))

# %% [markdown]
# **You can now**
# - assemble the loss term by term and say what each contributes at any time of training: value times weight, summed, and nothing hidden
# - write the EMA teacher and the masked pseudo-label loss, and compute what one voxel weighs: N / n ordinary ones when the set has n of N
# - train a student in two ways: from scratch as published, and from a trained teacher: `init=` is the difference
# - explain from curves what the match adds, and what it only repeats: agreement, accuracy, share and weight together
# - ablate a term and report the difference with its spread: `use=`, the same seed, and the range over structures
