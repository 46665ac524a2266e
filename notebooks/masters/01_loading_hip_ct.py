# %% [markdown]
# # 01 Loading hip CT
#
# Most wrong results begin before the network: a swapped side, a wrong voxel size, a patient on both sides of the split. Nothing crashes; the
# numbers are just wrong. Here you learn to look first.
#
# After this notebook **you will be able to**
# - read a scan's voxel size from its affine
# - choose a window in HU for bone and for soft tissue
# - spot a scan whose sides are swapped
# - name what is wrong with a file, and what to do
# - make a split without leakage, and find the leak in another
#
# *CPU, profile `class`: about 1 minute of computing, 40 with reading and exercises. Needs nothing from other notebooks.*

# %% tags=["parameters"]
profile = "class"
seed = 0
out = ""  # a folder for this notebook's numbers; "" writes none
scan = ""  # the path of a hip CT (.nii or .nii.gz); "" takes a synthetic one

# %%
import sys
if "google.colab" in sys.modules:
    # %pip install -q ssltut

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
from ssltut.io.nifti import write_image, write_label
from ssltut.synthetic.anatomy import RANGES, Anatomy, Pathology, Scanner
from ssltut.synthetic.hip import make_case
from ssltut.io.public import CT, SEGMENTATION, find_totalsegmentator_example, read_totalsegmentator_example

# %% [markdown]
# ## A scan
#
# **Why.** A scan is numbers and their place in space. The example of TotalSegmentator is a real CT of both hips with labels made by a
# model; the synthetic hip has exact labels and needs no download.

# %%
P, hips = profile_named(profile), {}
size = 64 if profile == "smoke" else 96
if not scan:
    case = make_case(seed, size=size, pathology=Pathology())
elif Path(scan).name == CT and Path(scan).with_name(SEGMENTATION).exists():
    hips = crop_hips(read_totalsegmentator_example(Path(scan).parent))  # the labels say where the femurs are
    case = hips["right"]
else:
    case = read_case(Path(scan))
print(f"{case.id}: {' x '.join(map(str, case.image.shape))} voxels, {case.image.min()} to {case.image.max()} HU, "
      f"{'with' if case.label is not None else 'without'} label")
if not scan and (found := find_totalsegmentator_example()):
    print(f"A real CT has been downloaded. To use it, set scan = {str(found / CT)!r} in the first cell and run all again.")

# %% [markdown]
# ## The affine and the voxel size
#
# **Why.** The affine (4 x 4) takes a voxel's index to millimetres to the patient's right, front and head (RAS+). The voxel size is the length of its first
# three **columns**: how far one step along an axis leads. A header holds a second number for it, the *zooms*, and nothing keeps the two the same.

# %%
print(np.round(case.affine, 3), "\n\nvoxel size from the columns:", np.round(spacing_of(case.affine), 3), "mm")
header_lies = nib.Nifti1Image(case.image, case.affine)
header_lies.header["pixdim"][1:4] = 2 * np.array(case.spacing)  # as some converters leave it
turn = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]])
tilted = nib.affines.from_matvec(turn @ case.affine[:3, :3], case.affine[:3, 3])
print("zooms of a careless file:   ", np.round(header_lies.header.get_zooms(), 3), "mm")
print("diagonal of a tilted affine:", np.round(np.abs(np.diag(tilted))[:3], 3), "mm; its columns:", np.round(spacing_of(tilted), 3), "mm")
wrong = np.prod(header_lies.header.get_zooms()) / np.prod(case.spacing)
print(f"\nWho believes these zooms measures every volume {wrong:.0f} times as large, and every distance {wrong ** (1 / 3):.0f} times.")

# %% [markdown]
# **What to see.** Only the columns are right in all three cases. ssltut reads the voxel size from nowhere else, and refuses a file whose two
# descriptions disagree.
#
# ## Windows: which HU become grey
#
# **Why.** HU run from -1000 (air) over 0 (water) to 3000 (metal), a screen shows 256 greys. A *window* has a centre and a width; what lies beyond is
# black or white.

