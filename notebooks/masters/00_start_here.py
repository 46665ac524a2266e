# %% [markdown]
# # 00 · Demo
#
# A network has learnt hips from four labelled scans. It paints a part of another patient's femur in the colour of the hip bone. Who is
# right, and how would you know? This question leads through the whole series. Nothing is trained here.
#
# *Minutes at class size on two cores: reading 5, computing 1, exercises 21.*
#
# ## You will be able to
#
# - point at an error of a network in 3D and in slices
# - measure with Dice how well two masks agree
# - say what a semi-supervised method is given that a supervised one is not
# - find the notebook that answers a question
# - check that this machine is ready
#
# **New words:** [voxel](../docs/glossary.md#voxel), [label](../docs/glossary.md#label), [mask](../docs/glossary.md#mask),
# [teacher](../docs/glossary.md#teacher), [entropy](../docs/glossary.md#entropy) in [nats](../docs/glossary.md#nat),
# [Dice](../docs/glossary.md#dice), [semi-supervised](../docs/glossary.md#semi-supervised), [embedding](../docs/glossary.md#embedding)

# %% tags=["parameters"]
profile = "class"  # "smoke" is for tests, "full" for a GPU
seed = 0
out = ""  # a folder for this notebook's numbers; "" writes none
retrain = False  # True: train the teacher instead of loading the one that ships

# %%
from dataclasses import replace
from pathlib import Path
import numpy as np
import pandas as pd
from ssltut import make_method, metrics, profile_named, show, synthetic_cohort
from ssltut.exercises import check
from ssltut.inspection import uncertainty_map
from ssltut.training.shipped import trained_run

P = profile_named(profile)
cohort = synthetic_cohort(**P.cohort)
if profile == "smoke":
    print("Profile smoke is for tests: its numbers mean nothing.")

# %% [markdown]
# ## 1. A femur with an orange patch
#
# The scan is a synthetic hip CT, so we know the truth. The network, our *teacher*, comes with ssltut.
#
# **Look for.** In JupyterLab, turn the femur with the mouse and click on the orange part. What is there in truth, what does the teacher
# say, and how unsure is it? (Orange is hip bone, blue is femur.)

# %%
teacher = trained_run(make_method("labels_only"), cohort, replace(P.teacher, seed=seed),
                      retrain=retrain)
patient = synthetic_cohort(**P.cohort, seed=3).case("hip008")
said = teacher.predict(patient)
unsure = uncertainty_map(teacher, patient, seed=seed).mean_of_entropies

# %%
show.explore_surface(patient.label, said, unsure, class_id=2, spacing=patient.spacing,
                     table=cohort.table, alt="A femur in the colours of what the "
                     "teacher calls it: blue femur, and an orange patch, hip bone.")

# %% [markdown]
# The same place in slices: the coloured areas are the teacher's answer, one layer shows the truth. Scroll through them.

# %%
femur = patient.label == 2
cap = femur & (said == 1)
show.slices(patient.image, spacing=patient.spacing, overlay=said, table=cohort.table,
            at=show.densest(cap, patient.label), title="the teacher's answer",
            layers={"truth": patient.label, "errors": said != patient.label,
                    "entropy (nats)": unsure},
            alt="The patient in three planes through the cap, with the teacher's "
            "answer: a part of the femur has the colour of the hip bone.")

# %% [markdown]
# ### Exercise 1 · write
#
# How good is the teacher, in one number? *Dice* of two masks is twice the number of voxels that they share, divided by the sum of their
# sizes.
#
# <details><summary>Hint</summary>Masks are arrays of True and False: what do "and" between them and the sum of one give?</details>
# <details><summary>What it should look like</summary>1 for a mask and itself, 0 for masks that share nothing. For this femur and the
# teacher about 0.93.</details>

# %% tags=["solution"]
def dice(a, b):
    """Dice of two boolean masks of the same shape, at least one of them not empty."""
    # >>> solution: compute Dice
    return 2 * (a & b).sum() / (a.sum() + b.sum())
    # <<< solution

