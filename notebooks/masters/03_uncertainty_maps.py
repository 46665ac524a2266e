# %% [markdown]
# # 03 · Uncertainty maps
#
# After this notebook **you will be able to**
# - compute the entropy of Monte-Carlo dropout passes in two ways and say what each measures
# - show an uncertainty map in slices and in 3D
# - choose a threshold and say how many voxels it calls reliable
# - test whether uncertainty finds errors, with AUROC and a risk-coverage curve
# - point at errors a network is sure of
#
# *About 3 minutes on a CPU with two cores. Uses the teacher of notebook 02, and trains it first if it is not there.*

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
from math import log
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ssltut import cached_run, make_method, profile_named, read_cohort, show, synthetic_cohort

# %%
P = profile_named(profile)
scans = read_cohort(cohort) if cohort else synthetic_cohort(**P.cohort)
scans = scans.as_bone() if bone else scans
teacher = cached_run(make_method("labels_only"), scans, replace(P.teacher, seed=seed))
n_classes = scans.table.n_classes
ct = "bone" if scans.modality == "CT" else None
if profile == "smoke":
    print("Smoke profile: every cell runs, but the teacher is far too short trained for its numbers to mean anything.")

# %% [markdown]
# ## Ask the same network five times
#
# Switch dropout on while predicting, and each pass uses another random part of the network. Where the passes are torn between classes, or
# contradict each other, do not trust them. That is **Monte-Carlo dropout** (Gal and Ghahramani 2016): uncertainty without a second network.

# %%
from ssltut.data.views import Noise
from ssltut.methods.losses import entropy
from ssltut.nets.modes import dropout_on

case, net, side = scans.validation()[0], teacher.nets["student"], teacher.config.patch[0]
start = [int(np.clip(m - side / 2, 0, n - side)) for m, n in zip(np.argwhere(case.label > 0).mean(0), case.image.shape)]
box = tuple(slice(s, s + side) for s in start)
x = torch.from_numpy(teacher.intensity.normalise(case.image[box]))[None, None]
torch.manual_seed(seed)
with dropout_on(net), torch.no_grad():
    passes = torch.stack([net(Noise(0.01, m)(x)).logits.softmax(1) for m in range(5)])[:, 0]  # (M, C, X, Y, Z)
labels = passes.argmax(1)
print(f"{len(passes)} passes over one patch: {100 * (labels != labels[0]).any(0).float().mean():.1f} % of its voxels get more than one "
      f"label.")

# %%
here = {"image": case.image[box], "spacing": case.spacing, "window": ct}
layers = [{"heat": entropy(passes[m], dim=0).numpy(), "contours": {"label": labels[m].byte().numpy()},
           "table": scans.table} for m in range(4)]
show.grid({f"pass {m + 1}": here | layers[m] | {"heat_max": log(n_classes), "heat_label": "entropy (nats)"} for m in range(4)},
             alt="Four of the dropout passes over one patch: each one's entropy as heat and the outline of its labels, which differ from "
                 "pass to pass.")

# %% [markdown]
# ## Exercise 1: two ways to average
#
# The entropy $H(p) = -\sum_c p_c \log p_c$ of $M$ passes can be averaged, or taken of the average:
#
# $$\frac{1}{M}\sum_m H(p_m) \quad\text{(Xie et al. 2024)}\qquad H\Big(\frac{1}{M}\sum_m p_m\Big) \quad\text{(UA-MT, Yu et al. 2019)}$$
#
# The second minus the first is the **mutual information**: what the passes disagree about. It is never negative.

