# %% [markdown]
# # 02 · Training the teacher
#
# After this notebook **you will be able to**
# - draw and inspect the patches a 3D network learns from
# - write the Dice loss and say why cross-entropy is not left alone
# - train a 3D U-Net on few labels and read its curves
# - stop a run, continue it, and show that nothing was lost
# - score a prediction in each class, misses included
#
# *About 3 minutes on a CPU with two cores. Needs nothing from earlier notebooks; notebooks 03 to 05 use the teacher trained here.*

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

from ssltut import profile_named, read_cohort, show, synthetic_cohort

P = profile_named(profile)
config = replace(P.teacher, seed=seed)
scans = read_cohort(cohort) if cohort else synthetic_cohort(**P.cohort)
scans = scans.as_bone() if bone else scans
print(f"{scans.name}: {', '.join(f'{len(part)} {name}' for name, part in vars(scans.split).items())}. "
      f"This notebook trains on the {len(scans.split.labelled)} labelled scans and opens no test scan.")
if profile == "smoke":
    print("Smoke profile: every cell runs, but training is far too short for its numbers to mean anything.")

# %% [markdown]
# ## What the network sees
#
# A whole scan with all the activations of a 3D network does not fit into the memory of a laptop, and a few scans are few examples. So we
# train on **patches**: random crops, half of them centred on bone, which fills little of a scan.

# %%
from ssltut.data.patches import Intensity, PatchPool
from ssltut.data.views import Augmentation, Noise
from ssltut.seeding import generator_for

labelled = scans.training("labelled")
spacing, scale = labelled[0].spacing, Intensity.of([*labelled, *scans.training("unlabelled")])
pool = PatchPool(labelled, scale, config.patch, "cpu")
x, y, ids, _ = pool.sample(8, generator_for("cpu", seed, "look"))  # (8, 1, X, Y, Z) and (8, X, Y, Z)
window = ((400 - scale.mean) / scale.std, 1800 / scale.std) if scans.modality == "CT" else None
print(f"A patch is {config.patch[0] * spacing[0]:.0f} mm wide, {100 * np.prod(config.patch) / labelled[0].image.size:.0f} % of a scan. "
      f"Labelled structures fill {100 * np.mean([np.mean(case.label > 0) for case in labelled]):.0f} % of these scans, "
      f"{100 * (y > 0).float().mean():.0f} % of these patches.")
views = {f"{i + 1}: {ids[i]}": {"image": x[i, 0].numpy(), "overlay": y[i].byte().numpy(), "table": scans.table} for i in range(8)}
show.grid({name: view | {"spacing": spacing, "window": window} for name, view in views.items()},
             alt="Eight random training patches in coronal section with their labels; each shows another part of a scan.")

# %% [markdown]
# Left and right can be swapped, as a right hip mirrored is a left hip; brightness and contrast differ between scanners. Both are drawn for
# every patch. The noise of the method (σ = 0.02 for the student) comes on top, and is hardly visible.
#
# ### Four views of one patch

# %%
one = x[:1]
draws = Augmentation(torch.tensor([True]), torch.tensor([1.1]), torch.tensor([0.1]))
views = {"as it is": one, "mirrored and brighter": draws.apply(one), "noise, σ = 0.02": Noise(0.02, seed)(one),
         "noise, σ = 0.2 (ten times)": Noise(0.2, seed)(one)}
print(f"A drawn view can be replayed: the same noise again differs by "
      f"{(Noise(0.02, seed)(one) - views['noise, σ = 0.02']).abs().max():.0f}.")
show.grid({name: {"image": view[0, 0].numpy(), "spacing": spacing, "window": window} for name, view in views.items()},
             alt="One patch four times: as it is, mirrored and brighter, with the faint noise of the method, and with ten times that "
                 "noise.")

# %% [markdown]
# *Something to try:* draw eight patches from `scans.training("unlabelled")`. What is `y` then, and where does bone sit in them?
#
# ## The network
#
# A 3D U-Net goes down to see context and up to find edges, and hands details across. Every forward returns `Out(logits, feats, heads)`: the
# **embedding** in `feats`, the map before the last 1x1x1 convolution, is what notebook 04 compares between scans.

# %%
from ssltut.nets.build import build_net

net = build_net(config.arch, 1, scans.table.n_classes, width=config.width, depth=config.depth, dropout=config.dropout, norm=config.norm,
                seed=seed)
with torch.no_grad():
    answer = net.eval()(x[:1])
convs = [module for module in net.modules() if isinstance(module, torch.nn.Conv3d) and module.kernel_size == (3, 3, 3)]
dropouts = [module for module in net.modules() if isinstance(module, torch.nn.Dropout)]
he = np.mean([(module.weight.std() * (module.weight[0].numel() / 2) ** 0.5).item() for module in convs])
print(f"{sum(p.numel() for p in net.parameters()):,} parameters. logits {tuple(answer.logits.shape)}, embedding "
      f"{tuple(answer.feats['embedding'].shape)}, {len(answer.heads)} further heads.")
