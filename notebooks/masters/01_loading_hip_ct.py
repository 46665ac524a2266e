# %% [markdown]
# # 01 · Data
#
# Most wrong results begin before the network: swapped sides, a wrong voxel size, a patient in training and in the test. No program
# crashes; the numbers are just wrong. Here you learn to look first.
#
# *Minutes at class size on two cores: reading 5, computing 1, exercises 21.*
#
# ## You will be able to
#
# - read a scan's voxel size from its affine
# - choose a window for bone and for soft tissue
# - find a scan whose sides are swapped
# - say what is wrong with a file, and what to do
# - split patients without a leak
#
# **New words:** [affine](../docs/glossary.md#affine), [HU](../docs/glossary.md#hu), [window](../docs/glossary.md#window),
# [cohort](../docs/glossary.md#cohort), [split](../docs/glossary.md#split), [leak](../docs/glossary.md#leak)

# %% tags=["parameters"]
profile = "class"  # "smoke" is for tests, "full" for a GPU
seed = 0
out = ""  # a folder for this notebook's numbers; "" writes none
scan = ""  # the path of a hip CT (.nii or .nii.gz); "" takes a synthetic one

# %%
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
import nibabel as nib
import numpy as np
import pandas as pd
from ssltut import profile_named, read_case, show, synthetic_cohort
from ssltut.data.case import spacing_of
from ssltut.data.crop_hips import crop_hips
from ssltut.data.labels import HIP
from ssltut.exercises import check
from ssltut.files import user_file
from ssltut.io import public
from ssltut.synthetic.anatomy import RANGES, Anatomy, Pathology, Scanner
from ssltut.synthetic.hip import make_case

# %% [markdown]
# ## 1. Where a voxel lies
#
# **Why.** A scan is a block of numbers and their place in space. The affine (a 4 x 4 matrix) turns the index of a voxel into mm towards the
# patient's right, front and head. The lengths of its first three columns are the voxel size. A file holds that size a second time, as
# *zooms*, and nothing keeps the two the same.

# %%
P, hips = profile_named(profile), {}
file = user_file(scan, "scan") if scan else None
size = 64 if profile == "smoke" else 96
if file is None:
    case = make_case(seed, size=size, pathology=Pathology())
elif file.name == public.CT and file.with_name(public.SEGMENTATION).exists():
    # The labels say where the femurs are.
    hips = crop_hips(public.read_totalsegmentator_example(file.parent))
    case = hips["right"]
else:
    case = read_case(file)
print(f"{case.id}: {' x '.join(map(str, case.image.shape))} voxels, "
      f"{case.image.min()} to {case.image.max()} HU")
if not scan and (found := public.find_totalsegmentator_example()):
    print(f"A real CT is on this machine. To use it: scan = {str(found / public.CT)!r}")

# %%
print(np.round(case.affine, 3))
print("lengths of the columns:", np.round(spacing_of(case.affine), 3), "mm")
careless = nib.Nifti1Image(case.image, case.affine)
careless.header["pixdim"][1:4] = 2 * np.array(case.spacing)  # as some converters do
zooms = careless.header.get_zooms()
print("zooms of a careless file:", np.round(zooms, 3), "mm")
times = np.prod(zooms) / np.prod(case.spacing)
print(f"\nAnyone who trusts these zooms gets every volume {times:.0f} times too large.")

# %% [markdown]
# **So.** ssltut reads the voxel size from the columns and refuses a file whose two sizes disagree.
#
# ## 2. Windows and planes
#
# **Why.** CT is measured in HU: air -1000, water 0, dense bone above 1000, metal 3000. A screen shows 256 greys, so a *window* chooses which
# HU to spread over them.
#
# **Look for.** In which picture can you tell muscle from fat? In which can you see the gap of the joint?

# %%
bone = case.label > 0 if case.label is not None else case.image > 300
at = np.rint(np.argwhere(bone).mean(axis=0)).astype(int)
base = {"image": case.image, "spacing": case.spacing, "at": at}
windows = {"bone: -500 to 1300 HU": "bone", "soft tissue: -150 to 250 HU": "soft",
           "all: -1024 to 2000 HU": (488, 3024)}
show.grid({name: base | {"window": window} for name, window in windows.items()},
          columns=3, alt="One front view of a hip three times: bone window, soft "
          "tissue window in which bone is white, and all HU, in which all is grey.")

# %% [markdown]
# **So.** Same numbers, three pictures: soft tissue needs the narrow window, bone the wide one. Now three planes through one voxel. R and L
# are the *patient's* sides, and you face the patient.
#
# **Look for.** In JupyterLab, click to move the crosshair and scroll for the next slice. Choose the layer *above 300 HU*: which bone does a
# threshold miss?

