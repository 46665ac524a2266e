# %% [markdown]
# # 08 · Real scans
#
# You have a folder of CT scans and no labels. We import it without patient identities, segment
# it with a model trained only on synthetic hips, and ask: do unlabelled real scans help
# that model, and where does it fail?
#
# *Minutes at class size on two cores: reading 5, computing 3, exercises 21.*

# %% [markdown]
# ## You will be able to
#
# - import a folder of scans without patient identities
# - segment real CT with a model trained on synthetic scans only
# - prove that a prediction lies on the grid of its scan
# - say what unlabelled real scans changed, and what would have changed anyway
# - point at the places where such a model fails
#
# **New words:** [affine](../docs/glossary.md#affine), [spacing](../docs/glossary.md#spacing),
# [orientation](../docs/glossary.md#orientation), [control](../docs/glossary.md#control),
# [Dice](../docs/glossary.md#dice)

# %% tags=["parameters"]
profile = "class"  # smoke trains for seconds, its numbers mean nothing
seed = 0
out = ""  # folder for the numbers as CSV; "" writes none
scan = ""  # a CT of the pelvis (.nii.gz); "" takes the example, else a stand-in
retrain = False  # True trains the whole recipe once, about 24 minutes, and keeps it

# %%
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp

import nibabel as nib
import numpy as np
import pandas as pd

# %%
from ssltut import Cohort, cached_run, make_method, read_case, show
from ssltut.data.labels import HIP
from ssltut.data.resample import resample
from ssltut.data.split import Split
from ssltut.exercises import check
from ssltut.files import cache_dir, user_file
from ssltut.intake import ingest
from ssltut.io import public
from ssltut.io.nifti import write_image, write_label
from ssltut.metrics import score_case
from ssltut.synthetic.anatomy import Pathology
from ssltut.synthetic.pelvis import make_pelvis, pelvis_cohort
from ssltut.training.config import TrainConfig
from ssltut.training.recipes import hip

# %% [markdown]
# ## 1. From a folder to a cohort
#
# **Why.** Folders from a hospital have names in paths and headers, and files that are no
# scans. `ingest` reads what is sound, names what is not, and writes numbered cases.

# %%
whole = cache_dir() / "runs" / f"recipe-hip-class-{seed}"
trained = retrain or (whole / "best.safetensors").exists()
mm = 8.0 if profile == "smoke" else 3.0 if trained else 5.0
work, example = Path(mkdtemp()), public.find_totalsegmentator_example()
folder = work / "from the hospital" / "Doe, Jane"
folder.mkdir(parents=True)
source = user_file(scan, "scan") if scan else example / public.CT if example else None
if source is None:
    stand_in = make_pelvis(seed + 1002, spacing=mm, pathology=Pathology(implant=True))
    write_image(stand_in, folder / "ct.nii.gz")
    print("No real scan here (ssltut fetch totalsegmentator_example): a synthetic one\n"
          "takes its place. It proves nothing about real scans.")
else:
    (folder / "ct.nii.gz").write_bytes(source.read_bytes())

# %%
reference = stand_in.label if source is None else None
if source is not None and source.with_name(public.SEGMENTATION).exists():
    reference = public.read_totalsegmentator_example(source.parent).label
intake = ingest.ingest(folder.parent, work / "cohort", log=None)
files = sorted((work / "cohort" / "images").iterdir())
scans = [read_case(path) for path in files]
case = scans[0]
print("files of the cohort:", [path.name for path in files])
print("report:", work / "cohort" / "reports" / "index.html")
pd.DataFrame(intake.rows).T

# %% [markdown]
# **So.** Jane Doe is in no file name. The report has geometry, HU and a picture of each case:
# look at it before you believe anything that follows.
#
# ## 2. A model that has seen no real scan
#
# **Why.** Labels of real scans cost hours. A synthetic pelvis has exact ones, but looks
# wrong. So the recipe draws anatomy, illness, metal, contrast medium and noise *wider* than
# they are: a real scan is then one more draw. The whole recipe (`ssltut recipe hip`) takes 24
# minutes; where it is not in the cache, a short one of 150 steps at 5 mm takes its place.

# %%
n = 4 if profile == "smoke" else 42 if trained else 16
known = pelvis_cohort(n, seed=seed, spacing=mm, validation=2)
if trained and profile != "smoke":
    model = hip(whole, "class", seed=seed)