print(f"{len(convs)} convolutions of 3x3x3, each followed by dropout ({len(dropouts)} of them, p = {config.dropout}); the output layer "
      f"has none.")
print(f"He initialisation draws weights of standard deviation sqrt(2 / fan-in): measured, in units of that, {he:.2f}.")

# %% [markdown]
# Dropout is no decoration here: left on at prediction time it makes the uncertainty of notebook 03.
#
# ## Exercise 1: the Dice loss
#
# Cross-entropy counts voxels, and most voxels are background. Soft Dice compares overlap with size, class by class:
#
# $$L_{Dice} = 1 - \frac{1}{K}\sum_{k=1}^{K} \frac{2\sum_v p_k(v)\, y_k(v) + \varepsilon}{\sum_v p_k(v) + \sum_v y_k(v) + \varepsilon}$$
#
# over the $K$ foreground classes, with sums over all voxels of the batch.

# %% tags=["solution"]
def my_dice_loss(logits: torch.Tensor, target: torch.Tensor, eps: float = 1e-5) -> torch.Tensor:
    """Soft Dice loss of logits (B, C, X, Y, Z) against classes (B, X, Y, Z); class 0 is background and does not count."""
    # >>> solution: softmax, then for each foreground class 2 * overlap / (size of p + size of y), then 1 - the mean
    p, ratios = logits.softmax(1), []
    for k in range(1, logits.shape[1]):
        truth = (target == k).float()
        ratios.append((2 * (p[:, k] * truth).sum() + eps) / (p[:, k].sum() + truth.sum() + eps))
    return 1 - torch.stack(ratios).mean()
    # <<< solution

# %% tags=["check"]
from ssltut.methods.losses import dice_loss

sample = torch.randn(2, 3, 4, 4, 4, generator=torch.Generator().manual_seed(seed))
classes = torch.arange(128).reshape(2, 4, 4, 4) % 3
mine, theirs = my_dice_loss(sample, classes), dice_loss(sample, classes)
assert torch.isclose(mine, theirs), f"yours is {mine:.4f}, the package says {theirs:.4f}: sums over the batch, foreground only?"
print(f"Right: {mine:.4f}, the same as ssltut.methods.losses.dice_loss.")

# %% [markdown]
# ### Why both terms
#
# Ask what a lazy network gains that says "background" everywhere, 95 % sure.

# %%
from torch.nn.functional import cross_entropy

sure = np.log(0.95 / (0.05 / (scans.table.n_classes - 1)))
lazy = torch.zeros(8, scans.table.n_classes, *config.patch)
lazy[:, 0] = sure
untrained = torch.cat([net(patch[None]).logits.detach() for patch in x])
for name, logits in {"lazy": lazy, "untrained": untrained}.items():
    print(f"{name:>9}: cross-entropy {cross_entropy(logits, y):.3f} nats, Dice loss {dice_loss(logits, y):.3f}")
print("Dice loss shows that the lazy network found nothing; cross-entropy has the smoother gradient. L_S, the supervised loss, is their "
      "sum.")

# %% [markdown]
# ## Train
#
# One loop trains every method of the package. `cached_run` keeps what it trains: run the cell again, or open notebook 03, and the teacher
# is found in a moment. While it trains, the loss is drawn live, with the validation score, the time left and what the network says of one
# patch it never trains on.

