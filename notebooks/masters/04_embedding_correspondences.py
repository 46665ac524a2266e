# %% [markdown]
# # 04 · Embedding correspondences
#
# Where the teacher is unsure, the method looks elsewhere for a label: among the labelled voxels whose *embedding* is most similar.
#
# After this notebook **you will be able to**
# - say what a voxel's embedding is, and show one scan's embeddings as a picture
# - draw reference voxels beside a labelled surface
# - find the nearest labelled voxels of any voxel, in slices and in 3D
# - compare four similarity kernels and a neighbour vote on the same voxels
# - measure how often teacher and match are right where the teacher is unsure
#
# About 13 minutes at `class` on two CPU cores when it must train, 2 when notebooks 02 and 05 did. It uses the teacher of 02 and the
# uncertainty of 03, and makes what it does not find.

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
from torch.nn import functional as F

from ssltut import cached_run, make_method, profile_named, read_cohort, show, synthetic_cohort
from ssltut import inspection
from ssltut.methods.matching import primitives as matching
from ssltut.data.labels import LabelTable
from ssltut.seeding import generator_for
from ssltut.methods.uncertainty import published_threshold, quantile_threshold

# %%
P = profile_named(profile)
scans = read_cohort(Path(cohort)) if cohort else synthetic_cohort(**P.cohort)
scans = scans.as_bone() if bone else scans
names, C, ct = scans.table.names, scans.table.n_classes, "bone" if scans.modality == "CT" else None
teacher = cached_run(make_method("labels_only"), scans, replace(P.teacher, seed=seed))
labelled = scans.training("labelled")
known = scans.known_unlabelled() or scans.split.validation
unlabelled = [scans.case(i) for i in known]
source, target = labelled[0], unlabelled[0]
print(f"Labelled: {source.id}. Unlabelled: {target.id}. We know the truth of {len(unlabelled)} unlabelled scans; the method never does.")
if profile == "smoke":
    print("Profile smoke: everything runs, but no number below means anything.")

# %% [markdown]
# ## 1. What an embedding is
#
# The last layer of the network is a 1 x 1 x 1 convolution: a linear rule applied to one vector per voxel. That vector, the output of the
# decoder, is the voxel's embedding. Nothing new is trained for it.

# %%
labelled_fields = {case.id: inspection.embedding_map(teacher, case) for case in labelled}
field, source_field = inspection.embedding_map(teacher, target), labelled_fields[source.id]
layer = teacher.nets["student"].classifier
with torch.no_grad():
    by_hand = layer(field[None])[0].argmax(0).numpy()
said = teacher.predict(target)
print(f"{target.id}: {field[0].numel():,} voxels, a vector of {len(field)} numbers each.")
print(f"The linear layer on these vectors gives the network's own answer at {(by_hand == said).mean():.2%} of the voxels.")

# %% [markdown]
# Remember this linear rule: it comes back in section 5.
#
# To see the vectors, turn them so that their spread falls on as few axes as possible (PCA), and show the first three as red, green and
# blue.
# Colours have no meaning of their own; look for where they *change*.

# %%
vectors = field.flatten(1).T
centred = vectors - vectors.mean(0)
spread, turn = torch.linalg.eigh(centred.T @ centred)
axes = (centred @ turn[:, [-1, -2, -3]]).view(*target.image.shape, 3).numpy()
low, high = np.percentile(axes.reshape(-1, 3), (2, 98), axis=0)
colours = np.clip((axes - low) / np.maximum(high - low, 1e-6), 0, 1)
held = spread.flip(0) / spread.sum()
print(f"Three of {len(field)} axes hold {held[:3].sum():.1%} of the spread, the first alone {held[0]:.1%}.")

# %%
import matplotlib.pyplot as plt

y = int(np.argwhere(target.label > 0).mean(0)[1])
fig, panels = plt.subplots(1, 3, figsize=(12, 4.6), layout="constrained")
layers = {"CT": target.image, "three axes as colours": colours, "first axis alone": colours[..., 0]}
extent = (0, target.image.shape[0] * target.spacing[0], 0, target.image.shape[2] * target.spacing[2])
for panel, (title, layer_shown) in zip(panels, layers.items()):
    flat = layer_shown[:, y].swapaxes(0, 1)[::-1, ::-1]
    panel.imshow(flat, cmap="gray", extent=extent)
    panel.contour(target.label[:, y].T[::-1, ::-1] > 0, [0.5], colors="#E69F00", linewidths=2, origin="upper", extent=extent)
    panel.set_title(title, fontsize=14)
    panel.axis("off")