# %%
show.slices(case.image, spacing=case.spacing, overlay=case.label, table=HIP, at=at,
            title=case.id, layers={"above 300 HU": case.image > 300},
            alt="Axial, coronal and sagittal slice of the scan; hip bone and femur are "
            "outlined where labels are known.")

# %% [markdown]
# ## 3. Swapped sides
#
# **Why.** A converter turns the array and forgets the affine. The file still opens, and the letters R and L are still drawn. They are wrong.

# %%
turned = replace(case, image=case.image[::-1],
                 label=None if case.label is None else case.label[::-1])
other = (case.image.shape[0] - 1 - at[0], *at[1:])
pair = {"as it was": (case, at), "array turned, affine not": (turned, other)}
show.grid({name: {"image": c.image, "spacing": c.spacing, "overlay": c.label,
                  "table": HIP, "at": place} for name, (c, place) in pair.items()},
          columns=2, alt="Two front views with the same letters R and L. In the second "
          "the hip is mirrored: the hip bone lies on the other side of the femur.")

# %% [markdown]
# **So.** Only anatomy tells them apart. The hip bone lies towards the middle of the body: in a *right* hip, towards the patient's left.
#
# ### Exercise 1 · write
#
# Which hip does a label show (1 hip bone, 2 femur)? Compare how far to the patient's right the two bones lie.
#
# <details><summary>Hint</summary>
#
# `np.argwhere` gives the indices of a bone, `nib.affines.apply_affine` turns indices into mm. The first of the three numbers grows towards
# the patient's right.
#
# </details>
# <details><summary>What it should look like</summary>
#
# `side_of` answers "left" or "right", also for a scan whose array *and* affine were turned: that patient did not change.
#
# </details>

# %% tags=["solution"]
def side_of(label, affine):
    """"left" or "right": the hip that ``label`` shows."""
    # >>> solution: say which hip it is
    def right_mm(value):
        places = nib.affines.apply_affine(affine, np.argwhere(label == value))
        return places[:, 0].mean()

    return "right" if right_mm(1) < right_mm(2) else "left"
    # <<< solution

# %% tags=["check"]
with check("1"):
    for side in ("left", "right"):
        hip = make_case(seed, size=32, anatomy={"side": side})
        assert side_of(hip.label, hip.affine) == side, (
            f"this is a {side} hip; in a right hip the hip bone has the smaller mean")
        back = nib.orientations.inv_ornt_aff([[0, -1], [1, 1], [2, 1]], hip.label.shape)
        assert side_of(hip.label[::-1], hip.affine @ back) == side, (
            "array and affine were turned together, the patient did not change: "
            "compare mm, not indices")
        assert side_of(hip.label[::-1], hip.affine) != side, (
            "only the array was turned: your function must notice it")

# %% [markdown]
# ## 4. Files that are wrong
#
# **Why.** Libraries open a broken file and go on. ssltut reads it whole and says what is wrong, how much, and what to do. In a terminal:
# `ssltut verify FOLDER`. We break a good pair in four ways.

# %%
from ssltut.io.nifti import write_image, write_label
from ssltut.io.verify import verify_scan

def write_label_pairs(folder, hip):
    good, moved = folder / "scan.nii", hip.affine.copy()
    moved[0, 3] += 5  # mm
    write_image(hip, good)
    seven = np.where(hip.label == 2, 7, hip.label)
    write_label(hip.label, hip.affine, folder / "label.nii.gz")
    write_label(hip.label, moved, folder / "moved.nii.gz")
    write_label(seven, hip.affine, folder / "seven.nii.gz")
    return {"good pair": (good, folder / "label.nii.gz"),
            "label 5 mm aside": (good, folder / "moved.nii.gz"),
            "label value 7": (good, folder / "seven.nii.gz")}

