# %% [markdown]
# # 02 · The teacher
#
# A 3D network learns from four labelled scans. It is the *teacher* of all notebooks that follow, so you must know how good it is, and where
# it is wrong.
#
# *Minutes at class size on two cores: reading 5, computing 1, exercises 21.*
#
# ## You will be able to
#
# - inspect the patches that a 3D network learns from
# - write the Dice loss, and say why cross-entropy is not enough
# - read the curves of a training
# - continue a run that was stopped
# - score a prediction, structures that were missed included
#
# **New words:** [patch](../docs/glossary.md#patch), [logits](../docs/glossary.md#logits), [Dice](../docs/glossary.md#dice),
# [cross-entropy](../docs/glossary.md#cross-entropy) in [nats](../docs/glossary.md#nat), [HD95](../docs/glossary.md#hd95),
# [validation](../docs/glossary.md#validation), [teacher](../docs/glossary.md#teacher)

# %% tags=["parameters"]
profile = "class"  # "smoke" is for tests, "full" for a GPU
seed = 0
out = ""  # a folder for this notebook's numbers; "" writes none
cohort = ""  # folder of a cohort; "" takes the synthetic hips
bone = False  # True: all classes as one, the task of the paper
retrain = False  # True: train the teacher instead of loading the one that ships

# %%
import tempfile
from dataclasses import replace
from pathlib import Path
import numpy as np
import pandas as pd
import torch
from torch.nn.functional import cross_entropy
from ssltut import make_method, metrics, profile_named, read_cohort, show
from ssltut import synthetic_cohort, train
from ssltut.data.patches import Intensity, PatchPool
from ssltut.exercises import check
from ssltut.methods.losses import dice_loss
from ssltut.nets.build import build_net
from ssltut.seeding import generator_for
from ssltut.training.shipped import trained_run

# %%
P = profile_named(profile)
config = replace(P.teacher, seed=seed)
scans = read_cohort(cohort) if cohort else synthetic_cohort(**P.cohort)
scans = scans.as_bone() if bone else scans
C, ct = scans.table.n_classes, "bone" if scans.modality == "CT" else None
print({part: len(ids) for part, ids in vars(scans.split).items()})
print("This notebook trains on the labelled scans and opens no test scan.")
if profile == "smoke":
    print("Profile smoke: everything runs, but no number below means anything.")

# %% [markdown]
# ## 1. What the network sees
#
# **Why.** A whole scan with all its features does not fit into the memory of a laptop. So the network learns from *patches*: random boxes,
# half of them centred on bone, which fills little of a scan.
#
# **Look for.** Which patch would be hard to label if you saw nothing else of the scan?

# %%
labelled = scans.training("labelled")
scale = Intensity.of([*labelled, *scans.training("unlabelled")])
pool = PatchPool(labelled, scale, config.patch, "cpu")
# x (8, 1, X, Y, Z): images; y (8, X, Y, Z): classes; ids: the scans
x, y, ids, _ = pool.sample(8, generator_for("cpu", seed, "look"))
spacing = labelled[0].spacing
window = ((400 - scale.mean) / scale.std, 1800 / scale.std) if ct else None
print(f"A patch is {config.patch[0] * spacing[0]:.0f} mm wide, "
      f"{np.prod(config.patch) / labelled[0].image.size:.0%} of a scan. Bone fills "
      f"{np.mean([(case.label > 0).mean() for case in labelled]):.0%} of the scans and "
      f"{(y > 0).float().mean():.0%} of the patches.")

# %%
def patch_view(i):
    return {"image": x[i, 0].numpy(), "overlay": y[i].byte().numpy(),
            "table": scans.table, "spacing": spacing, "window": window}

show.grid({f"{i + 1}: {ids[i]}": patch_view(i) for i in range(8)},
          alt="Eight random training patches in coronal section with their labels; "
          "each shows a different part of a scan.")

# %%
net = build_net(config.arch, 1, C, width=config.width, depth=config.depth,
                dropout=config.dropout, norm=config.norm, seed=seed)
with torch.no_grad():
    untrained = net.eval()(x)
print(f"3D U-Net with {sum(p.numel() for p in net.parameters()):,} numbers to learn.")
embedding = untrained.feats["embedding"]
print(f"Patches {tuple(x.shape)} -> logits {tuple(untrained.logits.shape)}")
print(f"and embeddings {tuple(embedding.shape)}, see notebook 04.")

