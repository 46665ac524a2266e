# %% [markdown]
# # 04 · Matching by looks and by place
#
# A teacher calls part of a femur "hip bone". Can labelled voxels of other scans correct it? That depends
# on what is compared, and on where you ask.
#
# *Minutes at class size on two cores: reading 5, computing 1, exercises 21.*
#
# ## You will be able to
#
# - find the labelled voxels that resemble a voxel
# - show that the published match is one prototype a class, so a linear rule
# - mend a region by a vote of looks and place
# - count mended against broken voxels, and say where such a vote does harm
#
# **New words:** [embedding](../docs/glossary.md#embedding),
# [reference](../docs/glossary.md#reference), [prototype](../docs/glossary.md#prototype),
# [looks](../docs/glossary.md#looks), [place](../docs/glossary.md#place),
# [region](../docs/glossary.md#region), [rim](../docs/glossary.md#rim),
# [swapped bone](../docs/glossary.md#swapped-bone),
# [mended and broken](../docs/glossary.md#mended-and-broken),
# [commonest class](../docs/glossary.md#commonest-class). Entropy is in
# [nats](../docs/glossary.md#nat).

# %% tags=["parameters"]
profile = "class"  # smoke (seconds, no meaning), class (a laptop) or full (a GPU)
seed = 0
out = ""  # folder for the numbers as CSV; "" writes none
cohort = ""  # folder of a cohort; "" takes the synthetic hips
bone = False  # True: all classes as one, bone against rest
retrain = False  # True: train the teacher although its weights ship

# %%
from dataclasses import replace
from math import log
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from torch.nn.functional import normalize

from ssltut import inspection, make_method, profile_named, read_cohort, show
from ssltut.data.labels import LabelTable
from ssltut.exercises import check
from ssltut.methods.matching import primitives as matching
from ssltut.methods.uncertainty import regional_mean
from ssltut.seeding import generator_for

# %%
from ssltut import synthetic_cohort
from ssltut.evaluation.record import recorded
from ssltut.training.shipped import trained_run

P = profile_named(profile)
scans = read_cohort(Path(cohort)) if cohort else synthetic_cohort(**P.cohort)
scans = scans.as_bone() if bone else scans
names, C = scans.table.names, scans.table.n_classes
ct = "bone" if scans.modality == "CT" else None
settings = replace(P.teacher, seed=seed)
teacher = trained_run(make_method("labels_only"), scans, settings, retrain=retrain)
labelled, target = scans.training("labelled"), scans.validation()[0]
if profile == "smoke":
    print("Profile smoke: everything runs, but no number below means anything.")

# %% [markdown]
# ## 1. A toy: two bananas
#
# **Why.** Where the teacher is unsure, the method asks labelled voxels. *How* it asks decides what it
# can mend. Three rules learn from 200 points.