else:
    steps, side, depth = (4, 16, 2) if profile == "smoke" else (150, 32, 4)
    shape = {"patch": (side,) * 3, "depth": depth, "dropout": 0.0, "randomise": 1.0}
    short = TrainConfig(steps=steps, validate_every=steps, seed=seed, **shape)
    model = cached_run(make_method("all_labels"), known, short)

# %% [markdown]
# **Look for.** Which parts of the real bones are missing, and what else is coloured? Pieces
# smaller than a fifth of the largest of their class are left out.

# %%
synthetic, least = make_pelvis(seed + 4, spacing=mm), 0.2
before = model.predict(case, least)
shown = {"synthetic, with its label": (synthetic, synthetic.label),
         "this scan, predicted": (case, before)}
show.grid(
    {name: {"image": c.image, "spacing": c.spacing, "overlay": label, "table": HIP,
            "window": "bone"} for name, (c, label) in shown.items()},
    columns=2,
    alt="Front views: a synthetic pelvis with its label, and the scan as predicted.",
)

# %%
ml = {name: float((before == c).sum() * np.prod(case.spacing) / 1000)
      for c, name in enumerate(HIP.names) if c}
print("found:", ", ".join(f"{name} {v:.0f} ml" for name, v in ml.items()))
if profile == "smoke":
    print("Profile smoke trains for seconds: these numbers mean nothing.")

# %% [markdown]
# **So.** The short recipe finds bones roughly. The whole one has a
# [Dice](../docs/glossary.md#dice) of about .92 on the example ([your own scans](../docs/own-scans.md)).
#
# ### Question 1
#
# A synthetic pelvis does not look like a CT. Why can a model learn from it at all?
#
# - A. Its texture is as in a CT.
# - B. Shapes are right, and everything else varies so much that the model cannot rely on it.
# - C. The network has seen CT before.
# - D. It cannot; the pictures above are chance.
#
# <details><summary>Answers</summary>
#
# - A takes looks for the reason. Looks vary on purpose.
# - **B** is right: what varies in training cannot be used at the test.
# - C thinks of pre-trained weights; there are none here.
# - D is a good suspicion: measure it on scans with labels, as docs/own-scans.md does.
#
# </details>
#
# ## 3. Back to your own software
#
# **Why.** A mask that lies one voxel beside its scan looks right here and is wrong in a
# planning system. `export` writes on the grid of the file that came in.

# %%
write_label(before, case.affine, work / "case001_prediction.nii.gz")
predictions = [work / "case001_prediction.nii.gz"]
(back,) = ingest.export(work / "cohort", predictions, work / "for the clinic")
print("open this over your scan in 3D Slicer or ITK-SNAP:", back.name)

# %% [markdown]
# ### Exercise 1 · write
#
# How far apart, in mm, are two volumes that should lie on each other? Compare their first
# voxels, (0, 0, 0), and their last ones, shape - 1. Return the larger distance.
#
# <details><summary>Hint</summary>
#
# An [affine](../docs/glossary.md#affine) takes (x, y, z, 1) to mm: `affine @ voxel`.
#
# </details>
# <details><summary>What it should look like</summary>
#
# ![Five voxels of 1 mm and five of 2 mm: the last ones are 4 mm apart.](figures/08_two_grids.png)
#
# </details>

# %% tags=["solution"]
def apart(shape_a: tuple, affine_a: np.ndarray, shape_b: tuple, affine_b: np.ndarray):
    """The larger distance in mm, of the first voxels and of the last voxels."""
    # >>> solution: both ends of both volumes in mm, then the larger distance
    ends = []
    for shape, affine in ((shape_a, affine_a), (shape_b, affine_b)):
        last = [*(np.array(shape) - 1), 1]
        ends.append([affine @ [0, 0, 0, 1], affine @ last])
    return float(np.linalg.norm(np.subtract(*ends), axis=1).max())
    # <<< solution