# %% [markdown]
# ## 2. The loss
#
# **Why.** Cross-entropy counts voxels, and most voxels are background. What does a lazy network lose that says "background" everywhere, 95 %
# sure?

# %%
lazy = torch.zeros(8, C, *config.patch)
lazy[:, 0] = np.log(0.95 / (0.05 / (C - 1)))
for name, logits in {"lazy": lazy, "untrained": untrained.logits}.items():
    print(f"{name:>9}: cross-entropy {cross_entropy(logits, y):.2f} nats, "
          f"Dice loss {dice_loss(logits, y):.2f}")

# %% [markdown]
# **So.** Cross-entropy is content with the lazy network; Dice loss shows that it found nothing. Cross-entropy has the smoother gradient. The
# supervised loss $L_S$ of the paper is their sum.
#
# ### Exercise 1 · write
#
# With probability $p_k(v)$ of class $k$ at voxel $v$, and $y_k(v)$ = 1 where $k$ is right,
#
# $$L_{Dice} = 1 - \frac{1}{K}\sum_{k=1}^{K} \frac{2\sum_v p_k(v)\, y_k(v) + \varepsilon}{\sum_v p_k(v) + \sum_v y_k(v) + \varepsilon}$$
#
# over the $K$ foreground classes; sums run over all voxels of the batch, and $\varepsilon = 10^{-5}$ avoids 0/0.
#
# <details><summary>Hint</summary>Logits become probabilities by a softmax over dimension 1. Class 0 is background. Where do the sums end: at
# a patch, or at the batch?</details>
# <details><summary>What it should look like</summary>One number: 0 for a perfect network, near 1 for one that finds nothing.</details>

# %% tags=["solution"]
def my_dice_loss(logits, target, eps=1e-5):
    """Soft Dice loss of logits (B, C, X, Y, Z) against classes (B, X, Y, Z)."""
    # >>> solution: compute the loss of the formula
    p, ratios = logits.softmax(1), []
    for k in range(1, logits.shape[1]):
        truth = (target == k).float()
        overlap, size = (p[:, k] * truth).sum(), p[:, k].sum() + truth.sum()
        ratios.append((2 * overlap + eps) / (size + eps))
    return 1 - torch.stack(ratios).mean()
    # <<< solution

# %% tags=["check"]
with check("1"):
    truth = torch.zeros(2, 2, 2, 2, dtype=torch.long)
    truth[0] = 1  # class 1 fills the first patch, class 2 one voxel of the second
    truth[1, 0, 0, 0] = 2
    hot = torch.nn.functional.one_hot(truth, 3).movedim(-1, 1) * 100.0
    perfect = float(my_dice_loss(hot, truth))
    assert perfect > -1e-4, "a loss below 0: turn logits into probabilities first"
    assert perfect < 1e-4, "a perfect answer must cost 0: is it 1 minus the mean?"
    mine = float(my_dice_loss(torch.zeros(2, 3, 2, 2, 2), truth))  # p = 1/3 everywhere
    for slip, value in {"class 0 is background and does not count": 0.7054,
                        "this is class 1 alone: average over classes 1 to K": 0.6,
                        "sum over the batch, not patch by patch": 0.8295,
                        "twice the overlap, divided by the two sizes": 0.8737}.items():
        assert abs(mine - value) > 1e-3, slip
    assert abs(mine - 0.7474) < 1e-3, f"p = 1/3 everywhere costs 0.7474, not {mine:.4f}"

# %% [markdown]
# ## 3. Train
#
# **Why.** One loop trains every method. At class size the trained teacher comes with ssltut; `retrain = True` trains it here in a few minutes,
# with curves that grow.

# %%
panels = {"training loss": ["total"], "validation Dice": ["validation dice"],
          "validation HD95 (mm)": ["validation hd95"]}
with show.LiveCurves(alt="Loss and validation scores while the teacher trains.",
                     groups=panels, steps=config.steps) as live:
    teacher = trained_run(make_method("labels_only"), scans, config, retrain=retrain,
                          callbacks=[live])

# %% [markdown]
# **Look for.** Which panel tells that the network learnt hips, and which only that it learnt its own patches?