show.picture(fig, alt=f"Coronal slice of {target.id}: the CT, its embeddings as colours, their first axis in grey; true bone outlined.")

# %% [markdown]
# *Reading:* a network that knows bone changes colour along the outline of the true bone (patient's right on the left). Where the colours
# are smeared across it, its vectors cannot
# tell the two sides apart, and no rule that compares vectors can either. Regular stripes, where you see them, come from the up-convolution.
#
# **Try:** another slice (`y`), or the scan of `source`.
#
# ## 2. Reference voxels
#
# Uncertainty sits at surfaces (notebook 03), so the references come from there: labelled voxels within two voxels of another class, drawn
# at random, 16 of each class, five times over. Each keeps its own class, so head against socket is learned as bone against bone.

# %%
y_l = torch.as_tensor(source.label.astype(np.int64))[None]
shell = matching.surface_shell(y_l, band=2)
drawn = matching.draw_references(y_l, shell, C, k=16, redraws=5, generator=generator_for("cpu", seed, "notebook 04"))
places = np.stack(np.unravel_index(drawn.voxels.flatten(1).numpy(), source.label.shape), -1)  # (C, 80, 3)
print(f"{int(shell.sum()):,} of {shell.numel():,} voxels lie beside a surface ({shell.float().mean():.1%}).")
print("Drawn:", ", ".join(f"{places.shape[1]} of {name}" for name in names))
side = LabelTable("band", ("", *(f"{name} side" for name in names)), ("#000000", "#009E73", *scans.table.colours[1:]))
band = np.where(shell[0], source.label + 1, 0).astype(np.uint8)
show.planes(source.image, spacing=source.spacing, window=ct, overlay=band, table=side, at=places[1:].mean((0, 1)),
            alt=f"{source.id} with the band of voxels beside a bone surface, coloured by the class each voxel belongs to.")

# %%
show.volume(source.image, spacing=source.spacing, label_image=source.label, table=scans.table,
            point_set=places[1:].reshape(-1, 3) * source.spacing, title=f"{source.id}: reference voxels of the bones",
            alt=f"{source.id} from the front: its bones as surfaces, {places[1:, :, 0].size} reference voxels as yellow points on them.")

# %% [markdown]
# *Reading:* the references cover the bones evenly but thinly. In JupyterLab a viewer opens below; turn it.
#
# ## 3. One voxel and its nearest labelled voxels
#
# Pick a voxel: click on it or move the sliders (elsewhere than in JupyterLab, change `pick`). The first is the one of which the teacher is
# least sure. Switch the kernel, the number of neighbours $k$, the band, the draw, the labelled scan.

# %%
looked = inspection.uncertainty_map(teacher, target, seed=seed, classes="two")
unsure, told_map = looked.mean_of_entropies, looked.probabilities.argmax(0)
pick = np.unravel_index(unsure.argmax(), unsure.shape)
print(f"The teacher is least sure at voxel {tuple(map(int, pick))}: {unsure[pick]:.3f} nats.")

# %%
site = {"image": target.image, "spacing": target.spacing, "window": ct, "embedding": field, "label": target.label, "answer": told_map,
        "heat": unsure}
others = {case.id: {"image": case.image, "spacing": case.spacing, "window": ct, "embedding": labelled_fields[case.id],
                    "label": case.label} for case in (source, *labelled)}
show.explore_matches(site, others, table=scans.table, at=pick, name=target.id, title="Who vouches for this voxel?",
                     alt=f"Voxel {tuple(map(int, pick))} of {target.id} in three planes, {source.id} coloured by similarity to it with the 9 "
                         "nearest references marked, who says which class, and lines from the voxel to the references in 3D.")

# %% [markdown]
# *Reading:* above, your voxel; below, the labelled scan, coloured where it looks like that voxel, cut at the nearest reference. Do the
# marks lie at one place? Do vote, kernel and teacher agree? **Try:** a voxel inside bone, one at its edge; another draw, band, scan.
#
# The same by hand, with a draw of its own:

