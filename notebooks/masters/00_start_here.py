# %% [markdown]
# # 00 Start here
#
# A hip CT has some million voxels. To label every one by hand takes an expert hours, so most scans of a hospital carry no label at all.
# This series asks what a network can learn from those, and when it cannot.
#
# After this notebook **you will be able to**
# - say what a semi-supervised method is given that a supervised one is not
# - check whether this machine is enough
# - choose a profile by what it costs here
# - find the notebook that answers a question
# - compute a Dice score and a volume in ml, and check both
#
# *CPU, profile `class`: about 1 minute of computing, 20 with reading and exercises. Needs nothing from other notebooks.*

# %% tags=["parameters"]
profile = "class"  # "smoke": seconds, numbers without meaning; "class": a laptop; "full": a GPU
seed = 0
out = ""  # a folder for this notebook's numbers; "" writes none
retrain = False  # True: train the teacher instead of loading the one that ships

# %%
import sys
if "google.colab" in sys.modules:
    # %pip install -q ssltut

# %%
from dataclasses import replace
from pathlib import Path
import numpy as np
import pandas as pd
from ssltut import make_method, profile_named, show, synthetic_cohort
from ssltut.inspection import uncertainty_map
from ssltut.training.config import PROFILES
from ssltut.training.shipped import trained_run

P = profile_named(profile)
cohort = synthetic_cohort(**P.cohort)
if profile == "smoke":
    print("Profile smoke is for tests: its numbers mean nothing.")

# %% [markdown]
# ## 1. Who is right?
#
# **Why.** A network, the *teacher*, has learned from four labelled hips. Here is the femur of a patient
# whom it has never seen. Turn it with the mouse. Click it: what is there in truth, what does the
# teacher say, and how unsure is it?

# %%
teacher = trained_run(make_method("labels_only"), cohort, replace(P.teacher, seed=seed),
                      retrain=retrain)
patient = synthetic_cohort(**P.cohort, seed=3).case("hip008")
said = teacher.predict(patient)
unsure = uncertainty_map(teacher, patient, seed=seed).mean_of_entropies

# %%
show.explore_surface(patient.label, said, unsure, class_id=2, spacing=patient.spacing,
                     table=cohort.table, alt="A femur in the colours of what the teacher "
                     "calls it: blue femur, and an orange patch at the back, hip bone.")

# %%
femur = patient.label == 2
wrong = femur & (said == 1)
print(f"The teacher calls {wrong.sum()} of {femur.sum():,} femur voxels hip bone "
      f"({wrong.sum() / femur.sum():.0%}). Its mean entropy is {unsure[wrong].mean():.2f} "
      f"there, and {unsure[femur & ~wrong].mean():.2f} in the rest of the femur.")

# %%
labelled, unlabelled = cohort.training("labelled"), cohort.training("unlabelled")

# %% [markdown]
# ## The task in one picture
#
# **Why.** A *cohort* is a set of scans. Here every scan is a synthetic hip CT, made in this notebook: bones, muscle, fat, noise, some with an
# illness, all with exact labels. We hide most of the labels, as a hospital would not have them.

# %%
def tile(case):
    at = [round(share * n) for share, n in zip((0.5, 0.58, 0.52), case.image.shape)]
    return {"image": case.image, "spacing": case.spacing, "overlay": case.label, "table": cohort.table, "at": at}

shown = {f"{case.id}: labelled": tile(case) for case in labelled} | {f"{case.id}: no label": tile(case) for case in unlabelled[:8]}
show.grid(shown, alt=f"Front views of {len(shown)} synthetic hips. In {len(labelled)} of them hip bone and femur are coloured; the others are plain grey CT.")

# %%
print(f"To learn from: {len(labelled)} scans with labels and {len(unlabelled)} without ({len(unlabelled) / len(labelled):.0f} for each labelled one).")
print(f"Kept apart: {len(cohort.split.validation)} to choose a model by, {len(cohort.split.test)} to test it at the very end.")

# %% [markdown]
# **What to see.** Orange is hip bone, blue is femur. A *supervised* network learns from the coloured scans only. A *semi-supervised* one
# learns from all of them:
#
# 1. a **teacher** segments the scans without labels;
# 2. where it is sure (**reliable** voxels), its answer becomes a *pseudo-label*;
# 3. where it is not (**unreliable** voxels), the **embedding** of the voxel is compared with **reference voxels** of labelled scans;
# 4. a **student** learns from the labels, the pseudo-labels and the matches.
#
# Step 3 is the idea of embedding matching (Xie et al. 2024). Whether it helps is what notebooks 05 and 06 measure.
#
# **Try.** Find the narrowest joint in the picture. Would you draw the border there with confidence?