# %% tags=["solution"]
def two_entropies(passes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean of the entropies and entropy of the mean, each (X, Y, Z) in nats, of probabilities (M, C, X, Y, Z)."""
    # >>> solution: write H(p) along the class axis (mind 0 log 0), then mean after H and H after mean
    def h(p: torch.Tensor, axis: int) -> torch.Tensor:
        return -(p * p.clamp(min=1e-30).log()).sum(axis)

    return h(passes, 1).mean(0), h(passes.mean(0), 0)
    # <<< solution

# %% tags=["check"]
torn = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).reshape(2, 2, 1, 1, 1)  # two passes, each sure, of opposite classes
first, second = two_entropies(torn)
assert abs(first.item()) < 1e-6, "passes that are sure have entropy 0, whatever they say"
assert abs(second.item() - log(2)) < 1e-6, "their mean is (0.5, 0.5), whose entropy is ln 2"
first, second = two_entropies(passes)
assert first.shape == passes.shape[2:] and (second - first).min() > -1e-5, "mutual information is not negative"
print(f"Right. On the patch: {first.mean():.4f} nats within the passes, {(second - first).mean():.4f} between them.")

# %% [markdown]
# ### Where the two differ

# %%
within, total = entropy(passes, dim=1).mean(0).numpy(), entropy(passes.mean(0), dim=0).numpy()
maps = {"mean of entropies": within, "entropy of mean": total, "mutual information": np.maximum(total - within, 0)}
for name, found in maps.items():
    print(f"{name:>18}: mean {found.mean():.4f}, largest {found.max():.3f} nats (at most ln {n_classes} = {log(n_classes):.3f})")
print(f"The passes disagree about {100 * (total - within).sum() / total.sum():.0f} % of the entropy of the mean; the paper's measure "
      f"leaves this out.")
show.grid({name: here | {"heat": found, "heat_max": float(total.max()), "heat_label": "nats"} for name, found in maps.items()},
             columns=3,
             alt=f"Mean of entropies ({within.mean():.3f} nats on average), entropy of mean ({total.mean():.3f}) and, fainter, mutual "
                 f"information of one patch.")

# %% [markdown]
# *Something to try:* 2 passes instead of 5, then 20. Which of the three maps changes most?
#
# ## Two classes or all?
#
# How large can an entropy be on a border? Walk from one class into the next: $p = (1 - s, s, 0, 0, \ldots)$. The other classes have
# $p = 0$ there and add 0, however many they are.

# %%
from ssltut.methods.uncertainty import published_threshold, quantile_threshold

s = torch.linspace(0, 1, 101)
across = entropy(torch.stack([1 - s, s, torch.zeros(101)]), dim=0)
starts = {c: published_threshold(0, c) for c in (2, 3)}
print(f"In the middle of the border p = (1/2, 1/2, 0): {across.max():.3f} nats, which is ln 2. Embedding matching asks at the start of "
      f"training for {starts[2]:.3f} nats, three quarters of ln 2; three quarters of ln 3 would be {starts[3]:.3f}.")
border = {"entropy of the voxel": across} | {f"threshold at the start, of ln {c}": torch.full((101,), starts[c]) for c in starts}
show.lines(s, border, xlabel="s, the way across the border", ylabel="nats", title="A border of two classes, of three or more",
           alt=f"The entropy across a border: an arch from 0 up to {across.max():.3f} nats and down to 0. It passes the lower threshold of "
               f"{starts[2]:.3f} and stays below the upper one of {starts[3]:.3f}.")

# %% [markdown]
# *What to see:* the arch passes the lower line and never reaches the upper one. Against ln 3 a bone surface is never unreliable, and surfaces
# are what embedding matching is for. So the package takes the **two most probable classes** of each voxel, divides both by their sum, and
# compares with ln 2 (`classes="two"`). `classes="all"` is the entropy above; with two classes it is the same.
#
# ## A whole scan
#
# `uncertainty_map` does the same in sliding windows. The outline is the truth, which only we know.

# %%
from scipy.ndimage import gaussian_filter, uniform_filter

from ssltut.inspection import uncertainty_map

u = uncertainty_map(teacher, case, seed=seed, classes="two")
h = u.mean_of_entropies
hot = np.unravel_index(uniform_filter(h, 7).argmax(), h.shape)
print(f"{case.id}: mean entropy {h.mean():.4f} nats, largest {h.max():.3f}. The planes cut where entropy is densest, at voxel "
      f"{tuple(map(int, hot))}.")
show.slices(case.image, spacing=case.spacing, heat=h, heat_label="entropy (nats)", contours={"truth": case.label}, table=scans.table,
             window=ct, at=hot, title="Mean of the entropies",
             alt=f"Scan {case.id} in three planes where it is most uncertain: entropy as heat, true outlines on top.")

# %%
from ssltut.data.labels import LabelTable

blurred = gaussian_filter(h, 1)  # single voxels would be dust in a 3D view
most = blurred >= quantile_threshold(torch.from_numpy(blurred), 0.03)
painted = LabelTable("painted", (*scans.table.names, "most uncertain 3 %"), (*scans.table.colours, "#CC79A7"))
show.volume(h, spacing=case.spacing, label_image=np.where(most, n_classes, case.label).astype(np.uint8), table=painted,
            title="Entropy in 3D",
            alt="Left: the largest entropy from front to back of the scan. Right: the true structures with the most uncertain 3 % of the "
                "scan painted on.")

# %%
from ssltut.methods.matching.primitives import surface_shell

def near_surface(label: np.ndarray, band: int = 2) -> np.ndarray:
    """True within ``band`` voxels of another class."""
    return surface_shell(torch.from_numpy(label)[None], band)[0].numpy()

shell = near_surface(case.label)
print(f"{100 * shell.mean():.0f} % of the scan lies within 2 voxels of a true surface, and {100 * shell[most].mean():.0f} % of its most "
      f"uncertain 3 % do.")

# %% [markdown]
# ## Choose a threshold
#
# Embedding matching asks a yes or no question: may this voxel take the teacher's label? As published, the threshold $\lambda_T$ rises from
# 0.75 to 1 times $\ln 2$ over training. A **quantile** instead fixes the *share* that is called unreliable.

# %%
published = np.array([published_threshold(f, n_classes, "two") for f in np.linspace(0, 1, 21)])
limits = np.linspace(0, log(2), 60)
quantile = quantile_threshold(torch.from_numpy(h), 0.05)
print(f"λ goes from {published[0]:.3f} to {published[-1]:.3f} nats. On this map it would call {100 * (h >= published[0]).mean():.2f} % of "
      f"the voxels unreliable "
      f"at the start, {100 * (h >= published[15]).mean():.3f} % at three quarters and {100 * (h >= published[-1]).mean():.3f} % at the end.")
print(f"To call 5 % unreliable the threshold has to be {quantile:.3f} nats.")
every = uncertainty_map(teacher, case, seed=seed).mean_of_entropies[shell] >= published_threshold(0, n_classes)
print(f"Near a surface {100 * (h[shell] >= published[0]).mean():.1f} % are unreliable at the start, and {100 * every.mean():.1f} % with all "
      f"{n_classes} classes against ln {n_classes}.")
reliable = {"whole scan": [(h < v).mean() for v in limits], "near a surface": [(h[shell] < v).mean() for v in limits]}
show.lines(limits, reliable,
           xlabel="threshold (nats)", ylabel="share of voxels", title="Share of reliable voxels",
           alt=f"Share of reliable voxels against the threshold, rising to 1: {(h < published[0]).mean():.2f} of the scan, "
               f"{(h[shell] < published[0]).mean():.2f} near a surface at λ(0).")

# %%
flags = LabelTable("flags", ("reliable", "unreliable"), ("#000000", "#CC79A7"))
cuts = {"published, start": published[0], "published, 75 %": published[15], "5 % quantile": quantile,
        "20 % quantile": quantile_threshold(torch.from_numpy(h), 0.2)}
whole = {"image": case.image, "spacing": case.spacing, "window": ct, "table": flags, "at": np.array(case.image.shape) // 2}
told = ", ".join(f"{name} {100 * (h >= v).mean():.1f} %" for name, v in cuts.items())
show.grid({f"{name}: {value:.2f}": whole | {"overlay": (h >= value).astype(np.uint8)} for name, value in cuts.items()},
             alt=f"Unreliable voxels of one slice under four thresholds; of the whole scan: {told}.")

# %% [markdown]
# ## Does uncertainty find errors?
#
# A map that glows along every surface looks convincing. The question is sharper: does a *wrong* voxel get a higher entropy than a right
# one?
# **AUROC** is the probability that it does, for a random pair: 0.5 is a coin, 1 is perfect.
#
# ### Exercise 2: AUROC by ranks
#
# No pairs needed. Rank all voxels by entropy; if the $n$ wrong ones have the ranks $r_i$ among $N$ voxels,
#
# $$\mathrm{AUROC} = \frac{\sum_i r_i - n(n+1)/2}{n\,(N-n)}$$

# %% tags=["solution"]
from scipy.stats import rankdata  # ranks from 1, ties share their mean rank

def my_auroc(score: np.ndarray, positive: np.ndarray) -> float:
    """Probability that a positive (boolean array, 1D) has a higher score than a negative; ties count one half."""
    # >>> solution: sum the ranks of the positives, subtract the smallest possible sum, divide by the number of pairs
    n = positive.sum()
    return (rankdata(score)[positive].sum() - n * (n + 1) / 2) / (n * (~positive).sum())
    # <<< solution

# %% tags=["check"]
from ssltut.metrics import auroc

assert my_auroc(np.array([1, 2, 3, 4]), np.array([False, False, True, True])) == 1, "both positives are above both negatives"
assert my_auroc(np.array([5, 5, 5]), np.array([True, False, False])) == 0.5, "all equal is a coin"
rng = np.random.default_rng(seed)
score, positive = rng.integers(0, 9, 200), rng.random(200) < 0.2
pairs = score[positive][:, None] - score[~positive]
assert np.isclose(my_auroc(score, positive), ((pairs > 0) + 0.5 * (pairs == 0)).mean()), "count all pairs: is a tie one half?"
print(f"Right: {my_auroc(score, positive):.3f}, as counting all {pairs.size:,} pairs gives, and ssltut.metrics.auroc: "
      f"{auroc(score, positive):.3f}.")

# %% [markdown]
# ### Over several scans
#
# One scan is an anecdote. We take the validation scans and some unlabelled ones: their labels are hidden from training, but known to us.
# Air far from bone is right and certain and makes every map look good, so we ask again within 2 voxels of a surface.

# %%
from ssltut.metrics import auroc, risk_at_coverage

some = [*scans.split.validation, *scans.known_unlabelled()][:6]
coverage, risks, rows = np.linspace(0.5, 1, 51), {}, []
for held in map(scans.case, some):
    v = uncertainty_map(teacher, held, seed=seed, classes="two")
    error, band = v.probabilities.argmax(0) != held.label, near_surface(held.label)
    missed = error & (v.mean_of_entropies < published[0])
    rows.append({"scan": held.id, "error rate": error.mean(), "AUROC": auroc(v.mean_of_entropies, error),
                 "AUROC, entropy of mean": auroc(v.entropy_of_mean, error),
                 "AUROC near a surface": auroc(v.mean_of_entropies[band], error[band]),
                 "errors called reliable": missed.sum() / max(error.sum(), 1)})
    for name, score in {"entropy": v.mean_of_entropies, "oracle": error, "random": None}.items():
        risks.setdefault(name, []).append(np.full(51, error.mean()) if score is None else risk_at_coverage(score, error, coverage))
found = pd.DataFrame(rows).set_index("scan")
found.round(3)

# %%
mean, spread = found.mean(), found.std()
for name in found.columns:
    print(f"{name}: {mean[name]:.3f} ± {spread[name]:.3f} (standard deviation over {len(found)} scans), from {found[name].min():.3f} to "
          f"{found[name].max():.3f}")
gap = mean["AUROC"] - mean["AUROC near a surface"]
print(f"Without the voxels far from bone the AUROC {'falls' if gap > 0 else 'rises'} by {abs(gap):.3f}.")
other = found["AUROC, entropy of mean"] - found["AUROC"]
print(f"The entropy of the mean finds errors better on {(other > 0).sum()} of {len(other)} scans (by {other.mean():+.4f} on average).")

# %% [markdown]
# ## Risk and coverage
#
# Keep only the most certain voxels: how many errors remain among them? The **oracle** drops the wrong voxels first and nothing can be
# below it; a **random** choice keeps the error rate as it is. A useful uncertainty lies near the oracle.

# %%
curves = {name: np.mean(values, axis=0) for name, values in risks.items()}
areas = {name: [np.mean(curve) for curve in values] for name, values in risks.items()}
shares = (np.array(areas["random"]) - areas["entropy"]) / np.maximum(np.array(areas["random"]) - areas["oracle"], 1e-9)
at90 = np.argmin(abs(coverage - 0.9))
print(f"All voxels: {100 * curves['entropy'][-1]:.2f} % wrong. The most certain 90 %: {100 * curves['entropy'][at90]:.2f} %; "
      f"an oracle would leave {100 * curves['oracle'][at90]:.2f} %.")
print(f"Entropy gets {100 * shares.mean():.0f} ± {100 * shares.std(ddof=1):.0f} % of the way from random to oracle (area under the "
      f"curves, {len(shares)} scans).")
show.risk_coverage(coverage, curves, title=f"Mean of {len(found)} scans",
                   alt=f"Error rate against coverage: random stays at {curves['random'][0]:.3f}, "
                   f"entropy falls to {curves['entropy'][0]:.3f} at half coverage, the oracle to {curves['oracle'][0]:.3f}.")

# %% [markdown]
# ### Move the threshold
#
# A curve over all thresholds hides where they cut. Move one, and see which voxels change sides, how right the teacher is on either side,
# and where you are on the curve. Only voxels near a surface count here: far away everything is easy.

# %%
said = u.probabilities.argmax(0)
wrong = said != case.label
for name, side in {"reliable": shell & (h < quantile), "unreliable": shell & (h >= quantile)}.items():
    print(f"Near a surface, at {quantile:.3f} nats: {100 * side.sum() / shell.sum():.1f} % of the voxels are {name}, "
          f"{100 * (side & ~wrong).sum() / max(side.sum(), 1):.1f} % of these right.")
show.explore_uncertainty(case.image, h, spacing=case.spacing, wrong=wrong, where=shell, threshold=quantile, table=scans.table, window=ct, at=hot,
                         layers={"prediction": said.astype(np.uint8), "truth": case.label, "error": wrong}, title="Reliable or not, right or wrong",
                         alt=f"Scan {case.id} in three planes: unreliable voxels, right and wrong, and errors called reliable; below, the "
                             f"risk-coverage curve near a surface with the threshold of {quantile:.2f} nats marked.")

# %% [markdown]
# *What to see:* blue is doubt that was due, yellow doubt that was not, orange an error the threshold lets through. *Something to try:* in
# JupyterLab, find the threshold at which as many voxels are yellow as blue.
#
# ## What the network finds alike
#
# Every voxel has an **embedding**, the features behind its label. Flattened to the two directions of largest variance (PCA), it shows
# whether unreliable voxels lie between the classes or inside one. Notebook 04 builds on this.

# %%
from ssltut.inspection import embedding_map

rng, features = np.random.default_rng(seed), embedding_map(teacher, case)
near = [np.argwhere(shell & (case.label == c)) for c in range(n_classes)]
places = np.concatenate([found[rng.permutation(len(found))[:250]] for found in near])
at = tuple(places.T)
reliable, right = h[at] < quantile, ~wrong[at]
print(f"{len(places)} voxels near a surface: {100 * right[reliable].mean():.0f} % of the reliable ones are right, "
      f"{100 * right[~reliable].mean() if (~reliable).any() else float('nan'):.0f} % of the {(~reliable).sum()} unreliable ones.")
show.explore_embeddings(features[(slice(None), *at)].T.numpy(), places, case.image, spacing=case.spacing, classes=case.label[at],
                        table=scans.table, reliable=reliable, right=right, layers={"truth": case.label, "error": wrong}, window=ct, seed=seed,
                        title=f"Embeddings of {len(places)} voxels near a surface",
                        alt="Embeddings of voxels near a surface in two dimensions, three times: by true class, by reliability, by right or wrong.")

# %% [markdown]
# *What to see:* two dimensions of many; how much of the variance they hold stands on the axes. *Something to try:* in JupyterLab, click a wrong
# voxel amid right ones and see where it lies in the scan; `method="tsne"` where scikit-learn is installed (it keeps neighbours, not distances).
#
# ## Sure, and wrong
#
# A threshold can only catch errors the network doubts. Three hips that differ in one thing, drawn with the same seed: healthy, with a
# narrow
# osteoarthritic joint, and with a metal nail. The paper names the last two as where its method fails.

# %%
from ssltut.synthetic.anatomy import Pathology
from ssltut.synthetic.hip import make_case

kinds = {"healthy": Pathology(), "narrow joint": Pathology(osteoarthritis=1.0), "metal": Pathology(implant=True)}
verdicts = LabelTable("verdicts", ("right", "wrong, flagged", "wrong, and sure"), ("#000000", "#56B4E9", "#D55E00"))
shown, sure = {}, []
for name, illness in kinds.items() if scans.table.name in ("hip", "bone") and not cohort else ():
    hip = make_case(1000 + seed, size=P.size, pathology=illness)
    v = uncertainty_map(teacher, hip, seed=seed, classes="two")
    error = v.probabilities.argmax(0) != np.minimum(hip.label, n_classes - 1)
    flagged = v.mean_of_entropies >= quantile_threshold(torch.from_numpy(v.mean_of_entropies), 0.05)
    shown[name] = {"image": hip.image, "spacing": hip.spacing, "overlay": np.where(error, 2 - flagged, 0).astype(np.uint8),
                   "table": verdicts, "at": np.argwhere(hip.label == 2).mean(0).round().astype(int)}
    sure.append({"hip": name, "wrong voxels, %": 100 * error.mean(), "AUROC": auroc(v.mean_of_entropies, error),
                 "of these sure, %": 100 * (error & ~flagged).sum() / max(error.sum(), 1)})
pd.DataFrame(sure).round(3)

# %%
for row in sure:
    print(f"{row['hip']}: {row['wrong voxels, %']:.2f} % of the voxels are wrong, and of these {row['of these sure, %']:.0f} % are not "
          f"among the most uncertain 5 %.")
show.grid(shown, columns=3, alt="The same hip healthy, with a narrow joint and with a nail: errors that the uncertainty flags, and "
                                   "errors it is sure of.") if shown else None

# %% [markdown]
# *What to see:* are the sure errors thin rims along a surface, or thick pieces? Notebook 04 asks whether labelled scans can answer
# where the teacher doubts; it cannot help where the teacher is sure. *Something to try:* other seeds in place of 1000; a quantile of 20 %.

# %%
if out:
    numbers = [(name, mean[name], "1") for name in found.columns] + [("way from random to oracle", shares.mean(), "1")]
    numbers += [(f"sure errors, {row['hip']}", row["of these sure, %"], "%") for row in sure]
    Path(out).mkdir(parents=True, exist_ok=True)
    frame = pd.DataFrame(numbers, columns=["quantity", "value", "unit"]).assign(seed=seed)
    frame.to_csv(Path(out) / "03_uncertainty_maps.csv", index=False)

# %% tags=["instructor"]
# Ask before the AUROC table: who bets on more than 0.9? Then show the column near a surface, and ask which one a paper would print.
# The entropy mean is only the aleatoric part; an over-confident network has little of either.

# %% [markdown]
# **You can now**
# - compute the entropy of Monte-Carlo dropout passes in two ways and say what each measures: within the passes, and with their disagreement
# - show an uncertainty map in slices and in 3D: `uncertainty_map`, `show.slices`, `show.volume`
# - choose a threshold and say how many voxels it calls reliable: published in nats, or a quantile; `show.explore_uncertainty` moves it
# - test whether uncertainty finds errors, with AUROC and a risk-coverage curve: and near a surface, where it is hard
# - point at errors a network is sure of: wrong, and under the threshold
