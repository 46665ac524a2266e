# %% [markdown]
# # 08 Real scans
#
# You have a folder of CT scans and no labels. Here it becomes a cohort, a model that has seen synthetic hips only segments it, and the result goes
# back to where your own software opens it. Then: do unlabelled real scans help that model? And where does it fail?
#
# After this notebook **you will be able to**
# - take in a folder of scans without carrying names along
# - segment real CT with a model trained on synthetic scans only
# - prove that a prediction lies on the grid of its scan
# - measure how far unlabelled real scans change a model
# - point at the places where such a model fails
#
# *CPU, profile `class`: the model is trained once, in about half an hour on two cores, and kept; then 12 minutes. Needs nothing from other notebooks.*

# %% tags=["parameters"]
profile = "class"
seed = 0
out = ""  # a folder for this notebook's numbers; "" writes none
scan = ""  # a CT of the pelvis (.nii or .nii.gz); "" takes the TotalSegmentator example where it is, else a synthetic stand-in

# %%
import sys
if "google.colab" in sys.modules:
    # %pip install -q ssltut

# %%
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp
import numpy as np
import pandas as pd
from ssltut import Cohort, read_case, show
from ssltut.intake import ingest
from ssltut.files import cache_dir
from ssltut.data.labels import HIP
from ssltut.io.nifti import write_image, write_label
from ssltut.synthetic.anatomy import Pathology
from ssltut.synthetic.pelvis import make_pelvis
from ssltut.io.public import CT, SEGMENTATION, find_totalsegmentator_example, read_totalsegmentator_example
from ssltut.training.recipes import hip

# %% [markdown]
# ## From a folder to a cohort
#
# **Why.** Folders from a hospital carry names in paths and headers, and files that are no scans. `ingest` reads what is sound, names what is not,
# and writes numbered cases.

# %%
size = "smoke" if profile == "smoke" else "class"
mm = {"smoke": 8.0, "class": 3.0}[size]
work, example = Path(mkdtemp()), find_totalsegmentator_example()
folder = work / "from the hospital" / "Doe, Jane"
folder.mkdir(parents=True)

# %%
source = Path(scan) if scan else example / CT if example else None
real, reference = source is not None, None
if real:
    (folder / "ct.nii.gz").write_bytes(source.read_bytes())
    if source.name == CT and source.with_name(SEGMENTATION).exists():
        reference = read_totalsegmentator_example(source.parent).label
else:
    stand_in = make_pelvis(seed + 1000, spacing=mm, pathology=Pathology(implant=True))
    write_image(stand_in, folder / "ct.nii.gz")
    reference = stand_in.label
    print("No real scan here: `ssltut fetch totalsegmentator_example` brings one. A synthetic stand-in follows; it proves nothing about real scans.")

# %%
intake = ingest.ingest(folder.parent, work / "cohort", log=None)
scans = [read_case(path) for path in sorted((work / "cohort" / "images").iterdir())]
case = scans[0]
print(pd.DataFrame(intake.rows).T.to_string(header=False))
print("files of the cohort:", sorted(path.name for path in (work / "cohort").rglob("*") if path.is_file()))

# %% [markdown]
# **What to see.** Jane Doe is in no file name of the cohort. The report gives geometry, HU and a picture for each case; look at it before you believe anything
# that follows.
#
# ## A model that has seen no real scan
#
# **Why.** Labels of real scans cost hours. A synthetic pelvis has exact ones, but looks wrong. The recipe draws anatomy, illness, metal, contrast
# medium and image quality *wider* than they are, so that a real scan is one more draw. On the command line: `ssltut recipe hip --out FOLDER`.
# Two hips and two femurs are about equal in size, so pieces smaller than a fifth of the largest of their class are left out.

# %%
model = hip(cache_dir() / "runs" / f"recipe-hip-{size}-{seed}", size, seed=seed)
synthetic = make_pelvis(seed + 4, spacing=mm)
least = 0.2
before = model.predict(case, least)
pictures = {"synthetic, with its label": (synthetic, synthetic.label), "this scan, predicted": (case, before)}
show.grid({name: {"image": c.image, "spacing": c.spacing, "overlay": label, "table": HIP, "window": "bone"} for name, (c, label) in pictures.items()},
             columns=2, alt="Front views: a synthetic pelvis with its exact label, and the scan at hand with the bones that the model found in it.")