# %%
tenth = max(1, len(teacher.history) // 10)
dice = teacher.history["validation dice"].dropna()
print(f"Loss: {teacher.history.total[:tenth].mean():.2f} over the first tenth, "
      f"{teacher.history.total[-tenth:].mean():.2f} over the last.")
print(f"Validation Dice: {dice.iloc[0]:.3f} at first, {dice.iloc[-1]:.3f} at the end.")
show.curves(teacher.history, groups=panels,
            alt=f"Training loss, validation Dice (at the end {dice.iloc[-1]:.2f}) and "
            "validation HD95 in mm over the steps.")

# %% [markdown]
# **So.** A loss that falls while validation Dice does not rise is memory, not learning. The rule is fixed beforehand: the weights at the end
# count. Laptops go to sleep and clusters stop jobs. A run must survive both.

# %%
tiny = replace(config, steps=4, validate_every=2, width=4, depth=2)
quiet = {"log": lambda line: None}
method = make_method("labels_only")
with tempfile.TemporaryDirectory() as folder:
    straight = train(method, scans, tiny, Path(folder) / "straight", **quiet)
    train(method, scans, tiny, Path(folder) / "stopped", stop_after=3, **quiet)
    continued = train(method, scans, tiny, Path(folder) / "stopped", **quiet)
same = bool((straight.history.total == continued.history.total).all())
print(f"A run that was stopped and continued has the same loss at every step: {same}")

# %% [markdown]
# ## 4. Where it is wrong
#
# **Look for.** Planes cut where errors are densest. Which bone is called which?

# %%
case = scans.validation()[0]
prediction = teacher.predict(case)
wrong = prediction != case.label
print(f"{case.id}: {wrong.mean():.1%} of all voxels are wrong, "
      f"{wrong[case.label > 0].mean():.1%} of those in bone.")
show.slices(case.image, spacing=case.spacing, table=scans.table, window=ct,
            contours={"truth": case.label, "prediction": prediction},
            at=show.densest(wrong, case.label), title=case.id,
            alt=f"{case.id} in three planes through its densest errors, with the "
            "outlines of truth and prediction.")

# %%
show.volume(case.image, spacing=case.spacing, label_image=prediction, table=scans.table,
            title=f"{case.id}: predicted", alt=f"{case.id} from the front, beside the "
            "surfaces of the predicted classes; stray pieces and holes are visible.")

# %% [markdown]
# ### Exercise 2 · predict
#
# HD95 is a distance of surfaces in mm: 95 % of the points of each surface lie at most this far from the other one. We add a stray cube, far
# away, to a perfect answer and let it grow. What does HD95 do? "A": it grows in proportion to the cube. "B": it is large from the first
# voxel on. "C": it stays 0 for a while, then jumps.
#
# <details><summary>Hint</summary>Which 5 % of the points does HD95 not look at, the nearest or the farthest?</details>
# <details><summary>What it should look like</summary>One letter; the next cell lets the cube grow.</details>

# %% tags=["solution"]
# >>> solution: "A", "B" or "C"
hd95_does = "C"
# <<< solution

# %% tags=["check"]
with check("2"):
    assert hd95_does in ("A", "B", "C"), 'write hd95_does = "A", "B" or "C"'
    assert hd95_does != "A", "Dice does that: it counts voxels. HD95 measures mm"
    assert hd95_does != "B", "that is the largest distance; HD95 leaves out 5 %"

# %%
def scores_of(mask, truth):
    score = metrics.score_mask(mask, truth, case.spacing)[1]
    return f"Dice {score['dice']:.3f}, HD95 {score['hd95']:.1f} mm"

femur = case.label == scans.table.n_classes - 1
for n in (2, 4, 6, 8, 12):
    stray = femur.copy()
    stray[:n, :n, -n:] = True
    print(f"perfect, and a cube of {n} x {n} x {n}: {scores_of(stray, femur)}")
largest = teacher.predict(case, min_component=1.0)  # the largest piece of each class
for which, labels in {"as predicted": prediction, "largest piece": largest}.items():
    print(f"hip bone, {which}: {scores_of(labels == 1, case.label == 1)}")

# %% [markdown]
# **So.** Compare the last two lines: HD95 may overlook a piece as large as the orange cap. No single score is enough. We keep all pieces: the
# filter hides what a network invents.
#
# ## 5. Score it
#
# **Why.** Missing a structure must be penalised. A structure that is neither present nor predicted should not count at all.
#
# ### Exercise 3 · repair
#
# Many libraries score like this function, which rewards an empty answer.
#
# <details><summary>Hint</summary>Write down the four cases: truth empty or not, prediction empty or not. Which does the function
# mix up?</details>
# <details><summary>What it should look like</summary>
#
# ![Truth and prediction as circles. Both there: Dice of their overlap. Only one of them: 0. Neither: no score.](figures/02_four_cases.png)
#
# </details>

# %% tags=["solution"]
def dice_of(prediction, truth):
    """Dice of two boolean masks; NaN where both are empty."""
    # >>> solution: repair the answer for empty masks
    #| if not prediction.any():
    #|     return 1.0
    if not prediction.any() and not truth.any():
        return float("nan")
    # <<< solution
    return 2 * (prediction & truth).sum() / (prediction.sum() + truth.sum())

# %% tags=["check"]
with check("3"):
    full, none = case.label == 1, np.zeros(case.label.shape, bool)
    assert dice_of(full, full) == 1, "a perfect answer has Dice 1"
    assert dice_of(none, full) == 0, "the structure was missed: that must cost, Dice 0"
    assert dice_of(full, none) == 0, "the structure was invented: Dice 0"
    assert np.isnan(dice_of(none, none)), (
        "neither present nor predicted: no success and no failure, so NaN")

# %%
def score(one):
    answer = teacher.predict(one)
    found = metrics.score_case(answer, one.label, one.spacing, scans.table.names)
    return pd.DataFrame(found).assign(case=one.id)

# %%
scores = pd.concat([score(one) for one in scans.validation()])
table = scores.pivot(index=["case", "class", "status"], columns="metric")["value"]
mean = scores.groupby(["metric", "class"])["value"].mean()
numbers = [(f"{metric} {name}", mean[metric, name], {"dice": "1", "hd95": "mm"}[metric])
           for metric in ("dice", "hd95") for name in scans.table.names[1:]]
if out:
    Path(out).mkdir(parents=True, exist_ok=True)
    frame = pd.DataFrame(numbers, columns=["quantity", "value", "unit"])
    file = Path(out) / "02_training_the_teacher.csv"
    frame.assign(seed=seed).to_csv(file, index=False)
table[["dice", "hd95", "surface_dice"]].round(3)

# %% [markdown]
# **So.** A structure that was missed gets the diagonal of the scan as HD95. A few scans say little: notebook 06 opens the test scans.

# %% tags=["instructor"]
# Whose validation Dice is highest in the room, and why is it wrong to keep that one?
# Common slip in exercise 1: a Dice per patch. A patch without femur then scores 0.

# %% [markdown]
# ### Question 1
#
# The training loss still falls, validation Dice has been level for 100 steps. What do you do?
#
# - A: train on, the loss knows best
# - B: take the step with the highest Dice of a test scan
# - C: stop or keep your rule; more of the same will not help
# - D: add validation scans to the training
#
# <details><summary>Answer</summary>C. A takes memory for learning. B chooses by the test, which then measures luck. D leaves nothing to
# validate with.</details>
#
# ### Question 2
#
# Two predictions have Dice 0.95. One has HD95 2 mm, the other 40 mm. Why?
#
# - A: the second has voxels of another size
# - B: the second has more than 5 % of its surface far from the bone
# - C: the second is smaller everywhere
# - D: HD95 is noise
#
# <details><summary>Answer</summary>B, for example a stray piece. A: both are measured in mm. C would lower Dice first. D: HD95
# ignores the worst 5 %, so it is steadier than a maximum.</details>
#
# ## You can now
#
# - inspect the patches that a 3D network learns from: half centred on bone
# - write the Dice loss, and say why cross-entropy is not enough: most voxels are background
# - read the curves of a training: loss against validation
# - continue a run that was stopped: the same command again
# - score a prediction, structures that were missed included: a status beside each value
#
# **In the code:** [losses.py](../ssltut/methods/losses.py) ($L_S$), [patches.py](../ssltut/data/patches.py),
# [loop.py](../ssltut/training/loop.py), [metrics.py](../ssltut/metrics.py)
#
# **Sources:** [Xie et al. 2024](https://arxiv.org/abs/2407.04638), [Dice loss, Milletari et al. 2016](https://arxiv.org/abs/1606.04797),
# [3D U-Net, Çiçek et al. 2016](https://arxiv.org/abs/1606.06650)