# %%
def bananas(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """2n points of two bananas that bend into each other, and whose each one is."""
    angle = rng.uniform(0, np.pi, (2, n))
    upper = np.stack([np.cos(angle[0]), np.sin(angle[0])], 1)
    lower = np.stack([1 - np.cos(angle[1]), 0.5 - np.sin(angle[1])], 1)
    points = np.concatenate([upper, lower]) + rng.normal(0, 0.13, (2 * n, 2))
    return points, np.repeat([0, 1], n)

rng = np.random.default_rng(seed)
(known, kind), (fresh, answer) = bananas(100, rng), bananas(1000, rng)
slope = np.linalg.lstsq(np.c_[known, np.ones(200)], 2 * kind - 1, rcond=None)[0]
middle = np.stack([known[kind == c].mean(0) for c in (0, 1)])
squares = lambda q, to: ((q[:, None] - to[None]) ** 2).sum(-1)

# %%
toy = {
    "a line (the last layer)": lambda q: np.c_[q, np.ones(len(q))] @ slope > 0,
    "one prototype a class": lambda q: squares(q, middle).argmin(1),
    "nine neighbours": lambda q: kind[squares(q, known).argsort()[:, :9]].mean(1) > 0.5}
fig, panels = plt.subplots(1, 3, figsize=(12, 3.9), layout="constrained")
x, y = np.meshgrid(np.linspace(-1.5, 2.5, 120), np.linspace(-1.1, 1.6, 80))
for panel, (name, rule) in zip(panels, toy.items()):
    side = rule(np.c_[x.ravel(), y.ravel()]).reshape(x.shape).astype(float)
    panel.contourf(x, y, side, [-1, 0.5, 2], colors=["#FBE3C0", "#CFE6F5"])
    panel.contour(x, y, side, [0.5], colors="black", linewidths=3)
    for c, (colour, marker) in enumerate((("#B36B00", "o"), ("#0072B2", "^"))):
        panel.plot(*known[kind == c].T, marker, color=colour, ms=6)
    panel.set_title(f"{name}\n{(rule(fresh) == answer).mean():.0%} right", size=14)
    panel.axis("off")
show.picture(fig, alt="Two bananas. A line, one prototype: straight; neighbours bend.")

# %% [markdown]
# **Look for.** Which borders are straight?
#
# **So.** A class mean (*prototype*) cuts as straight as a line does. Where the line errs, it mends
# little. Neighbours follow the data.
#
# ### Exercise 1 · write
#
# The published match compares an unsure voxel with 80 labelled ones of each class from each labelled
# scan. The class with the highest mean cosine wins. Show that *one* vector a class gives the same
# numbers.
#
# <details><summary>Hint</summary>
#
# The cosine of two unit vectors is their scalar product, and from a mean of products with the same
# vector that vector can be taken out. How long is a mean of unit vectors?
#
# </details>
#
# <details><summary>What it should look like</summary>
#
# A tensor `(C, N)`: one row a class, one column a query.
#
# </details>

# %% tags=["solution"]
def one_prototype(references: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
    """Mean cosine to references (C, l, k, D) of queries (N, D), as (C, N)."""
    # >>> solution: one vector a class (C, D), then a product with the unit queries
    prototype = normalize(references, dim=-1).mean((1, 2))
    return prototype @ normalize(query, dim=-1).T
    # <<< solution

# %% tags=["check"]
g = generator_for("cpu", seed, "exercise 1")
few = torch.randn(C, 5, 16, 8, generator=g) + torch.eye(8)[:C, None, None]
queries = torch.randn(200, 8, generator=g)
right = matching.similarity(few, queries, "mean_cosine")
with check("1"):
    mine, unit = one_prototype(few, queries), normalize(queries, dim=-1)
    assert torch.is_tensor(mine), "return a tensor (C, N)"
    assert mine.shape == right.shape, f"{tuple(mine.shape)}, not {tuple(right.shape)}"
    raw = few.mean((1, 2)) @ unit.T
    assert not torch.allclose(mine, raw), "make every reference a unit vector first"
    again = normalize(normalize(few, dim=-1).mean((1, 2)), dim=-1) @ unit.T
    assert not torch.allclose(mine, again), "leave the mean as short as it is"
    gap = (mine - right).abs().max()
    assert gap < 1e-5, f"off by up to {gap:.2g}: are the queries unit vectors?"

# %% [markdown]
# So the published match is linear, on the very vectors that the last, linear layer reads.
#
# ## 2. A voxel and those it resembles
#
# **Why.** That vector is the voxel's *embedding*. Similar vectors mean that voxels look alike to the
# network. Let us ask about a *region*: voxels whose entropy, averaged over 7 x 7 x 7 voxels, is at
# least a quarter of ln C, C being the number of classes.

# %%
def swapped(said: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Where one bone is called the other."""
    return (said != truth) & (said > 0) & (truth > 0)

looked = inspection.uncertainty_map(teacher, target, seed=seed)
told, unsure = looked.probabilities.argmax(0), looked.mean_of_entropies
mean = regional_mean(torch.from_numpy(unsure)[None], 7)[0].numpy()
region = mean >= min(0.25 * log(C), mean.max())  # one voxel at least
inside = region & swapped(told, target.label)
print(f"{target.id}: {region.sum():,} voxels in regions, {inside.sum()} swapped bone.")

# %%
focus = inside if inside.any() else region
pick = np.unravel_index(np.where(focus, mean, 0).argmax(), mean.shape)
print(f"Voxel {tuple(map(int, pick))}: truth {names[target.label[pick]]}, "
      f"teacher {names[told[pick]]}, mean entropy {mean[pick] / log(C):.2f} ln {C}.")
show.planes(target.image, spacing=target.spacing, window=ct, heat=unsure, at=pick,
            heat_label="entropy (nats)",
            contours={"mean of at least ln C / 4": region.astype(np.uint8)},
            table=LabelTable("region", ("", "region"), ("#000000", "#56B4E9")),
            alt=f"{target.id}: entropy glows thinly at rims; one region is full of it.")

# %%
fields = {case.id: inspection.embedding_map(teacher, case)
          for case in [target, *labelled]}
seen = {case.id: {"image": case.image, "spacing": case.spacing, "window": ct,
                  "embedding": fields[case.id], "label": case.label}
        for case in labelled}
site = {"image": target.image, "spacing": target.spacing, "window": ct, "heat": unsure,
        "embedding": fields[target.id], "label": target.label, "answer": told}
show.explore_matches(site, seen, table=scans.table, at=pick, name=target.id,
                     title="Which labelled voxels resemble this voxel?",
                     alt=f"A voxel in a region of {target.id}, its nearest references.")

# %%
query = np.argwhere(focus)
query = query[np.random.default_rng(seed).permutation(len(query))[:60]]
source = labelled[0]
found = inspection.correspond(fields[target.id], query, fields[source.id], source.label,
                              k=1, n_classes=C, seed=seed)
agree = found.reference_class[:, 0] == target.label[tuple(query.T)]
bones = [[show.surface(case.label, c, spacing=case.spacing, table=scans.table)
          for c in np.unique(case.label)[1:]] for case in (target, source)]
print(f"{agree.sum()} of {len(query)} nearest references have the right class.")
show.correspondences(*bones, query * target.spacing,
                     found.reference[:, 0] * source.spacing, agree,
                     scans=(target.id, source.id),
                     alt=f"{len(query)} lines to references, {agree.sum()} right.")

# %% [markdown]
# **Look for.** On which bone do the lines from the swapped femur end?
#
# ## 3. What would an anatomist use?
#
# **Why.** The vector says what a voxel *looks* like, not where in the scan it lies. One line adds that.
# [`place_vectors`](../ssltut/methods/matching/primitives.py) makes six numbers of it. We give them so
# much weight that a tenth of the scan along one axis costs 1.6 of the 2 that looks can earn.

# %%
from ssltut.data.batch import PatchLocation
from ssltut.training.windows import sliding_window

voter = make_method("neighbour_vote", {"by": "looks"})  # last map and bottleneck

def looks_and_place(case) -> tuple[torch.Tensor, torch.Tensor]:
    """What every voxel looks like (N, D), and where in its scan it lies (N, 6)."""
    def forward(x: torch.Tensor) -> torch.Tensor:
        vectors = voter.vectors(teacher.nets["student"](x))
        return vectors.view(len(x), *x.shape[2:], -1).movedim(-1, 1)

    image, side = teacher.intensity.normalise(case.image), case.meta.get("anatomy", {})
    looks = sliding_window(forward, image, teacher.config.patch, torch.device("cpu"))
    at = [PatchLocation(case.id, side.get("side", "left"), (0.5, 0.5, 0.5))]
    place = 10 * matching.place_vectors(at, case.image.shape)
    return matching.voxel_vectors(looks[None]), place

# %%
def draw(case, k: int, redraws: int, surface: bool = True) -> torch.Tensor:
    """Positions (C, redraws, k) of labelled voxels, beside a surface or anywhere."""
    y = torch.as_tensor(case.label.astype(np.int64))[None]
    where = matching.surface_shell(y, 2) if surface else y >= 0
    rng = generator_for("cpu", seed, case.id, k)
    drawn = matching.draw_references(y, where, C, k=k, redraws=redraws, generator=rng)
    return drawn.voxels

voters = []
for case in labelled:
    index = draw(case, 120, 5).flatten(), draw(case, 400, 1, surface=False).flatten()
    kind = torch.as_tensor(case.label.astype(np.int64)).flatten()
    voters.append([part[torch.cat(index)] for part in (*looks_and_place(case), kind)])
looks_l, place_l, kinds = (torch.cat(parts) for parts in zip(*voters))
eighty = [fields[case.id].flatten(1).T[draw(case, 16, 5)] for case in labelled]
published = torch.cat(eighty, dim=1)

# %%
def vote(query: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """The class of most of the nine nearest references."""
    return matching.neighbour_vote(query, known, kinds, C).argmax(1)

asked = region | (mean >= 0.1 * log(C))  # more: section 4 moves the threshold
where, level = torch.from_numpy(asked.flatten()), torch.from_numpy(mean[asked])
truth = torch.from_numpy(target.label.astype(np.int64)).flatten()[where]
teacher_says = torch.from_numpy(told).flatten()[where]
looks, place = (part[where] for part in looks_and_place(target))
vectors = fields[target.id].flatten(1).T[where]
rules = {"published match": matching.similarity(published, vectors).argmax(0),
         "looks": vote(looks, looks_l), "place alone": vote(place, place_l),
         "looks and place": vote(torch.cat([looks, place], 1),
                                 torch.cat([looks_l, place_l], 1))}
print(f"Four rules have answered for {len(truth):,} voxels.")

# %% [markdown]
# ### Exercise 2 · predict
#
# Before you look: how much of the swapped bone in the region will the **published match** mend? Write
# "nearly none", "half" or "most".
#
# <details><summary>Hint</summary>Which of the toy's rules is it, and which is the teacher?</details>
#
# <details><summary>What it should look like</summary>
#
# One of the three texts; the table below it has the measured shares.
#
# </details>

# %% tags=["solution"]
# >>> solution: "nearly none", "half" or "most"
published_mends = "nearly none"
# <<< solution

# %% tags=["check"]
with check("2"):
    options = ("nearly none", "half", "most")
    assert published_mends in options, f"write one of {options}"
    assert published_mends == options[0], (
        "it cuts the teacher's vectors straight, as the teacher's last layer does:"
        " why should the two disagree about a whole region?")

# %%
def effect(label: torch.Tensor, floor: float = 0.25) -> dict[str, float]:
    """What a rule makes of regions whose mean entropy reaches ``floor`` ln C."""
    keep = level >= min(floor * log(C), float(level.max()))
    was, now = (teacher_says == truth)[keep], (label == truth)[keep]
    swap = torch.from_numpy(swapped(teacher_says.numpy(), truth.numpy()))[keep]
    return {"right": now.float().mean().item(), "mended": (now & ~was).sum().item(),
            "broken": (was & ~now).sum().item(),
            "of swapped bone": (now & swap).sum().item() / max(swap.sum().item(), 1)}

commonest = truth[torch.from_numpy(region[asked])].mode().values.item()
always = torch.full_like(truth, commonest)
everyone = {"teacher": teacher_says, "commonest class": always, **rules}
table = pd.DataFrame({name: effect(label) for name, label in everyone.items()}).T
table.style.format("{:.3f}").format("{:.0f}", subset=["mended", "broken"])

# %%
answers = {"truth": target.label, "teacher": told.astype(np.uint8)}
for name, label in rules.items():
    answers[name] = told.astype(np.uint8)
    answers[name][region] = label.numpy()[region[asked]]
y, n = int(focus.sum((0, 2)).argmax()), len(target.image) // 3
x, _, z = (int(v) for v in np.argwhere(focus).mean(0))
near = np.s_[max(0, x - n):x + n, :, max(0, z - n):z + n]
tiles = {name: {"image": target.image[near], "spacing": target.spacing, "window": ct,
                "overlay": label[near], "table": scans.table, "at": (0, y, 0)}
         for name, label in answers.items()}
wrong = [f"{k} {(v != target.label)[:, y].sum()}" for k, v in answers.items()]
show.grid(tiles, columns=3, alt=f"Coronal slice {y} of {target.id} in six tiles. "
          "Wrong voxels: " + ", ".join(wrong))

# %% [markdown]
# **So.** The published match mends none of the swapped femur, looks alone 2 %. Looks and place mend 76 %,
# and the share right rises from .77 to .90. Place alone breaks as much as it mends. But read the second
# row: 93 % of *this* region is femur. "Always femur" wins here, if you know the truth.
#
# ## 4. Mended against broken
#
# **Why.** A rule that mends also breaks. Only the difference counts, and it depends on where you ask.
#
# ### Exercise 3 · repair
#
# This function flatters every rule. Repair its two sums.
#
# <details><summary>Hint</summary>
#
# Wrong before and right now is mended. What is broken? And wrong before, wrong in another way now?
#
# </details>
#
# <details><summary>What it should look like</summary>
#
# ![The check's four voxels: one mended, one broken, two neither.](figures/04_four_voxels.png)
#
# </details>

# %% tags=["solution"]
def mended_and_broken(teacher, rule, truth) -> tuple[int, int]:
    """How many voxels a rule mends, and how many it breaks; arrays of classes."""
    # >>> solution: repair the two sums
    #| mended = (rule != teacher).sum()
    #| broken = ((rule != truth) & (teacher != truth)).sum()
    mended = ((rule == truth) & (teacher != truth)).sum()
    broken = ((rule != truth) & (teacher == truth)).sum()
    # <<< solution
    return int(mended), int(broken)

# %% tags=["check"]
with check("3"):
    before, after, true = np.array([[1, 1, 0, 2], [2, 0, 2, 2], [2, 1, 1, 2]])
    mended, broken = mended_and_broken(before, after, true)
    assert mended != 3, "3 voxels changed; only a change to the truth mends"
    assert mended == 1, f"one voxel is mended (1 to 2, truth 2), you count {mended}"
    assert broken == 1, f"one is broken (1 to 0, truth 1), you count {broken}"
    same = mended_and_broken(before, before, true)
    assert same == (0, 0), f"who changes nothing mends and breaks nothing, not {same}"

# %%
floors = np.arange(0.175, 0.426, 0.025)
effects = {name: [effect(label, f) for f in floors] for name, label in rules.items()}
gain = {name: [e["mended"] - e["broken"] for e in many]
        for name, many in effects.items()}
best = floors[int(np.argmax(gain["looks and place"]))]
print(f"Looks and place gain most where the mean entropy reaches {best:.3f} ln {C}.")
show.lines(floors, gain, xlabel="least mean entropy of a region, share of ln C",
           ylabel="mended minus broken voxels",
           alt="Mended minus broken over the threshold; low ones break more.")

# %% [markdown]
# **So.** Ask in regions. A lower threshold lets in the rims, where the teacher knows better.
#
# ## 5. How often does it hold?
#
# **Why.** We chose that scan because you can see it. [climax.csv](../results/climax.csv) asks all scans
# with a region of 100 voxels and more. The threshold was fixed before seeds 1 and 2 were trained.

# %%
record = recorded("climax")
if len(record):
    enough = record[record["voxels"] >= 100]
    share = enough.pivot_table(index="rule", columns=["where", "seed"], values="right")
    order = [*everyone, "looks and place, crop moved"]
    display(share.reindex(order).style.format("{:.3f}", na_rep=""))

# %%
if len(record):
    kept = enough[enough["where"] == "regions"]
    wide = kept.pivot(index=["seed", "scan"], columns="rule", values="right")
    better = wide.sub(wide["teacher"], axis=0)
    shown = {f"{name}, seed {k}": better.loc[k, name] for k in sorted(set(kept["seed"]))
             for name in ("looks", "looks and place", "looks and place, crop moved")}
    wins = [f"{name}: {(v > 0).sum()} of {len(v)}" for name, v in shown.items()]
    print("Better than the teacher on so many scans:", *wins, sep="\n")
    display(show.paired_strip(shown, xlabel="right in regions, minus the teacher",
                              alt="Gains, a point a scan; " + "; ".join(wins)))

# %% [markdown]
# **So.** Looks and place beat the teacher on 7 of 18, 3 of 23 and 10 of 19 scans of seeds 0, 1 and 2, and
# on our scan each time; the published match on 3 of all 60. They win where the teacher is bad: on 13 of
# the 18 scans where it is right on less than .77 (a limit chosen afterwards), on 7 of the other 42. At
# rims the teacher wins (.85 to .77). With the crop moved by 24 mm they win on 3 of 60.
#
# ### Question 1
#
# Why can the published match not mend the swapped bone?
#
# - A: 80 references of a class and scan are too few.
# - B: Averaged, they are one vector a class, and so one straight cut.
# - C: Some references have a wrong label.
# - D: The cosine ignores the length of vectors.
#
# <details><summary>Answer</summary>
#
# B. A: more make a steadier mean, still one. C: they are of labelled scans. D: so do the neighbours'
# cosines, and a vote bends.
#
# </details>
#
# ### Question 2
#
# A hospital cuts its scans 24 mm higher than yours. What becomes of looks and place?
#
# - A: Nothing: place is relative.
# - B: The teacher gets worse, the vote stays.
# - C: The vote gets worse: the same bone lies elsewhere in its scan.
# - D: The vote gets better: it sees new places.
#
# <details><summary>Answer</summary>
#
# C. A: relative to the scan, not to the body. B: the network sees patches, no place. D: a place that
# no labelled scan has is no evidence.
#
# </details>

# %%
rows = [{"quantity": f"{target.id}, regions, {name}: {column}", "value": value,
         "unit": "voxels" if column in ("mended", "broken") else "share", "seed": seed}
        for name, effects in table.iterrows() for column, value in effects.items()]
if out:
    Path(out).mkdir(parents=True, exist_ok=True)
    file = Path(out) / "04_embedding_correspondences.csv"
    pd.DataFrame(rows).to_csv(file, index=False)
print(f"{len(rows)} numbers" + (f" written to {out}" if out else "; out= keeps them"))

# %% [markdown]
# ## You can now
#
# - find the labelled voxels that resemble a voxel: `inspection.correspond`, by cosine
# - show that the published match is one prototype a class, so a linear rule: exercise 1
# - mend a region by a vote of looks and place: six more numbers a voxel
# - count mended against broken voxels, and say where such a vote does harm: at rims, where the crop
#   moves, and wherever place misleads
#
# **In the code:** [similarity and votes](../ssltut/methods/matching/primitives.py),
# [the published method, its steps 1 to 6](../ssltut/methods/matching/embedding_matching.py),
# [votes by looks and place](../ssltut/methods/matching/vote.py)
#
# **Sources:** Xie et al. 2024, [arXiv:2407.04638](https://arxiv.org/abs/2407.04638). Nearest
# neighbours: Cover and Hart 1967, [IEEE](https://doi.org/10.1109/TIT.1967.1053964). Prototypes: Snell
# et al. 2017, [arXiv:1703.05175](https://arxiv.org/abs/1703.05175).