# %% tags=["check"]
with check("1"):
    one, double, moved = np.eye(4), np.diag([2.0, 1, 1, 1]), np.eye(4)
    moved[0, 3] = 7
    mine = apart((5, 5, 5), one, (5, 5, 5), double)
    assert mine is not None, "nothing comes back: is a return missing?"
    assert mine != 5, "5 mm: the last voxel has the index shape - 1"
    assert mine != 0, "0 mm: only the first voxels are compared"
    assert mine == 4, f"the last voxel lies at 8 mm instead of 4 mm, you have {mine}"
    mine = apart((5, 5, 5), one, (5, 5, 5), moved)
    assert mine == 7, f"both ends are 7 mm apart, so the larger is 7, not {mine:.1f}"
    double[0, 3] = -4
    assert apart((5, 5, 5), one, (5, 5, 5), double) == 4, "the first voxels count too"
    a, b = nib.load(folder / "ct.nii.gz"), nib.load(back)
    gap = apart(a.shape, a.affine, b.shape, b.affine)
    assert gap < min(a.header.get_zooms()) / 2, f"the prediction left by {gap:.2f} mm"

# %% [markdown]
# ## 4. Do unlabelled real scans help?
#
# **Why.** The synthetic scans are labelled, yours are not. Four models go on from the same
# weights: mean teacher, embedding matching, its neighbour vote, and *labels only*, which
# never sees your scan.
#
# ### Exercise 2 · choose
#
# All four will differ from the model before. To see what your scan did, with which one do you
# compare mean teacher: `"before"`, `"labels only"` or `"neighbour vote"`?
#
# <details><summary>Hint</summary>
#
# What do the two that you compare share, and in what one thing do they differ?
#
# </details>
# <details><summary>What it should look like</summary>
#
# One of the three names, in quotes.
#
# </details>

# %% tags=["solution"]
# >>> solution: the one that differs in the unlabelled scan alone
compared_with = "labels only"
# <<< solution

# %% tags=["check"]
with check("2"):
    assert isinstance(compared_with, str), "put one of the three names, in quotes"
    assert compared_with != "before", "more steps change a model too, without your scan"
    assert compared_with != "neighbour vote", "both saw your scan: its effect cancels"
    assert compared_with == "labels only", f"{compared_with!r} is none of the three"

# %%
hidden = [replace(c.without_label(), id=f"real{i}", patient=f"real{i}")
          for i, c in enumerate(scans)]
unlabelled = [resample(c, (mm,) * 3, HIP.n_classes) for c in hidden]
cases = [*known.training("labelled"), *known.validation(), *unlabelled]
ids = tuple(c.id for c in unlabelled)
split = Split(known.split.labelled, ids, known.split.validation, ())
mixed = replace(Cohort.from_cases(cases, split, HIP, "synthetic and real"), spacing=mm)

# %%
steps = 3 if profile == "smoke" else 60 if trained else 30
config = replace(model.config, steps=steps, validate_every=steps, select="last",
                 lr=model.config.lr / 4)
after = {}
for name in ("labels_only", "mean_teacher", "embedding_matching", "neighbour_vote"):
    method = make_method(name)
    run = cached_run(method, mixed, config, init=model.folder)
    after[method.title] = run.predict(case, least)

# %% [markdown]
# ### Exercise 3 · repair
#
# How much did a model change? This function says less than 1 % for anything, since most
# voxels are background. Give the share of the voxels that are bone in *either* volume.
#
# <details><summary>Hint</summary>
#
# Which voxels should the denominator count? And what if there are none?
#
# </details>
# <details><summary>What it should look like</summary>
#
# Labels 0 0 1 2 and 0 1 1 1: three voxels are bone, two of them differ: 2/3.
#
# </details>

# %% tags=["solution"]
def changed(first: np.ndarray, second: np.ndarray) -> float:
    """Share of the voxels that are bone in either volume and differ."""
    # >>> solution: divide by the voxels that are bone in either
    #| differ = (first != second).sum()
    #| return float(differ / first.size)
    differ = (first != second).sum()
    either = ((first > 0) | (second > 0)).sum()
    return float(differ / max(either, 1))
    # <<< solution

# %% tags=["check"]
with check("3"):
    mine = changed(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 1]))
    assert mine != 0.5, "1/2: background still counts in the denominator"
    assert mine != 1, "1: only the voxels that are bone in one of them count"
    assert np.isclose(mine, 2 / 3), f"two of three bone voxels differ, not {mine}"
    assert changed(np.zeros(4), np.zeros(4)) == 0, "no bone at all: the share is 0"