# %% tags=["check"]
with check("1"):
    first = np.array([True, True, True, True, False, False])
    second = np.array([False, False, True, True, True, False])
    mine = dice(first, second)
    assert abs(mine - 2 / 5) > 0.01, "that divides by the union: divide by both sizes"
    assert abs(mine - 2 / 7) > 0.01, "shared voxels count twice, once for each mask"
    assert abs(mine - 4 / 7) < 1e-6, f"2 shared, sizes 4 and 3: 4 / 7, not {mine:.3f}"

# %%
for k, name in enumerate(cohort.table.names[1:], start=1):
    _, score = metrics.score_mask(said == k, patient.label == k, patient.spacing)
    print(f"{name}: Dice {score['dice']:.3f}")
print(f"The teacher calls {cap.sum()} of {femur.sum():,} femur voxels hip bone. Their "
      f"mean entropy is {unsure[cap].mean():.2f} nats, that of the rest of the femur "
      f"{unsure[femur & ~cap].mean():.2f}.")

# %% [markdown]
# **So.** A high Dice hides a cap that no surgeon would overlook.
#
# ## 2. Who is right, and how would you know?
#
# ### Exercise 2 · choose
#
# On a new scan nobody knows the truth. What tells you that the cap is wrong? "A": Dice is low. "B": hip bone does not lie *there*, and the
# teacher is unsure. "C": it is brighter than bone.
#
# <details><summary>Hint</summary>Which of the three can be measured without the label of this scan?</details>
# <details><summary>What it should look like</summary>One letter.</details>

# %% tags=["solution"]
# >>> solution: "A", "B" or "C"
evidence = "B"
# <<< solution

# %% tags=["check"]
with check("2"):
    assert evidence in ("A", "B", "C"), 'write evidence = "A", "B" or "C"'
    assert evidence != "A", "Dice needs the truth, and a new scan has none"
    assert evidence != "C", "femur and hip bone are equally bright: look at the CT"

# %% [markdown]
# **So.** *Look where the teacher is unsure, and ask labelled scans what lies there.* This is embedding matching (Xie et al. 2024), and this
# series asks when it helps.
#
# ## 3. What there is to learn from
#
# **Why.** To label a scan takes an expert hours, so most scans carry no label. A supervised network learns from the labelled ones only, a
# semi-supervised one from all:
#
# 1. the teacher segments scans without labels;
# 2. where it is sure, its answer is used as a label;
# 3. where it is not, the voxel's *embedding* is compared with labelled voxels;
# 4. a *student* learns from labels, answers and matches.

# %%
labelled, unlabelled = cohort.training("labelled"), cohort.training("unlabelled")

def tile(c):
    at = [round(share * n) for share, n in zip((0.5, 0.58, 0.52), c.image.shape)]
    return {"image": c.image, "spacing": c.spacing, "overlay": c.label,
            "table": cohort.table, "at": at}

tiles = {f"{c.id}: labelled": tile(c) for c in labelled}
tiles |= {f"{c.id}: no label": tile(c) for c in unlabelled[:4]}
show.grid(tiles, alt="Front views of eight synthetic hips: in four of them hip bone "
          "and femur are coloured, the other four are plain grey CT.")

# %% [markdown]
# ### Exercise 3 · repair
#
# How large is the cap? A scan's *affine* turns voxel indices into mm; the volume of a voxel is the determinant of its 3 x 3 part. This
# function fails for some patients.
#
# <details><summary>Hint</summary>Which numbers of a turned or mirrored 3 x 3 matrix does the function look at?</details>
# <details><summary>What it should look like</summary>For the cap some 15 ml (1 ml is 1000 mm³), however the patient lies.</details>

# %% tags=["solution"]
def volume_ml(mask, affine):
    """Volume in ml of a boolean mask on the grid of ``affine`` (4, 4)."""
    # >>> solution: repair the volume of a voxel
    #| voxel = affine[0, 0] * affine[1, 1] * affine[2, 2]
    voxel = abs(np.linalg.det(affine[:3, :3]))
    # <<< solution
    return mask.sum() * voxel / 1000