# %%
ml = {name: float((before == c).sum() * np.prod(case.spacing) / 1000) for c, name in enumerate(HIP.names) if c}
print("found:", ", ".join(f"{name} {v:.0f} ml" for name, v in ml.items()))
if profile == "smoke":
    print("Profile smoke trains for seconds: these numbers mean nothing.")

# %% [markdown]
# ## Back to your own software
#
# **Why.** A mask that lies beside its scan by one voxel looks right in a notebook and is wrong in a planning system. `export` writes on the grid of
# the file that came in.

# %%
write_label(before, case.affine, work / "case001_prediction.nii.gz")
(back,) = ingest.export(work / "cohort", [work / "case001_prediction.nii.gz"], work / "for the clinic")
print("open this over your scan in 3D Slicer or ITK-SNAP:", back)

# %% [markdown]
# **Exercise 1.** How far apart, in mm, are the corners of two volumes that should lie on each other? Corners are the voxels (0, 0, 0) to shape - 1;
# take both ends of the diagonal.

# %% tags=["solution"]
def apart(shape_a, affine_a, shape_b, affine_b):
    """The largest distance in mm between the first voxels, and between the last voxels, of two volumes."""
    # >>> solution: an affine takes (x, y, z, 1) to mm
    ends = [[affine @ [0, 0, 0, 1], affine @ [*(np.array(shape) - 1), 1]] for shape, affine in ((shape_a, affine_a), (shape_b, affine_b))]
    return float(np.linalg.norm(np.subtract(*ends), axis=1).max())
    # <<< solution

# %% tags=["check"]
assert apart((5, 5, 5), np.eye(4), (5, 5, 5), np.diag([2.0, 1, 1, 1])) == 4.0, "the last voxel lies at 8 mm instead of 4 mm"
original, returned = read_case(folder / "ct.nii.gz"), read_case(back)
gap = apart(original.image.shape, original.affine, returned.image.shape, returned.affine)
assert gap < 0.5 * min(original.spacing), "the prediction left its scan"
print(f"Right. Scan and prediction are {gap:.4f} mm apart.")

# %% [markdown]
# ## Do unlabelled real scans help?
#
# **Why.** This is what the package is about: synthetic scans are the labelled ones, yours the unlabelled ones. Three methods go on from the recipe's
# weights: mean teacher, embedding matching, and its neighbour vote. A fourth goes on without your scan, since more steps alone may help.

# %%
from ssltut.synthetic.cohorts import pelvis_cohort
from ssltut.data.resample import resample
from ssltut.data.split import Split
from ssltut import cached_run, make_method
from ssltut.metrics import score_case

known = pelvis_cohort(4 if profile == "smoke" else 42, seed=seed, spacing=mm, validation=2)
unlabelled = [resample(replace(c.without_label(), id=f"real{i}", patient=f"real{i}"), (mm,) * 3, HIP.n_classes) for i, c in enumerate(scans)]
cases = [*known.training("labelled"), *known.validation(), *unlabelled]
split = Split(known.split.labelled, tuple(c.id for c in unlabelled), known.split.validation, ())
mixed = replace(Cohort.from_cases(cases, split, HIP, "synthetic and real"), spacing=mm)

# %%
steps = 3 if profile == "smoke" else 60
config = replace(model.config, steps=steps, validate_every=steps, lr=model.config.lr / 4, select="last")
after = {}
for name in ("labels_only", "mean_teacher", "embedding_matching", "neighbour_vote"):
    method = make_method(name)
    after[method.title] = cached_run(method, mixed, config, init=model.folder).predict(case, least)

# %% [markdown]
# **Exercise 2.** A change is easily lost among millions of background voxels. Give the share of *bone* voxels (in either of two label volumes) whose class
# differs.

# %% tags=["solution"]
def changed(first, second):
    """Share of the voxels that are bone in ``first`` or ``second`` and differ."""
    # >>> solution: count where they differ, divide by where either is above 0
    return float((first != second).sum() / max(((first > 0) | (second > 0)).sum(), 1))
    # <<< solution