# %%
bone = case.label > 0 if case.label is not None else case.image > 300
at = np.rint(np.argwhere(bone).mean(axis=0)).astype(int)
base = {"image": case.image, "spacing": case.spacing, "at": at}
windows = {"bone: -500 to 1300 HU": "bone", "soft tissue: -150 to 250 HU": "soft", "all: -1024 to 2000 HU": (488, 3024)}
show.grid({name: base | {"window": window} for name, window in windows.items()},
             alt="One front view in three windows: the bone window shows the dense shell of bone, the soft one muscle and fat with all bone white, the widest little contrast.")

# %%
for name, (low, high) in {"air": (-1100, -300), "fat and muscle": (-150, 150), "bone and metal": (150, 4000)}.items():
    print(f"{name:15} {low:6} to {high:5} HU: {((case.image >= low) & (case.image < high)).mean():6.1%} of the voxels")

# %% [markdown]
# **What to see.** The same numbers, three pictures. Muscle against fat needs the soft window; joint and thin bone need the bone window, because the
# soft one paints all bone white.
#
# **Try.** A window of your own: `(centre, width)`.
#
# ## Three planes
#
# **Why.** R and L are the *patient's* sides, and you face the patient: R is on your left. Every picture of ssltut carries the letters, taken from the affine.
# Three planes through one voxel show what one slice hides.

# %%
show.slices(case.image, spacing=case.spacing, overlay=case.label, table=HIP, at=at, title=case.id, layers={"above 300 HU": case.image > 300},
             alt="Axial, coronal and sagittal cut of the scan with hip bone and femur outlined where labels are known.")

# %% [markdown]
# **What to see.** The head of the femur sits in the cup of the hip bone, and the hip bone lies towards the middle of the body.
#
# **Try.** In JupyterLab, click to move the crosshair, scroll for the next slice, read the HU under the cursor; sliders (arrow and page keys) do the same.
# Set *layer* to *above 300 HU*: which bone does a threshold miss, and where do the two bones become one?
#
# ## Swapped sides
#
# **Why.** A converter turns the array and forgets the affine. The file still opens, the letters are still drawn, and they lie.

# %%
turned = replace(case, image=case.image[::-1], label=None if case.label is None else case.label[::-1])  # the affine stays: this is the mistake
items = {name: {"image": c.image, "spacing": c.spacing, "overlay": c.label, "table": HIP, "at": (at[0] if c is case else c.image.shape[0] - 1 - at[0], *at[1:])}
         for name, c in {"as it was": case, "array turned, affine not": turned}.items()}
show.grid(items, columns=2, alt="Two front views with the same letters R and L; in the second the hip is mirrored, so that the hip bone lies on the other side of the femur.")

# %% [markdown]
# **What to see.** Both pictures look like hips, and both say R on the left. Only anatomy tells them apart: if the report says *right hip*, the hip bone
# must lie towards the patient's left, where the middle is.
#
# **Exercise 1.** Say which hip a label shows (1 hip bone, 2 femur): compare how far to the patient's right (first coordinate in mm) the two bones
# lie on average. Use the affine, not the index.

# %% tags=["solution"]
def side_of(label, affine):
    """"left" or "right": the hip that ``label`` shows."""
    # >>> solution: mean x in mm of hip bone and femur; in a right hip the hip bone has the smaller one
    x_hip, x_femur = (nib.affines.apply_affine(affine, np.argwhere(label == value))[:, 0].mean() for value in (1, 2))
    return "right" if x_hip < x_femur else "left"
    # <<< solution

# %% tags=["check"]
for side in ("left", "right"):
    hip = make_case(seed, size=32, anatomy={"side": side})
    assert side_of(hip.label, hip.affine) == side, f"this is a {side} hip"
    mended = hip.affine @ nib.orientations.inv_ornt_aff([[0, -1], [1, 1], [2, 1]], hip.label.shape)
    assert side_of(hip.label[::-1], mended) == side, "array and affine were turned together: the patient did not change"
    assert side_of(hip.label[::-1], hip.affine) != side, "only the array was turned: this must be found out"