# %% tags=["check"]
with check("3"):
    box = np.ones((10, 10, 10), bool)
    assert np.isclose(volume_ml(box, np.diag([2, 1, 0.5, 1])), 1), "1000 mm³ are 1 ml"
    turned = np.array([[0, -1, 0, 9], [1, 0, 0, 9], [0, 0, 3, 9], [0, 0, 0, 1.0]])
    assert abs(volume_ml(box, turned)) > 0, "a turned patient has zeros on the diagonal"
    mirrored = np.diag([-1, 1, 3, 1.0])
    assert volume_ml(box, mirrored) > 0, "a mirrored axis makes no negative volume"
    assert np.isclose(volume_ml(box, turned), 3), "a turn changes no volume: 3 ml"

# %% [markdown]
# ## 4. The series
#
# | | the question | reading | computing | exercises |
# |---|---|---|---|---|
# | 00 | **Demo**: who is right? | 5 | 1 | 21 |
# | 01 | **Data**: is this scan what it says it is? | 5 | 1 | 21 |
# | 02 | **Teacher**: what do four labels teach? | 5 | 1 | 21 |
# | 03 | **Uncertainty**: does the network know where it is wrong? | 5 | 2 | 21 |
# | 04 | **Match**: which labelled voxels answer for this one? | 5 | 1 | 21 |
# | 05 | **Student**: does it learn the correction? | 5 | 1 | 21 |
# | 06 | **Comparing fairly**: did it help, and how sure are we? | 5 | 1 | 21 |
# | 07 | **Gallery**: what do other methods do? (reference) | 4 | 1 | 0 |
# | 08 | **Real scans**: how do I use my own? | 5 | 3 | 21 |
# | 09 | **A public benchmark**: how do we compare with papers? | 5 | 3 | 21 |
# | 10 | **Scaling out**: what do more cores and GPUs cost? | 5 | 2 | 21 |
#
# Minutes at class size on two cores. Each notebook runs alone. Where a cell says `Your turn`, write your code; the cell below checks it and
# says what is not right yet. Nothing later depends on your answer.
#
# **Look for.** Is this machine ready? 2 cores and 4 GiB are enough, and no network is needed.

# %%
from ssltut.cli.doctor import facts

pd.Series(facts(), name="this machine").to_frame()

# %%
numbers = [("scans with labels", len(labelled), ""),
           ("scans without labels", len(unlabelled), ""),
           ("voxels of the femur called hip bone", int(cap.sum()), ""),
           ("mean entropy there", round(float(unsure[cap].mean()), 3), "nats")]
if out:
    Path(out).mkdir(parents=True, exist_ok=True)
    frame = pd.DataFrame(numbers, columns=["quantity", "value", "unit"])
    frame.assign(seed=seed).to_csv(Path(out) / "00_start_here.csv", index=False)

# %% tags=["instructor"]
print("Vote before exercise 2: is the teacher right at the cap? Who would bet on it?")

# %% [markdown]
# ### Question 1
#
# What does a semi-supervised method get that a supervised one does not?
#
# - A: more labels
# - B: scans without labels
# - C: a larger network
# - D: the test scans
#
# <details><summary>Answer</summary>B. A: the labels are the same. C: the size has nothing to do with it. D would be cheating, for any
# method.</details>
#
# ### Question 2
#
# The teacher has Dice 0.93 for the femur. May a surgeon rely on it?
#
# - A: Yes, 93 % is excellent
# - B: No, anything below 1 is wrong
# - C: Dice does not say where the errors are, so look
# - D: Only if the training loss is low
#
# <details><summary>Answer</summary>C. A takes an average for a guarantee. B: two experts do not reach 1 either. D: the loss is measured on
# scans that it has seen.</details>
#
# ## You can now
#
# - point at an error of a network in 3D and in slices: the cap
# - measure with Dice how well two masks agree: exercise 1
# - say what a semi-supervised method is given that a supervised one is not: scans without labels
# - find the notebook that answers a question: the table
# - check that this machine is ready: `ssltut doctor` prints the same
#
# **In the code:** [shipped.py](../ssltut/training/shipped.py), [metrics.py](../ssltut/metrics.py),
# [embedding_matching.py](../ssltut/methods/matching/embedding_matching.py) (the method, step by step)
#
# **Sources:** [Embedding matching, Xie et al. 2024](https://arxiv.org/abs/2407.04638)