# %% [markdown]
# ## Is this machine enough?
#
# **Why.** Nothing here needs a GPU or a network. Training needs memory and time, and both depend on the processor.

# %%
from ssltut.cli.doctor import facts

machine = facts()
pd.Series(machine, name="this machine").to_frame()

# %%
fast = machine["precision"] != "32-true"
print(f"It has {machine['cores']} cores and {machine['memory']} of memory; the profile class was made for 2 cores and 4 GiB.")
print(f"Training will use {machine['device']} with precision {machine['precision']}{': the fast way' if fast else ', the plain way'}.")
print(f"Pictures are made for: {machine['frontend']} (static = pictures only; lab and colab add sliders and 3D).")

# %% [markdown]
# **What to see.** If a package says *not installed*, its views fall back to pictures. `ssltut doctor` prints the same table in a terminal: send it
# along when you report a problem.
#
# ## How much to run: the profiles
#
# **Why.** The same notebook serves a test, a class and a paper. The profile sets the size of scans, network and training; everything else stays.

# %%
def row(p):
    return {"scans": p.cases, "voxels a side": p.size, "labelled": p.labelled, "test": p.test, "patch": p.train.patch[0], "network width": p.train.width,
            "teacher steps": p.teacher.steps, "student steps": p.train.steps, "repeats": len(p.seeds)}

pd.DataFrame({name: row(p) for name, p in PROFILES.items()})

# %% [markdown]
# How long is that *here*? We time a few real steps and multiply. This is an estimate, not a promise: it leaves out validation, and a
# busy machine is slower.

# %%
import time
from dataclasses import replace
from statistics import median
from tempfile import TemporaryDirectory
from ssltut import make_method, train
from ssltut.training.callbacks import Callback

class Clock(Callback):
    """Notes when each step is done."""
    def __init__(self):
        self.ticks = []
    def on_step(self, step, nets, batch, terms):
        self.ticks.append(time.perf_counter())

# %%
def seconds_per_step(method, config, n=4):
    clock = Clock()
    with TemporaryDirectory() as folder:
        train(make_method(method), cohort, replace(config, steps=n, validate_every=n), Path(folder) / "run",
              callbacks=[clock], log=lambda text: None)
    return median(np.diff(clock.ticks))

# %%
names = {"labels_only": ("02, the teacher", P.teacher), "embedding_matching": ("05, a student", P.train)}
step_s = {method: seconds_per_step(method, config) for method, (_, config) in names.items()}
for method, (where, config) in names.items():
    print(f"{where}: {step_s[method]:.2f} s a step x {config.steps} steps = about {step_s[method] * config.steps / 60:.1f} min (estimate)")
print(f"A step of embedding matching takes {step_s['embedding_matching'] / step_s['labels_only']:.1f} times as long as one of labels only.")

# %% [markdown]
# **What to see.** Embedding matching asks its teacher several times in every step; the last line says what that costs. What is trained once is
# kept in the cache; the next notebook that needs it says *found the finished run*.
#
# **Try.** Set `profile = "smoke"` in the first cell and run all again.
#
# ## The map
#
# | | notebook | the question it answers |
# |---|---|---|
# | 01 | loading hip CT | Is this scan what it says it is? |
# | 02 | training the teacher | What can few labels teach? |
# | 03 | uncertainty maps | Does the network know where it errs? |
# | 04 | embedding correspondences | Which labelled voxels vouch for this one? |
# | 05 | training the student | What does each part of the loss do? |
# | 06 | comparing with baselines | Did it help, and how sure are we? |
#
# Each runs alone. Each opens with what you will be able to do, and how long it takes.
#
# **On Colab** open a notebook and run it: the cell after the parameters installs ssltut there, and leaves Colab's own torch alone. *Runtime, Change
# runtime type* gives a GPU; `full` wants one.
#
# ## How exercises work
#
# A cell with `raise NotImplementedError("Your turn: ...")` is yours: put your code in its place. The cell below it checks your answer. Nothing later
# depends on it, so you may go on and come back. The complete notebooks are in `notebooks/solutions`.
#
# **Exercise 1.** The Dice score of two masks is twice the number of voxels they share, divided by the sum of their sizes: 1 is perfect, 0 is
# no overlap. Write it for two boolean arrays, at least one of them not empty.