# %%
held, truth, held_ids, _ = PatchPool(scans.validation(), scale, config.patch, "cpu").sample(2, generator_for("cpu", seed, "held"))
patch = {"image": held[0, 0].numpy(), "spacing": spacing, "window": window, "table": scans.table, "at": [n // 2 for n in config.patch]}

def look(nets, batch):
    with torch.no_grad():
        said = nets["student"](held[:1].to(batch.x_l.device)).logits[0].argmax(0).byte().cpu().numpy()
    return {"said now": patch | {"overlay": said}, f"truth ({held_ids[0]})": patch | {"overlay": truth[0].byte().numpy()}}

# %%
import time

from ssltut import cached_run, make_method

started = time.monotonic()
with show.LiveCurves(alt="Loss and validation scores while the teacher trains, and its labels of one validation patch beside the truth.",
                     groups={"cross-entropy + Dice loss": ["total"], "validation Dice": ["validation dice"], "HD95 (mm)": ["validation hd95"]},
                     look=look, steps=config.steps, learning_rate=config.lr) as live:
    teacher = cached_run(make_method("labels_only"), scans, config, callbacks=[live])
seconds = time.monotonic() - started
print(f"{config.steps} steps of {config.labelled} patches, Adam at {config.lr:g}: {seconds:.0f} s now ({live.spent:.1f} s of it for the live view), "
      f"kept in {teacher.folder.name}.")

# %% [markdown]
# ## Read the curves
#
# The training loss says whether the network learns its own patches. Only scans it did not train on say whether it learnt hips. The
# weights are chosen by a rule fixed beforehand, on the validation split; the test split stays closed.

# %%
history = teacher.history
checks = history.dropna(subset=["validation dice"])
tenth = max(1, len(history) // 10)
print(f"Loss: {history.total[:tenth].mean():.2f} over the first tenth, {history.total[-tenth:].mean():.2f} over the last.")
print(f"Rule: best {teacher.selected['rule']} on {len(scans.split.validation)} validation scans. Chosen: step {teacher.selected['step']} "
      f"of {config.steps}, {teacher.selected['rule']} {teacher.selected['score']:.3f}; "
      f"the last step had Dice {checks['validation dice'].iloc[-1]:.3f}.")
panels = {"training loss": ["total"], "validation Dice": ["validation dice"], "validation HD95 (mm)": ["validation hd95"]}
show.curves(history, groups=panels,
            alt=f"Three panels over the step: training loss, validation Dice (last {checks['validation dice'].iloc[-1]:.2f}) and "
                f"validation HD95 in mm.")

# %% [markdown]
# *What to see:* a loss that still falls while validation Dice has stopped rising is memory, not learning. *Something to try:*
# `replace(config,
# steps=config.steps // 4)`, a new run: does a quarter of the time cost much?
#
# ## Checkpoint and resume
#
# A laptop sleeps, a cluster kills. The run folder holds plain tensors (safetensors) and JSON, no pickle, so opening a stranger's run cannot
# run a stranger's code.

# %%
import json

for file in sorted(teacher.folder.iterdir()):
    print(f"{file.stat().st_size / 1024:8.0f} KiB  {file.name}")
about = json.loads((teacher.folder / "run.json").read_text())
print(f"run.json remembers {', '.join(about)}; its hash {about['hash']} names method, options, settings and scans.")

# %% [markdown]
# Now a tiny run, once straight through and once killed on the way. The second is continued by the same command.

# %%
import tempfile

from ssltut import train

tiny, method = replace(config, steps=4, validate_every=2, width=4, depth=2), make_method("labels_only")
with tempfile.TemporaryDirectory() as folder:
    straight = train(method, scans, tiny, Path(folder) / "straight", log=lambda line: None)
    train(method, scans, tiny, Path(folder) / "killed", stop_after=3, log=lambda line: None)  # one step after its checkpoint
    continued = train(method, scans, tiny, Path(folder) / "killed", log=lambda line: None)
pairs = zip(straight.nets["student"].parameters(), continued.nets["student"].parameters())
apart = max((a - b).abs().max().item() for a, b in pairs)
pd.DataFrame({"straight": straight.history.total, "killed and continued": continued.history.total}).rename_axis("step")

# %%
same = bool((straight.history.total == continued.history.total).all())
print(f"Same loss at every step: {same}. Largest difference between the weights: {apart:g}.")
print("On a CPU this holds to the last bit, as every draw depends on the step and not on what was drawn before.")

# %% [markdown]
# ## Look at a prediction
#
# A scan is predicted in overlapping windows as large as a patch, and each voxel takes their average, weighted towards the middle of a
# window, where the network sees most around it.

# %%
from scipy.ndimage import uniform_filter

case = scans.validation()[0]
prediction = teacher.predict(case)
wrong = prediction != case.label
worst = np.unravel_index(uniform_filter(wrong.astype(float), 9).argmax(), wrong.shape)

print(f"{case.id}: {100 * wrong.mean():.1f} % of all voxels are wrong, {100 * wrong[case.label > 0].mean():.1f} % of those inside a "
      f"structure. "
      f"The planes cut where errors are densest, at voxel {tuple(map(int, worst))}.")
show.slices(case.image, spacing=case.spacing, contours={"truth": case.label, "prediction": prediction}, table=scans.table, at=worst,
             window="bone" if scans.modality == "CT" else None, title=f"{case.id}: truth and prediction",
             alt=f"Validation scan {case.id} in three planes through its densest errors, with the outlines of truth and prediction.")

# %%
show.volume(case.image, spacing=case.spacing, label_image=prediction, table=scans.table, title=f"{case.id}: predicted",
            alt=f"Validation scan {case.id} from the front beside the surfaces of the predicted classes; stray pieces and holes show up "
                f"here.")

# %% [markdown]
# Stray pieces weigh little in Dice and much in HD95. Is that so here? Keep the largest piece of each class and score again.

# %%
from scipy.ndimage import label as pieces_of
from ssltut.metrics import score_mask

for value, name in enumerate(scans.table.names[1:], start=1):
    mask, truth = prediction == value, case.label == value
    pieces, n = pieces_of(mask)
    largest = pieces == np.bincount(pieces[mask]).argmax() if n else mask
    before, after = (score_mask(m, truth, case.spacing)[1] for m in (mask, largest))
    print(f"{name}: {n} pieces; the largest alone takes Dice from {before['dice']:.3f} to {after['dice']:.3f}, HD95 from "
          f"{before['hd95']:.1f} to {after['hd95']:.1f} mm.")

# %% [markdown]
# No table of this series uses that filter: it hides what a network invents. *Something to try:* the other validation scan. Does the
# contact of
# head and socket hold?
#
# ## Exercise 2: what is the Dice of nothing?
#
# A structure that is missed must cost, and one that is absent and not predicted is no success and no failure. Libraries differ here, and
# some reward an empty answer. Ours returns a **status** with the value.

# %% tags=["solution"]
def dice_with_status(prediction: np.ndarray, truth: np.ndarray) -> tuple[str, float]:
    """Status and Dice of two boolean masks: "ok", "both_empty" (NaN), "missed" (truth only, 0) or "invented" (prediction only, 0)."""
    # >>> solution: look at prediction.any() and truth.any() first, then 2 * overlap / (sum of sizes)
    if not truth.any():
        return ("invented", 0.0) if prediction.any() else ("both_empty", float("nan"))
    if not prediction.any():
        return "missed", 0.0
    return "ok", 2 * (prediction & truth).sum() / (prediction.sum() + truth.sum())
    # <<< solution

# %% tags=["check"]
from ssltut.metrics import score_mask

full, none = case.label == 1, np.zeros(case.label.shape, bool)
for first, second in [(full, full), (np.roll(full, 2, 0), full), (none, full), (full, none), (none, none)]:
    status, value = dice_with_status(first, second)
    expected, scores = score_mask(first, second, case.spacing)
    assert status == expected, f"the status is {expected}, yours is {status}"
    assert np.isclose(value, scores["dice"], equal_nan=True), f"{status}: the Dice is {scores['dice']}, yours is {value}"
    print(f"{status:>10}: Dice {value:.3f}, HD95 {scores['hd95']:.1f} mm")

# %% [markdown]
# A miss costs the diagonal of the scan in HD95. Now all validation scans, class by class.

# %%
from ssltut.metrics import score_case

rows = [row | {"case": held.id} for held in scans.validation()
        for row in score_case(teacher.predict(held), held.label, held.spacing, scans.table.names)]
scores = pd.DataFrame(rows)
table = scores.pivot(index=["case", "class", "status"], columns="metric", values="value")[["dice", "hd95", "surface_dice"]]
table.round(3)

# %%
mean = scores.groupby(["class", "metric"])["value"].agg(["mean", "min", "max"])
for name in scans.table.names[1:]:
    dice, hd95 = mean.loc[(name, "dice")], mean.loc[(name, "hd95")]
    print(f"{name}: Dice {dice['mean']:.3f} ({dice['min']:.3f} to {dice['max']:.3f}), HD95 {hd95['mean']:.1f} mm ({hd95['min']:.1f} to "
          f"{hd95['max']:.1f}).")
print(f"{(table.index.get_level_values('status') == 'missed').sum()} of {len(table)} structures missed; validation scans: "
      f"{scores.case.nunique()}. "
      "So few say little: notebook 06 opens the test scans.")
if out:
    numbers = [("validation dice", teacher.selected["score"], "1"), ("selected step", teacher.selected["step"], "step")]
    for metric, unit in [("dice", "1"), ("hd95", "mm")]:
        numbers += [(f"{metric} {name}", mean.loc[(name, metric), "mean"], unit) for name in scans.table.names[1:]]
    Path(out).mkdir(parents=True, exist_ok=True)
    frame = pd.DataFrame(numbers, columns=["quantity", "value", "unit"]).assign(seed=seed)
    frame.to_csv(Path(out) / "02_training_the_teacher.csv", index=False)

# %% [markdown]
# *Something to try:* `replace(config, seed=1)`, a second teacher. Is it as good? Keep the two numbers for notebook 06.

# %% tags=["instructor"]
# Ten minutes of discussion: whose validation Dice was highest in the room, and why is it wrong to keep that one?
# Common slip in exercise 1: a Dice per patch, averaged. A patch without femur then scores 0 however well it is segmented.

# %% [markdown]
# **You can now**
# - draw and inspect the patches a 3D network learns from: `PatchPool.sample`, half centred on bone
# - write the Dice loss and say why cross-entropy is not left alone: overlap against size, when most voxels are background
# - train a 3D U-Net on few labels and read its curves: `cached_run`, and a rule on validation scans
# - stop a run, continue it, and show that nothing was lost: the same loss at every step
# - score a prediction in each class, misses included: a value with its status