# %%
rows = []
for name, label in {"before": before, **after}.items():
    either = max(((before > 0) | (label > 0)).sum(), 1)
    row = {"model": name, "changed": float((before != label).sum() / either)}
    if reference is not None:
        scores = score_case(label, reference, case.spacing, HIP.names)
        row |= {s["class"]: s["value"] for s in scores if s["metric"] == "dice"}
    rows.append(row)
pd.DataFrame(rows).round(3)

# %% [markdown]
# **Look for.** Only what changed is coloured. What did *labels only* change too?

# %%
at = np.array(case.image.shape) // 2
at = np.rint(np.argwhere(before > 0).mean(0)).astype(int) if before.any() else at
scene = {"image": case.image, "spacing": case.spacing, "table": HIP, "at": at}
said = ", ".join(f"{row['model']} {row['changed']:.1%}" for row in rows[1:])
show.grid(
    {name: scene | {"overlay": np.where(label != before, np.maximum(label, 1), 0)}
     for name, label in after.items()},
    columns=2,
    alt=f"Four front views, only changed voxels coloured. Changed: {said}.",
)

# %% [markdown]
# **So.** A change that labels only makes too is no gain from unlabelled data. One scan and
# one seed show what may happen, not what does: [06](06_comparing_fairly.ipynb) is the way
# to find out, and [your own scans](../docs/own-scans.md) has what was measured.
#
# ### Question 2
#
# With a reference, Dice rises from .90 to .91 after mean teacher. What do you report?
#
# - A. Unlabelled scans help on real CT.
# - B. A gain of .01 in one scan, one seed, beside that of labels only.
# - C. Nothing: one scan is worthless.
# - D. The best of ten seeds.
#
# <details><summary>Answers</summary>
#
# - A makes a law of one patient.
# - **B** is right: size, setting and control.
# - C throws away what a careful sentence can say.
# - D chooses on the test.
#
# </details>
#
# ## 5. Where it fails
#
# **Why.** A mean hides the place. The reference of the example comes from a model too, and is
# poor near the metal: look at it, but do not test with it there.

# %%
places = None
if reference is None:
    print("No reference: look at the roof of the joint, the crest and metal.")
else:
    wrong = before != reference
    rim = wrong.shape[1] // 10  # the ends of a scan are no place to look at
    worst = rim + int(wrong.sum((0, 2))[rim:-rim].argmax())
    scene |= {"window": "bone", "at": (wrong.shape[0] // 2, worst, wrong.shape[2] // 2)}
    lost = wrong.sum() * np.prod(case.spacing) / 1000
    print(f"{lost:.0f} ml differ from the reference; most in coronal slice {worst}.")
    both = {"reference": reference, "predicted": before}
    drawn = {name: scene | {"overlay": label} for name, label in both.items()}
    alt = f"The slice with most errors, {worst}: the reference beside the prediction."
    places = show.grid(drawn, columns=2, alt=alt)
places

# %%
numbers = [*((f"{name} volume", v, "ml") for name, v in ml.items())]
numbers += [(f"{key}, {row['model']}", value, "share") for row in rows
            for key, value in row.items() if key != "model"]
table = pd.DataFrame(numbers, columns=["quantity", "value", "unit"])
table = table.assign(seed=seed, real=source is not None)
if out:
    Path(out).mkdir(parents=True, exist_ok=True)
    table.to_csv(Path(out) / "08_real_scans.csv", index=False)
print(f"{len(table)} numbers{' written' if out else ''}")

# %% [markdown]
# ## You can now
#
# - import a folder of scans without patient identities: `ssltut ingest`
# - segment real CT with a model trained on synthetic scans only: `ssltut recipe hip`
# - prove that a prediction lies on the grid of its scan: both ends in mm
# - say what unlabelled real scans changed, and what would have changed anyway: labels only
# - point at the places where such a model fails: the slice with most errors
#
# **In the code:** [ingest](../ssltut/intake/ingest.py), [recipe](../ssltut/training/recipes.py),
# [pelves](../ssltut/synthetic/pelvis.py), [randomisation](../ssltut/data/views.py)
#
# **Sources:** [TotalSegmentator](https://doi.org/10.1148/ryai.230024),
# [learning from synthetic scans](https://doi.org/10.1016/j.media.2023.102789)