# %% tags=["solution"]
def dice(a, b):
    """Dice score of two boolean masks of the same shape."""
    # >>> solution: twice the shared voxels, divided by the sum of both sizes
    return 2 * (a & b).sum() / (a.sum() + b.sum())
    # <<< solution

# %% tags=["check"]
from ssltut.metrics import score_mask

first, second = np.array([1, 1, 1, 1, 0, 0], bool), np.array([0, 0, 1, 1, 1, 0], bool)
assert np.isclose(dice(first, second), 4 / 7), "by hand: 2 shared voxels, sizes 4 and 3, so 2 x 2 / (4 + 3)"
femur = labelled[0].label == 2
moved = np.roll(femur, 1, axis=0)
_, scores = score_mask(moved, femur, labelled[0].spacing)
assert np.isclose(dice(moved, femur), scores["dice"]), "the package finds another value for a femur that moved"
print(f"Right. One voxel ({labelled[0].spacing[0]:.1f} mm) to the side costs this femur {1 - dice(moved, femur):.3f} of its Dice score.")

# %% [markdown]
# **Exercise 2.** A scan's *affine* is a 4 x 4 matrix that takes voxel indices to millimetres. The volume of one voxel is the size of the determinant of
# its upper left 3 x 3 part. Give the volume of a mask in ml (1 ml = 1000 mm³).

# %% tags=["solution"]
def volume_ml(mask, affine):
    """Volume in ml of a boolean mask on the grid of ``affine`` (4, 4)."""
    # >>> solution: voxels in the mask x |determinant of the 3 x 3 part| / 1000
    return mask.sum() * abs(np.linalg.det(affine[:3, :3])) / 1000
    # <<< solution

# %% tags=["check"]
box = np.ones((10, 10, 10), bool)
assert np.isclose(volume_ml(box, np.diag([2.0, 1.0, 0.5, 1.0])), 1.0), "1000 voxels of 2 x 1 x 0.5 mm are 1 ml"
mirrored_and_tilted = np.array([[-0.6, 0.8, 0, 9], [0.8, 0.6, 0, 9], [0, 0, 3, 9], [0, 0, 0, 1.0]])
assert np.isclose(volume_ml(box, mirrored_and_tilted), 3.0), "a tilt or a mirrored axis changes no volume: not the diagonal, and no negative volume"
print(f"Right. The visible part of this femur has {volume_ml(femur, labelled[0].affine):.0f} ml.")

# %%
def size_of(case, value):
    return (case.label == value).sum() * np.prod(case.spacing) / 1000

sizes = pd.DataFrame({name: [size_of(case, value) for case in labelled] for value, name in enumerate(cohort.table.names) if value})
numbers = [("scans with labels", len(labelled), ""), ("scans without labels", len(unlabelled), ""),
           *[(f"seconds a step, {method}", round(s, 4), "s") for method, s in step_s.items()],
           *[(f"mean volume in view, {name}", round(sizes[name].mean(), 1), "ml") for name in sizes]]
if out:
    Path(out).mkdir(parents=True, exist_ok=True)
    pd.DataFrame(numbers, columns=["quantity", "value", "unit"]).assign(seed=seed).to_csv(Path(out) / "00_start_here.csv", index=False)
sizes.describe().loc[["count", "mean", "min", "max"]].round(1)

# %% tags=["instructor"]
print("Break here. In pairs: which of your own data sets has more scans than labels, and why? Five minutes.")

# %% [markdown]
# **What to see.** The table gives the volumes (ml) of the labelled scans. Fewer ml means a smaller patient or less bone in view.
#
# ## Words
#
# - **case** one scan with its geometry, and its label where there is one
# - **cohort** cases with a split into labelled, unlabelled, validation and test, no patient in two of them
# - **patch** a crop of a case that fits into a training step
# - **view** a drawn, replayable change of a patch (noise, contrast), weak or strong
# - **teacher, student** two networks of one shape: the teacher answers for scans without labels, the student learns; often the teacher is a running
#   average of the student
# - **reliable, unreliable** voxels where the teacher's uncertainty is below, or above, a threshold
# - **embedding** the vector of features of a voxel just before the network decides on its class
# - **reference voxel** a voxel of a labelled scan whose embedding others are compared with
# - **labels only, all labels** the two bounds every method is held against
#
# **You can now**
# - say what a semi-supervised method is given that a supervised one is not: the scans in grey
# - check whether this machine is enough: `ssltut doctor`, or the first table
# - choose a profile by what it costs here: steps x seconds a step
# - find the notebook that answers a question: the map
# - compute a Dice score and a volume in ml, and check both: exercises 1 and 2