print("Right. A turned array without its affine is found by the side it shows, and one with its affine is left alone.")

# %% [markdown]
# ## Files that lie, and one that does not
#
# **Why.** Libraries open a broken file and go on. ssltut reads it whole and says what is wrong, how large, and what next. In a terminal:
# `ssltut verify FOLDER`. We make a good pair and break it in four ways.

# %%
from ssltut.io.verify import verify_scan

def broken_files(folder, hip):
    good, label, moved = folder / "scan.nii", folder / "label.nii.gz", hip.affine.copy()
    moved[0, 3] += 5  # mm
    write_image(hip, good)
    write_label(hip.label, hip.affine, label)
    write_label(hip.label, moved, folder / "moved.nii.gz")
    write_label(np.where(hip.label == 2, 7, hip.label), hip.affine, folder / "seven.nii.gz")
    data = bytearray(good.read_bytes())
    (folder / "cut.nii").write_bytes(data[: len(data) // 2])
    data[280:284] = np.float32("nan").tobytes()  # byte 280 of the header: the first number of the affine
    (folder / "nan.nii").write_bytes(data)
    return {"good pair": (good, label), "NaN in the affine": (folder / "nan.nii",), "label 5 mm aside": (good, folder / "moved.nii.gz"),
            "label value 7": (good, folder / "seven.nii.gz"), "cut off": (folder / "cut.nii",)}

# %%
with TemporaryDirectory() as folder:
    files = broken_files(Path(folder), make_case(seed, size=32))
    reports = {name: verify_scan(*paths, table=HIP) for name, paths in files.items()}
for name, report in reports.items():
    print(f"{name:18} {'ok' if report.ok else 'ERROR'}", *(f"\n    {e.found}\n    Next: {e.fix}" for e in report.errors))
print("\nfacts of the good pair:", reports["good pair"].facts)

# %% [markdown]
# **What to see.** One error each, with its size; the good pair passes, and its facts are worth reading too.
#
# **Try.** Move the label by 0.2 mm instead. How far may it be off?
#
# ## A real scan
#
# **Why.** A real CT has what no generator thinks of. The example's labels find both hips, and we cut a cube of 160 mm around each.

# %%
def volumes(c):
    return {f"{name} (ml)": (c.label == value).sum() * np.prod(c.spacing) / 1000 for value, name in enumerate(HIP.names) if value}

view = None
if hips:
    view = show.grid({f"{side} hip": {"image": hips[side].image, "spacing": hips[side].spacing, "contours": {"label, made by a model": hips[side].label},
                                         "table": HIP, "window": (600, 2400)} for side in ("right", "left")},
                        columns=2, alt="Front views of both hips of a real CT with hip bone and femur outlined; the left femur holds bright metal.")
    for side, c in hips.items():
        print(f"{side}:", {name: round(float(v), 1) for name, v in volumes(c).items()}, f"and {(c.image > 2000).sum()} voxels above 2000 HU (metal)")
else:
    print("No labelled real scan here. To get the TotalSegmentator example (2.3 MB, Apache-2.0) and use it:\n"
          "    from ssltut.io.public import EXAMPLE, fetch_set\n    scan = str(fetch_set(EXAMPLE) / CT)\nThen run all cells below the parameters again.")
view

# %% [markdown]
# **What to see.** Where there is a real scan: its voxels are coarser than our synthetic ones, its joint is hardly wider than a voxel, and metal, where it
# is, outshines bone. Its labels are a model's opinion, poor beside the metal: good to look at, not to test with.

# %% [markdown]
# ## A hip to order
#
# **Why.** To know when a method fails, one needs scans whose truth and difficulty are known. In the synthetic hip every parameter can be set or
# drawn. Here is one patient, five times.

# %%
illness = {"healthy": Pathology(), "osteoarthritis": Pathology(osteoarthritis=1), "dysplasia": Pathology(dysplasia=1),
           "osteoporosis": Pathology(osteoporosis=1), "metal": Pathology(implant=True)}
same = {name: make_case(seed, size=size, anatomy=Anatomy(), pathology=p, scanner=Scanner()) for name, p in illness.items()}
inner = (slice(size // 8, -size // 8), slice(None), slice(size // 6, -size // 12))  # closer to the joint
show.grid({f"{name}, difficulty {c.meta['difficulty']:.2f}": {"image": c.image[inner], "spacing": c.spacing, "contours": {"label": c.label[inner]}, "table": HIP,
                                                                "at": (size // 3, round(0.57 * size), size // 3)} for name, c in same.items()},
             columns=3, alt="The same synthetic hip five times: healthy; arthritic, with hardly a gap in the joint; dysplastic, with a shallow cup; porotic, with faint bone; with a metal nail and streaks.")

# %%
def hip(osteoarthritis=0.7, dysplasia=0.0, osteoporosis=0.0, implant=False, head_radius=24.0, joint_space=2.0, anteversion=15.0):
    ill = Pathology(osteoarthritis=osteoarthritis, dysplasia=dysplasia, osteoporosis=osteoporosis, implant=implant)
    c = make_case(seed, size=64, anatomy=Anatomy(head_radius=head_radius, joint_space=joint_space, anteversion=anteversion), pathology=ill, scanner=Scanner())
    return show.planes(c.image, spacing=c.spacing, contours={"label": c.label}, table=HIP, title=f"difficulty {c.meta['difficulty']:.2f}",
                       alt=f"A synthetic hip with head radius {head_radius} mm and joint space {joint_space} mm before illness.")

limits = {name: RANGES[name][:2] for name in ("head_radius", "joint_space", "anteversion")}
show.interact(hip, osteoarthritis=(0.0, 1.0), dysplasia=(0.0, 1.0), osteoporosis=(0.0, 1.0), **limits,
          alt="An arthritic synthetic hip in three planes; its joint is hardly open.")

# %% [markdown]
# **What to see.** Narrow joints and metal raise the difficulty, our score from 0 to 1. The outline is exact: it comes from the formula that made the
# bone, not from the grey values.
#
# **Try.** Find the most difficult hip without illness.

# %%
drawn = make_case(seed, size=32).meta
pd.set_option("display.max_colwidth", None)
pd.DataFrame({name: r._asdict() for name, r in RANGES.items()}).T.assign(drawn=pd.Series(drawn["anatomy"] | drawn["scanner"]).reindex(RANGES).map("{:.2f}".format))

# %% [markdown]
# **What to see.** Each parameter with its unit, its range, where the range is from, and what was drawn for one patient. *Our choice* means just that.
#
# ## A cohort: labelled, unlabelled, held out
#
# **Why.** A method must not see what it is not given. In ssltut an unlabelled case *has no label*: the array is not there, so nothing can leak.

# %%
cohort = synthetic_cohort(**P.cohort)
cases = sorted([*cohort.training("labelled"), *cohort.training("unlabelled")], key=lambda c: c.meta["difficulty"])
hard = pd.Series([c.meta["difficulty"] for c in cases])
print({part: len(getattr(cohort.split, part)) for part in ("labelled", "unlabelled", "validation", "test")}, "split", cohort.split.hash)
print(f"labels in the unlabelled part: {sum(c.label is not None for c in cohort.training('unlabelled'))}")
print(f"difficulty of the training scans: {hard.min():.2f} to {hard.max():.2f}, mean {hard.mean():.2f}")
show.grid({f"{c.id}: {c.meta['difficulty']:.2f}": {"image": c.image, "spacing": c.spacing, "overlay": c.label, "table": cohort.table,
                                                      "at": [round(share * n) for share, n in zip((0.5, 0.58, 0.5), c.image.shape)]} for c in (*cases[:2], *cases[-2:])},
             alt=f"The two easiest training scans and the two most difficult ones ({hard.min():.2f} to {hard.max():.2f}); those with a label are coloured.")

# %% [markdown]
# **What to see.** The easiest two on the left, the most difficult two on the right, with their difficulty; colour only where a label was given. Validation
# and test scans stay closed.
#
# **Try.** `cohort.with_budget(1)`: how many unlabelled cases are there now?
#
# ## A split without leakage
#
# **Why.** Left and right hip of one patient are alike. With one to train and the other to test, the test measures memory. Splitting *scans* at random
# does this nearly always. We count.

# %%
from ssltut.data.split import Split, make_split
from ssltut.errors import DataError

patients = {f"p{p:02}-{side}": f"p{p:02}" for p in range(14) for side in ("left", "right")}

def careless(draw):
    ids = tuple(np.random.default_rng(draw).permutation(list(patients)).tolist())
    return Split(labelled=ids[:4], unlabelled=ids[4:16], validation=ids[16:18], test=ids[18:])

def refusal(split):
    try:
        split.check(patients, where="this split")
    except DataError as error:
        return str(error)

# %%
refusals = [refusal(careless(draw)) for draw in range(200)]
leaking = sum(text is not None for text in refusals) / len(refusals)
print(f"{leaking:.0%} of 200 splits by scan leak. The first says:\n  {next(filter(None, refusals), None)}")
print(f"make_split, which draws patients: {refusal(make_split(patients)) or 'no leak'}")

# %% [markdown]
# **Exercise 2.** Find the leaking patients: those with scans in more than one of *training* (labelled and unlabelled together), *validation* and
# *test*. `patients[scan]` is the patient of a scan.

# %% tags=["solution"]
def leaking_patients(split, patients):
    """The set of patients with scans in more than one of training, validation and test."""
    # >>> solution: three sets of patients, then what any two of them share
    who = [{patients[scan] for scan in scans} for scans in ((*split.labelled, *split.unlabelled), split.validation, split.test)]
    return (who[0] & who[1]) | (who[0] & who[2]) | (who[1] & who[2])
    # <<< solution

# %% tags=["check"]
by_hand = Split(labelled=("p00-left",), unlabelled=("p00-right", "p01-left"), validation=("p02-left",), test=("p01-right", "p03-left"))
assert leaking_patients(by_hand, patients) == {"p01"}, "p01 is in training and test; p00 is labelled and unlabelled, which is all training"
assert leaking_patients(make_split(patients), patients) == set(), "a split by patient has no leak"
assert all(bool(leaking_patients(careless(draw), patients)) == (refusals[draw] is not None) for draw in range(50)), "ssltut judges a split otherwise"
print("Right. The first careless split has", len(leaking_patients(careless(0), patients)), "of 14 patients on two sides.")

# %% [markdown]
# **What to see.** A split belongs in a file with patients and a hash (`split.json`), not in the order of a list. `ssltut verify` checks it with the scans.

# %%
shown = hips or ({case.meta["anatomy"]["side"]: case} if not scan else {})
numbers = [*((f"voxel size, axis {axis}", round(v, 4), "mm") for axis, v in zip("xyz", case.spacing)),
           *((f"{name.removesuffix(' (ml)')} volume, {side} hip", round(float(v), 2), "ml") for side, c in shown.items() for name, v in volumes(c).items()),
           *((f"difficulty, {name}", c.meta["difficulty"], "") for name, c in same.items()),
           ("mean difficulty of the training scans", round(hard.mean(), 3), ""), ("splits by scan that leak", leaking, "share")]
table = pd.DataFrame(numbers, columns=["quantity", "value", "unit"]).assign(seed=seed)
if out:
    Path(out).mkdir(parents=True, exist_ok=True)
    table.to_csv(Path(out) / "01_loading_hip_ct.csv", index=False)
table

# %% tags=["instructor"]
print("Hand round the two mirrored pictures without their titles, and let pairs vote before anyone runs exercise 1.")

# %% [markdown]
# **You can now**
# - read a scan's voxel size from its affine: the lengths of its columns
# - choose a window in HU for bone and for soft tissue: centre and width
# - spot a scan whose sides are swapped: the side it shows is not the side it should
# - name what is wrong with a file, and what to do: `ssltut verify`
# - make a split without leakage, and find the leak in another: by patient, and exercise 2