# %%
def write_broken_scans(folder):
    data = bytearray((folder / "scan.nii").read_bytes())
    (folder / "cut.nii").write_bytes(data[: len(data) // 2])
    data[280:284] = np.float32("nan").tobytes()  # the first number of the affine
    (folder / "nan.nii").write_bytes(data)
    return {"cut off": (folder / "cut.nii",), "NaN in affine": (folder / "nan.nii",)}

with TemporaryDirectory() as folder:
    files = write_label_pairs(Path(folder), make_case(seed, size=32))
    files |= write_broken_scans(Path(folder))
    reports = {name: verify_scan(*paths, table=HIP) for name, paths in files.items()}
for name, report in reports.items():
    print(f"{name:18} {'ok' if report.ok else 'ERROR'}")
    for error in report.errors:
        print(f"    {error.found}\n    Next: {error.fix}")

# %% [markdown]
# ## 5. A hip to order
#
# **Why.** To know when a method fails, we need scans whose truth and difficulty are known. In the synthetic hip every parameter can be set.
# Its label comes from the formula that made the bone, so it is exact. *Difficulty* is our score from 0 to 1.
#
# **Look for.** Where would you draw the border between head and socket in the second?

# %%
kinds = {"healthy": Pathology(), "osteoarthritis": Pathology(osteoarthritis=1),
         "dysplasia": Pathology(dysplasia=1), "osteoporosis": Pathology(osteoporosis=1),
         "metal": Pathology(implant=True)}
one = {"size": size, "anatomy": Anatomy(), "scanner": Scanner()}
same = {name: make_case(seed, pathology=kind, **one) for name, kind in kinds.items()}
near = (slice(size // 8, -size // 8), slice(None), slice(size // 6, -size // 12))

def close_up(c):
    return {"image": c.image[near], "spacing": c.spacing, "table": HIP,
            "contours": {"outline: label": c.label[near]},
            "at": (size // 3, round(0.57 * size), size // 3)}

titles = [f"{name}: {c.meta['difficulty']:.2f}" for name, c in same.items()]
show.grid(dict(zip(titles, map(close_up, same.values()))),
          columns=3, alt="One synthetic hip five times, with its difficulty: healthy; "
          "arthritic, almost no gap; shallow cup; faint bone; nail with streaks.")

# %%
def hip(osteoarthritis=0.7, dysplasia=0.0, osteoporosis=0.0, head_radius=24.0):
    ill = Pathology(osteoarthritis=osteoarthritis, dysplasia=dysplasia,
                    osteoporosis=osteoporosis)
    c = make_case(seed, size=64, anatomy=Anatomy(head_radius=head_radius),
                  pathology=ill, scanner=Scanner())
    return show.planes(c.image, spacing=c.spacing, contours={"outline: label": c.label},
                       table=HIP, title=f"difficulty {c.meta['difficulty']:.2f}",
                       alt=f"A synthetic hip with a head radius of {head_radius} mm.")

share = (0.0, 1.0)
show.interact(hip, osteoarthritis=share, dysplasia=share, osteoporosis=share,
              head_radius=RANGES["head_radius"][:2],
              alt="An arthritic synthetic hip in three planes; joint almost closed.")

# %% [markdown]
# A real CT is different: its voxels are coarser, and the joint is hardly wider than a voxel. Metal is brighter than bone. The labels of the
# example come from a model and are poor near metal: look at them, but do not test with them.

# %%
def volumes(c):
    ml = np.prod(c.spacing) / 1000
    return {name: (c.label == k).sum() * ml for k, name in enumerate(HIP.names) if k}

def front(c):
    return {"image": c.image, "spacing": c.spacing, "window": (600, 2400), "table": HIP,
            "contours": {"label, made by a model": c.label}}

view = None
if hips:
    view = show.grid({f"{side} hip": front(c) for side, c in hips.items()}, columns=2,
                     alt="Front views of both hips of a real CT with hip bone and "
                     "femur outlined; the left femur holds bright metal.")
else:
    print("No labelled real scan here. To get one (2.3 MB, Apache-2.0):\n"
          "from ssltut.io.public import EXAMPLE, fetch_set; fetch_set(EXAMPLE)")
view

# %% [markdown]
# ## 6. Cohort and split
#
# **Why.** A method must not see what it is not given. In ssltut an unlabelled case *has no label*: the array is not there. And left and right
# hip of one patient are alike: with one in training and the other in the test, the test measures memory.

# %%
from ssltut.data.split import Split, make_split
from ssltut.errors import DataError

cohort = synthetic_cohort(**P.cohort)
print({part: len(ids) for part, ids in vars(cohort.split).items()})
scan_ids = [f"p{p:02}-{side}" for p in range(14) for side in ("left", "right")]
patients = {name: name[:3] for name in scan_ids}

def by_scan(draw):
    ids = tuple(np.random.default_rng(draw).permutation(scan_ids).tolist())
    return Split(labelled=ids[:4], unlabelled=ids[4:16],
                 validation=ids[16:18], test=ids[18:])

# %% [markdown]
# ### Exercise 2 · predict
#
# `by_scan` draws 28 scans of 14 patients at random, 200 times. In how many draws does a patient stand on two sides? "A": nearly all,
# "B": about half, "C": about one in ten. Decide before you compute.
#
# <details><summary>Hint</summary>Follow one patient: where may the second hip go, once the first is placed? Then there are 14.</details>
# <details><summary>What it should look like</summary>One letter; the next cell counts.</details>

# %% tags=["solution"]
# >>> solution: "A", "B" or "C"
leaks_in = "A"
# <<< solution

# %% tags=["check"]
with check("2"):
    assert leaks_in in ("A", "B", "C"), 'write leaks_in = "A", "B" or "C"'
    assert leaks_in != "C", (
        "each of 14 patients has its own chance to leak, and one is enough")
    assert leaks_in != "B", (
        "half would do for one patient; here 14 patients must all stay on one side")

# %%
def refusal(split):
    try:
        split.check(patients, where="this split")
    except DataError as error:
        return str(error)

refusals = [refusal(by_scan(draw)) for draw in range(200)]
leaking = np.mean([text is not None for text in refusals])
print(f"{leaking:.0%} of 200 splits by scan leak. The first says:\n  {refusals[0]}")
print(f"make_split, which draws patients: {refusal(make_split(patients)) or 'no leak'}")

# %% [markdown]
# ### Exercise 3 · repair
#
# The function should name the patients on more than one side: *training* (labelled and unlabelled together), *validation*, *test*. It names
# nobody.
#
# <details><summary>Hint</summary>Print the three sets. What do they hold, and what should they?</details>
# <details><summary>What it should look like</summary>For a split by scan several patients, for a split by patient none.</details>

# %% tags=["solution"]
def leaking_patients(split):
    """Patients on more than one side; ``patients[scan]`` is the patient of a scan."""
    # >>> solution: repair what is compared
    #| training = set(split.labelled)
    #| validation, test = set(split.validation), set(split.test)
    training, validation, test = (
        {patients[scan] for scan in scans}
        for scans in (split.labelled + split.unlabelled, split.validation, split.test))
    # <<< solution
    return (training & validation) | (training & test) | (validation & test)

# %% tags=["check"]
with check("3"):
    hand = Split(labelled=("p00-left",), unlabelled=("p00-right", "p01-left"),
                 validation=("p02-left",), test=("p01-right", "p02-right"))
    found = leaking_patients(hand)
    assert found, "it compares scans, and no scan is on two sides: compare patients"
    assert "p01" in found, "p01 is in the test and unlabelled: training has two parts"
    assert "p00" not in found, "p00 is labelled and unlabelled, and both are training"
    assert found == {"p01", "p02"}, f"p01 and p02 leak, yours are {sorted(found)}"
    assert not leaking_patients(make_split(patients)), "a split by patient has no leak"

# %%
shown = hips or ({case.meta["anatomy"]["side"]: case} if not scan else {})
numbers = [(f"voxel size, axis {axis}", round(v, 4), "mm")
           for axis, v in zip("xyz", case.spacing)]
numbers += [(f"{name} volume, {side} hip", round(float(v), 2), "ml")
            for side, c in shown.items() for name, v in volumes(c).items()]
numbers += [(f"difficulty, {k}", c.meta["difficulty"], "") for k, c in same.items()]
numbers += [("splits by scan that leak", leaking, "share")]
table = pd.DataFrame(numbers, columns=["quantity", "value", "unit"]).assign(seed=seed)
if out:
    Path(out).mkdir(parents=True, exist_ok=True)
    table.to_csv(Path(out) / "01_loading_hip_ct.csv", index=False)
table

# %% tags=["instructor"]
print("Show the two mirrored pictures without their titles, and let pairs vote first.")

# %% [markdown]
# ### Question 1
#
# A file's affine has columns of length 1, 1 and 3 mm, its zooms are 1, 1, 1. How large is a voxel?
#
# - A: 1 mm³, the zooms are made for this
# - B: 3 mm³
# - C: between the two, so take the mean
# - D: nobody can know
#
# <details><summary>Answer</summary>B: only the affine places voxels in space. A trusts the copy; C averages a right and a wrong number; D
# is too careful: but do ask who wrote such a file.</details>
#
# ### Question 2
#
# Both hips of a patient are in the training set, one labelled, one not. Is this a leak?
#
# - A: Yes, the label of one tells about the other
# - B: Yes, a patient may appear only once
# - C: No, neither is used to test
# - D: Only if both are labelled
#
# <details><summary>Answer</summary>C. A is true and harmless: learning from it is the aim. B confuses scans with sides of the split. D: the
# number of labels does not matter, only what is tested on.</details>
#
# ## You can now
#
# - read a scan's voxel size from its affine: the lengths of its columns
# - choose a window for bone and for soft tissue: centre and width
# - find a scan whose sides are swapped: exercise 1
# - say what is wrong with a file, and what to do: `ssltut verify`
# - split patients without a leak: `make_split`
#
# **In the code:** [case.py](../ssltut/data/case.py), [verify.py](../ssltut/io/verify.py), [split.py](../ssltut/data/split.py),
# [hip.py](../ssltut/synthetic/hip.py)
#
# **Sources:** [TotalSegmentator, Wasserthal et al. 2023](https://doi.org/10.1148/ryai.230024)