# %%
found = inspection.correspond(field, np.array([pick]), source_field, source.label, k=9, n_classes=C, seed=seed)
near, classes = found.reference[0], found.reference_class[0]
alike = F.cosine_similarity(source_field, field[(slice(None), *pick)].view(-1, 1, 1, 1), dim=0).numpy()
marks = np.zeros(alike.shape, np.uint8)
for place in near:
    marks[tuple(slice(max(0, v - 1), v + 2) for v in place)] = 1
print("Classes of the 9 nearest:", ", ".join(f"{(classes == c).sum()} x {names[c]}" for c in np.unique(classes)))
print(f"Cosine {found.similarity[0, 0]:.3f} (best) to {found.similarity[0, -1]:.3f} (ninth).")
print(f"Truth: {names[target.label[pick]]}. Teacher: {names[told_map[pick]]}. Vote: {names[found.vote[0].argmax()]}.")
best = LabelTable("best", ("", "the 9 nearest references"), ("#000000", "#D55E00"))
heat = np.clip(alike - np.percentile(alike, 95), 0, None)
show.planes(source.image, spacing=source.spacing, heat=heat, heat_label="cosine above its 95th percentile",
            window=ct, overlay=marks, table=best, at=near[0], title=f"Where {source.id} looks like that voxel",
            alt=f"{source.id} with similarity to the picked voxel in colour and its 9 nearest references outlined, cut at the nearest.")

# %% [markdown]
# *Reading:* the warm band is everything the network sees as the same kind of place. It is seldom one spot: the vector holds kind of tissue
# and edge, hardly position. Compare the vote printed above with the truth.
#
# Now many unsure voxels at once, each tied to its nearest reference.

# %%
limit = quantile_threshold(torch.from_numpy(unsure), 0.05)
query = np.argwhere((unsure >= limit) & (target.label > 0))
query = query[np.random.default_rng(seed).permutation(len(query))[:60]]
found = inspection.correspond(field, query, source_field, source.label, k=1, n_classes=C, seed=seed)
agree = found.reference_class[:, 0] == target.label[tuple(query.T)]
print(f"{agree.sum()} of {len(query)} matches carry the right class; these are unsure voxels that truly are bone.")
bones = [[show.surface(case.label, c, spacing=case.spacing, table=scans.table) for c in np.unique(case.label)[1:]]
         for case in (target, source)]
show.correspondences(*bones, query * target.spacing, found.reference[:, 0] * source.spacing, agree, scans=(target.id, source.id),
                     alt=f"Lines from {len(query)} unsure bone voxels of {target.id} to their nearest references in {source.id}; "
                         f"{agree.sum()} thin solid lines reach the right class, {(~agree).sum()} thick dashed ones a wrong class.")

# %% [markdown]
# *Reading:* blue lines reach the right class. Do they also reach the same anatomical place? Does the method need that?
#
# **Try:** `source = labelled[-1]` and run from section 1.
#
# ## 4. Four kernels and a vote
#
# The published kernel is the *mean* of the *cosines* to the 16 references of a class, averaged over five draws. Others take the *max*, or
# $1/(1+d^2)$ of the Euclidean distance $d$. Exercise 1 shows what the published one really is.