# %% tags=["check"]
assert changed(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 1])) == 2 / 3, "three voxels are bone, two of them differ"
assert changed(np.zeros(4), np.zeros(4)) == 0.0
print("Right.", ", ".join(f"{name}: {changed(before, label):.1%}" for name, label in after.items()))

# %%
rows = []
for name, label in {"recipe": before, **after}.items():
    differ = float((before != label).sum() / max(((before > 0) | (label > 0)).sum(), 1))
    dice = {} if reference is None else {row["class"]: row["value"] for row in score_case(label, reference, case.spacing, HIP.names)
                                         if row["metric"] == "dice"}
    rows.append({"model": name, "changed": differ, **dice})
report = pd.DataFrame(rows)
report.round(3)

# %%
at = np.rint(np.argwhere(before > 0).mean(0)).astype(int) if before.any() else np.array(case.image.shape) // 2
show.grid({name: {"image": case.image, "spacing": case.spacing, "overlay": np.where(label != before, np.maximum(label, 1), 0), "table": HIP, "at": at}
              for name, label in after.items()}, columns=2,
             alt="Four front views of the scan; coloured are only the voxels that each method labels otherwise than the model before.")

# %% [markdown]
# **What to see.** Coloured is only what changed. Compare each method with *labels only*, which never saw your scan: a change that it makes too is no gain
# from unlabelled data. On the TotalSegmentator example none gained in hip bone: Dice .924 before, .921 labels only, .917 mean teacher, .917
# neighbour vote, .867 embedding matching; femur .912 before, .915 to .916 after all four. What embedding matching lost lies at the left flank: ribs.
# The recipe takes some of them for hip bone, too, but in pieces of their own, which `least` drops; here they grew together with the crest. After
# an earlier recipe, which left more to gain (.906), embedding matching had gained most (.917). One scan and one seed show what may happen, not
# what does; notebook 06 shows how to find out.
#
# ## Where it fails
#
# **Why.** A mean hides the place. With a reference we look at the slices with most errors. The reference of the TotalSegmentator example is a model's, too, and
# poor around the nail.

# %%
places = None
if reference is None:
    print("No reference for this scan: leaf through the prediction slice by slice, above all at the roof of the joint, the crest and metal.")
else:
    wrong = before != reference
    worst = wrong.sum((0, 2)).argmax()
    place = (wrong.shape[0] // 2, int(worst), wrong.shape[2] // 2)
    print(f"{wrong.sum() * np.prod(case.spacing) / 1000:.0f} ml differ from the reference; most in the coronal slice {worst}.")
    places = show.grid({name: {"image": case.image, "spacing": case.spacing, "overlay": label, "table": HIP, "at": place, "window": "bone"}
                           for name, label in {"reference": reference, "predicted": before}.items()}, columns=2,
                          alt="The front view with most errors: the reference beside the prediction.")
places

# %% [markdown]
# **Try.** Set `scan` to one of your own. Which of these fails first: metal, contrast medium, a scan that ends in the joint, a child?

# %%
numbers = [*((f"{name} volume", v, "ml") for name, v in ml.items()),
           *((f"{key}, {row['model']}", value, "share") for row in rows for key, value in row.items() if key != "model")]
table = pd.DataFrame(numbers, columns=["quantity", "value", "unit"]).assign(seed=seed, real=real)
if out:
    Path(out).mkdir(parents=True, exist_ok=True)
    table.to_csv(Path(out) / "08_real_scans.csv", index=False)
table

# %% tags=["instructor"]
print("Train the recipe the day before. Ask the class to guess the worst place before the last picture is drawn.")

# %% [markdown]
# **You can now**
# - take in a folder of scans without carrying names along: `ssltut ingest`
# - segment real CT with a model trained on synthetic scans only: `ssltut recipe hip`, then `predict`
# - prove that a prediction lies on the grid of its scan: exercise 1
# - measure how far unlabelled real scans change a model: exercise 2, against labels only
# - point at the places where such a model fails: by the slice with most errors