# %% tags=["solution"]
def one_prototype(references: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
    """Mean cosine to references (C, l, k, D) of queries (N, D), as (C, N), from ONE vector a class."""
    # >>> solution: m = mean of all unit references of a class (C, D); its length times its cosine with the query
    prototype = F.normalize(references, dim=-1).mean((1, 2))
    length = prototype.norm(dim=1, keepdim=True)
    return length * F.cosine_similarity(prototype[:, None], query[None], dim=-1)
    # <<< solution

# %% tags=["check"]
g = generator_for("cpu", seed, "exercise 1")
references, queries = torch.randn(C, 5, 16, len(field), generator=g), torch.randn(200, len(field), generator=g)
gap = (one_prototype(references, queries) - matching.similarity(references, queries, "mean_cosine")).abs().max()
assert gap < 1e-5, f"differs by {gap:.2g}"
print(f"Largest difference {gap:.1e}: {references.shape[1] * references.shape[2]} references a class collapse to one vector.")

# %% [markdown]
# So the published match is a *linear* rule too, as the network's last layer is. A vote of nearest neighbours is not.

# %% tags=["solution"]
def vote_by_hand(query: torch.Tensor, references: torch.Tensor, labels: torch.Tensor, n_classes: int, k: int) -> torch.Tensor:
    """Share of the k nearest references (R, D) by cosine that carry each class, for queries (N, D), as (N, C)."""
    # >>> solution: all cosines (N, R), the k largest, then count their labels
    cosine = F.normalize(query, dim=1) @ F.normalize(references, dim=1).T
    nearest = labels[cosine.topk(k, dim=1).indices]
    return torch.stack([(nearest == c).float().mean(1) for c in range(n_classes)], dim=1)
    # <<< solution

# %% tags=["check"]
bank, labels = references.flatten(0, 2), torch.arange(C).repeat_interleave(references[0].numel() // len(field))
mine, ours = vote_by_hand(queries, bank, labels, C, 9), matching.neighbour_vote(queries, bank, labels, C, 9)
assert mine.shape == ours.shape and torch.allclose(mine, ours), "the shares differ"
print(f"The same votes; {(mine.max(1).values > 0.85).float().mean():.0%} of these random queries pass a gate of 0.85.")

# %% [markdown]
# Now on real unsure voxels, with references from *all* labelled scans. The teacher's label is the most probable class of the mean of its
# passes, as in training; the second row shows one pass without dropout.

# %%
def references_of(k: int, redraws: int, region: str = "surface") -> torch.Tensor:
    """Embeddings (C, l, k, D) of reference voxels, ``redraws`` draws from every labelled scan."""
    parts = []
    for case, own in zip(labelled, labelled_fields.values()):
        y = torch.as_tensor(case.label.astype(np.int64))[None]
        where = matching.surface_shell(y, 2) if region == "surface" else torch.ones_like(y, dtype=torch.bool)
        index = matching.draw_references(y, where, C, k=k, redraws=redraws, generator=generator_for("cpu", seed, case.id, region)).voxels
        parts.append(own.flatten(1).T[index])
    return torch.cat(parts, dim=1)

published = references_of(16, 5)
many = torch.cat([references_of(120, 5).flatten(1, 2), references_of(400, 1, "anywhere").flatten(1, 2)], dim=1)
many_labels = torch.arange(C).repeat_interleave(many.shape[1])
print(f"Kernels: {published[0, ..., 0].numel()} references a class. Vote: {many.shape[1]} a class, interior ones among them.")

# %%
where = torch.from_numpy(unsure >= limit)
truth, told = (torch.from_numpy(v.astype(np.int64))[where] for v in (target.label, told_map))
query = field[:, where].T
rules = {kernel: matching.similarity(published, query, kernel).argmax(0) for kernel in matching.KERNELS}
rules["neighbour vote"] = matching.neighbour_vote(query, many.flatten(0, 1), many_labels, C).argmax(1)
rows = {"teacher": told, "teacher, one pass without dropout": torch.from_numpy(said.astype(np.int64))[where]} | rules
table = pd.DataFrame({"right": [(v == truth).float().mean().item() for v in rows.values()],
                      "says what the teacher says": [(v == told).float().mean().item() for v in rows.values()]}, index=rows)
print(f"The {len(truth):,} voxels of {target.id} of which the teacher is least sure:")
table.style.format("{:.3f}")

# %%
unsure_bone = where.numpy() & (target.label > 0)
y = int(unsure_bone.sum((0, 2)).argmax())  # the slice with most of it
x, z = np.argwhere(unsure_bone[:, y]).mean(0)
half_x, _, half_z = np.array(target.label.shape) // 2
left, low = int(np.clip(x - half_x / 2, 0, half_x)), int(np.clip(z - half_z / 2, 0, half_z))
near = np.s_[left:left + half_x, :, low:low + half_z]
print(f"Slice y = {y} holds most unsure bone, {unsure_bone[:, y].sum()} voxels; the picture shows a part of it.")

# %%
answers, tiles = LabelTable("answers", ("", "right", "wrong"), ("#000000", "#56B4E9", "#D55E00")), {}
for name, values in ({"teacher": told} | rules).items():
    shown = np.zeros_like(target.label)
    shown[where.numpy()] = 1 + (values != truth)
    tiles[name] = {"image": target.image[near], "spacing": target.spacing, "window": ct, "overlay": shown[near], "table": answers,
                   "at": (0, y, 0)}
show.grid(tiles, columns=3,
             alt=f"Part of a coronal slice of {target.id}: unsure voxels that teacher, four kernels and a vote get right or wrong.")

# %% [markdown]
# *Reading:* only unsure voxels are coloured; dashed ones are wrong. Which rule corrects the teacher, and which merely repeats it?
#
# ## 5. The question
#
# Where the teacher is unsure, who is right more often? Over several unlabelled scans, on the same voxels: the 5 % most uncertain of each.
# A vote with a gate answers only some voxels, so the teacher is asked about exactly those again.

# %%
def ask(case) -> dict[str, object]:
    """Accuracy of teacher, published match and gated vote on the unreliable voxels of one scan."""
    seen = inspection.uncertainty_map(teacher, case, seed=seed, classes="two")
    h = torch.from_numpy(seen.mean_of_entropies)
    where = h >= quantile_threshold(h, 0.05)
    truth, told = (torch.from_numpy(v.astype(np.int64))[where] for v in (case.label, seen.probabilities.argmax(0)))
    query = inspection.embedding_map(teacher, case)[:, where].T
    match = matching.similarity(published, query).argmax(0)
    share, vote = matching.neighbour_vote(query, many.flatten(0, 1), many_labels, C).max(1)
    sure, right = share > 0.85, lambda v, m=slice(None): (v[m] == truth[m]).float().mean().item()
    return {"scan": case.id, "over published threshold": (h >= published_threshold(0.5, C, "two")).float().mean().item(),
            "teacher": right(told), "match": right(match), "vote": right(vote), "past the gate": sure.float().mean().item(),
            "vote past the gate": right(vote, sure), "teacher past the gate": right(told, sure)}

# %%
asked = pd.DataFrame([ask(case) for case in unlabelled[:3 if profile == "smoke" else 6]]).set_index("scan")
print(f"At half of training the published threshold would call {asked['over published threshold'].mean():.2%} of the voxels unreliable.")
asked.style.format("{:.3f}")

# %%
gains = {"published match": asked["match"] - asked["teacher"], "vote": asked["vote"] - asked["teacher"],
         "vote past the gate": asked["vote past the gate"] - asked["teacher past the gate"]}
for name, gain in gains.items():
    gain = gain.dropna()
    print(f"{name} minus teacher: mean {gain.mean():+.3f}, sd {gain.std():.3f}, from {gain.min():+.3f} to {gain.max():+.3f}; "
          f"better on {(gain > 0).sum()} of {len(gain)} scans")
show.paired_strip(gains, xlabel="share right minus the teacher's, same voxels; one point a scan",
            alt="Accuracy on unreliable voxels minus the teacher's: one row each for published match, vote, and vote past the gate.")

# %% [markdown]
# *Reading:* right of the line the match beats the teacher. Say in one sentence what you found, with mean and range, and whether the range
# crosses zero. This is one trained teacher; another seed is another answer.
#
# ## 6. The same question while a student trains
#
# Above, everything stood still. In training, the match compares the *student's* embedding with the teacher's references, and the threshold
# moves. Both runs below (published form; neighbour vote) were watched on fixed patches.

# %%
config, every = replace(P.train, seed=seed), max(1, P.train.steps // 12)
em, em_probe = inspection.probed_run(make_method("embedding_matching"), scans, config, every=every)
nv, nv_probe = inspection.probed_run(make_method("neighbour_vote"), scans, config, every=every)
who = ["teacher right", "match right", "student right"]
show.lines(em_probe["step"], {name: em_probe[name] for name in who}, xlabel="step", ylabel="share right on unreliable voxels",
           title="embedding matching, as published",
           alt="Accuracy of teacher, match and student on unreliable voxels along the published run.")

# %%
show.lines(nv_probe["step"], {name: nv_probe[name] for name in [*who, "match right where trusted"]}, xlabel="step",
           ylabel="share right on unreliable voxels", title="neighbour vote",
           alt="Accuracy of teacher, match and student on unreliable voxels, and of trusted matches along the vote run.")

# %%
def tell(name: str, probe: pd.DataFrame) -> None:
    """The first and the last look of a probe that found unreliable voxels."""
    seen = probe[probe["unreliable share"] > 0]
    for row in (seen.iloc[0], seen.iloc[-1]) if len(seen) else ():
        print(f"{name}, step {row['step']:.0f}: {row['unreliable share']:.2%} unreliable; right: teacher {row['teacher right']:.3f}, "
              f"match {row['match right']:.3f}, student {row['student right']:.3f}; the match says what the student says at "
              f"{row['match agrees with student']:.1%}; one matched voxel pulls like {row['pull of a voxel']:.0f}")

tell("published", em_probe)
tell("vote", nv_probe)
shares = {"published": em_probe["unreliable share"], "neighbour vote": nv_probe["unreliable share"]}
show.lines({"published": em_probe["step"], "neighbour vote": nv_probe["step"]}, shares, xlabel="step", ylabel="share of unreliable voxels",
           alt="Share of voxels counted as unreliable along both runs.")

# %%
pulls = {name: np.log10(probe["pull of a voxel"].clip(lower=1e-9).where(probe["pull of a voxel"] > 0)) for name, probe in
         {"published": em_probe, "neighbour vote": nv_probe}.items()}
show.lines({"published": em_probe["step"], "neighbour vote": nv_probe["step"]}, pulls, xlabel="step",
           ylabel="pull of a matched voxel, log10", title="0: as strong as an ordinary voxel",
           alt="Pull of one matched voxel relative to an ordinary one along both runs, as a power of ten.")

# %% [markdown]
# **Why?** Find out, with these curves and sections 1 and 4:
#
# 1. A match can help only where it differs from the student. How often does it? Why would a linear rule on the student's own vectors
# repeat it?
# 2. What becomes of the share of unreliable voxels, and which voxels are left at the end?
# 3. Each term is a mean over its own set. What is one voxel worth when the set is small, and what does the weight $w_{PS}$ do at that time?
#
# Notebook 05 takes the loss apart to check your answers.

# %% tags=["instructor"]
# Expected answers. 1: the prototypes are class means of embeddings that the last layer separates linearly, so the nearest prototype and the
# last layer mostly agree. 2: the published threshold rises while entropy falls, so the set shrinks to voxels nobody gets right.
# 3: one voxel of a set of n weighs N/n ordinary voxels, and w_PS is largest at the end. The vote run keeps 5 % and divides by all voxels.
columns = ["step", "unreliable share", "match agrees with student", "pull of a voxel", "match weight"]
print(em_probe[columns].round(3).to_string(index=False))

# %%
def row(quantity: str, value: float, unit: str = "share") -> dict[str, object]:
    return {"quantity": quantity, "value": value, "unit": unit, "seed": seed}

rows = [row(f"{column}, {word} over scans, 5 % most uncertain voxels", getattr(asked[column], word)())
        for column in asked.columns.drop("over published threshold") for word in ("mean", "std")]
rows += [row(f"{name} minus teacher, {word} over scans", getattr(gain, word)())
         for name, gain in gains.items() for word in ("mean", "std", "min", "max")]
last = {"unreliable share": "share", "match agrees with student": "share", "pull of a voxel": "voxels"}
rows += [row(f"{name}, last look, {column}", probe[column].iloc[-1], unit)
         for name, probe in {"embedding matching": em_probe, "neighbour vote": nv_probe}.items() for column, unit in last.items()]
if out:
    Path(out).mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).dropna().to_csv(Path(out) / "04_embedding_correspondences.csv", index=False)
print(f"{len(rows)} numbers" + (f" written to {out}" if out else "; give out= to keep them"))

# %% [markdown]
# **You can now**
# - say what a voxel's embedding is, and show one scan's embeddings as a picture: the input of the last, linear layer; PCA makes three
#   colours of it
# - draw reference voxels beside a labelled surface: 16 of each class from a thin band, five times
# - find the nearest labelled voxels of any voxel, in slices and in 3D: `inspection.correspond`, then follow the lines
# - compare four similarity kernels and a neighbour vote on the same voxels: the published one is a single prototype a class
# - measure how often teacher and match are right where the teacher is unsure: on the same voxels, over several scans, with the spread
