"""The pictures of the gallery: each method's own values on one scan, from its own functions.

Here those that show areas of the scan; those with curves and numbers are in ``measures``.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from gallery import measures
from gallery.pages import Drawn, Page, array
from ssltut.data.labels import LabelTable
from ssltut.methods.further.c3s3 import fit
from ssltut.methods.further.cad import displace, low_confidence
from ssltut.methods.further.rpg import thin_label
from ssltut.methods.further.shapes import SURE
from ssltut.methods.further.versemi import everywhere, visible_labels
from ssltut.show.static.pictures import SERIES

BLACK, YELLOW = "#000000", "#F0E442"
KEPT = LabelTable(
    "kept",
    ("background, kept", "bone, right", "kept, wrong", "left out"),
    (BLACK, "#009E73", "#D55E00", "#CC79A7"),
)


def judged(label: Tensor, kept: Tensor, truth: np.ndarray) -> np.ndarray:
    """Classes of KEPT for hard labels (X, Y, Z); kept background that is right has no colour."""
    said, kept_ = array(label), array(kept, bool)
    return np.where(~kept_, 3, np.where(said != truth, 2, np.minimum(said, 1)))


def rpg(page: Page) -> Drawn:
    m, batch = page.method, page.batch
    q, weak, *_ = m.targets(batch, page.nets)
    thinned = thin_label(batch.y_l, batch.n_classes, m.stride)[0]
    for axis, side in enumerate(batch.y_l.shape[1:]):
        thinned = thinned.repeat_interleave(m.stride, axis).narrow(axis, 0, side)
    kept, sure = q[0].amax(0) >= m.agreement, weak[0].amax(0) >= m.confidence
    own = [judged(p[0].argmax(0), where, page.truth) for p, where in ((q, kept), (weak, sure))]
    wrong = [np.mean(o[o < 3] == 2) if (o < 3).any() else 0.0 for o in own]
    said = (
        f"The neighbours agree at {kept.float().mean():.0%} of the voxels and are wrong at"
        f" {wrong[0]:.1%} of these; the network is sure of itself at {sure.float().mean():.0%} and"
        f" wrong at {wrong[1]:.1%} of these."
    )
    items = {
        "references: thinned labels": page.labels(thinned, scan=0),
        "what 5 neighbours say": page.labels(q[0].argmax(0)),
        "neighbours against truth": page.areas(own[0], KEPT),
        "network against truth": page.areas(own[1], KEPT),
    }
    alt = "A labelled scan with labels in coarse blocks; the scan with its neighbours' labels;"
    return Drawn(said, f"{alt} where these and the network's are kept.", items)


def versemi(page: Page) -> Drawn:
    batch, names = page.batch, page.run.table.names
    known = torch.ones(2, batch.n_classes, dtype=torch.bool)
    known[0, 1:-1] = False  # the first scan is one in which only the last class is labelled
    y, known = visible_labels(replace(batch, known=known))
    counts = page.method.counted(y, everywhere(known))[0]
    p = page.nets["student"](batch.unlabelled[:1], heads=True).heads["prompts"][0].sigmoid()
    parts = ("-", names[-1], "nothing is learnt")
    table = LabelTable("learnt", parts, (BLACK, page.run.table.colours[-1], "#CC79A7"))
    layer = torch.where(counts, (y[0] > 0).long(), 2)
    same = (p[0] - p[1:].amax(0)).abs().mean()
    said = (
        f"In the scan where only {names[-1]} is labelled, 'is this any bone?' has an answer at"
        f" {counts.float().mean():.1%} of the voxels. On the scan, 'any' and the largest of the"
        f" other answers differ by {same:.3f} on average."
    )
    items = {f"only {names[-1]} is known": page.areas(layer, table, scan=0)}
    for name, q in zip(("any", *names[1:]), p, strict=True):
        items[f"prompt: {name}"] = page.heat(q, "probability", heat_max=1.0)
    return Drawn(said, "A labelled scan without one class, and the scan under every prompt.", items)


def ersr(page: Page) -> Drawn:
    m, batch, nets = page.method, page.batch, page.nets
    found, _ = m.refine(batch, nets, 1.0)
    p = array(nets["teacher"](batch.unlabelled[:1]).logits.softmax(1)[0, m.target], np.float32)
    used, sure = array(found.used[0], bool), p >= SURE
    area = np.where(used, sure, False).sum((0, 1)) if used.any() else p.sum((0, 1))
    z = int(area.argmax())
    part = (..., z) if m.shape == "ellipse" else ...
    shapes, ring = m.shapes(p[part]), np.zeros(p.shape, np.uint8)
    if shapes:
        ring[part] = np.min([shape.squared(p[part].shape) for shape in shapes], 0) <= 1
    at = [*np.argwhere(p[..., z] > 0.5 * p[..., z].max()).mean(0).astype(int), z]
    parts = ("-", "sure mask", "repaired mask", "one half", "its mirror half", "fitted shape")
    table = LabelTable("shape", parts, (BLACK, SERIES[3], SERIES[2], *SERIES[:2], YELLOW))
    region, left = array(found.region[0], bool), array(found.left[0], bool)
    n, fitted = int(sure.any((0, 1)).sum()), int(used.any((0, 1)).sum())
    said = f"The teacher sees its target in {n} slices; a shape fits in {fitted} of them."
    if shapes:
        moved = np.abs(array(found.mask[0])[..., z].astype(int) - sure[..., z]).sum()
        said += f" In this one repair moves {moved} pixels."
    halves = np.where(region, np.where(left, 3, 4), 0)
    items = {
        "teacher's probability": page.heat(p, "probability", heat_max=1.0, at=at),
        "sure mask, fitted shape": page.areas(sure, table, contours={"outline": 5 * ring}, at=at),
        "repaired mask": page.areas(2 * array(found.mask[0]), table, at=at),
        "mirror halves": page.areas(halves, table, at=at),
    }
    alt = "One axial slice: probability of the round organ, its sure mask with the fitted shape,"
    alt += " the repaired mask, and the halves that must mirror each other."
    return Drawn(said, alt, items, "axial")


def m3hl(page: Page) -> Drawn:
    outs = page.method.forward(page.batch, page.nets, page.progress)
    mixed, target, true = outs["mix"]
    student, teacher, pseudo = outs["student"], outs["teacher"], outs["pseudo"]
    parts = ("-", "from the labelled scan", "from the scan itself")
    source = LabelTable("source", parts, (BLACK, SERIES[2], SERIES[3]))
    near = (student.feats["embedding"][:1] - teacher.feats["embedding"][:1]).abs().mean()
    right = (array(pseudo[0]) == page.truth).mean()
    half = len(mixed) // 2
    share, overlap = true[0].float().mean(), (true[0] & true[half]).float().mean()
    said = (
        f"{share:.0%} of the first mix come from the labelled scan, and {overlap:.0%} of the places"
        f" are labelled in both mixes. The teacher's labels of the scan are right at {right:.1%} of"
        f" the voxels; low-level features of mix and scan differ by {near:.3f}."
    )
    items = {
        "the mask": page.areas(torch.where(true[0], 1, 2), source),
        "mix 1, labels to learn": page.labels(target[0], mixed[0]),
        "mix 2, the complement": page.labels(target[half], mixed[half]),
        "teacher's labels": page.labels(pseudo[0]),
    }
    alt = "A mask of blocks, two complementary mixes of labelled and unlabelled scans with their"
    return Drawn(said, f"{alt} labels, and the teacher's labels.", items)


def c3s3(page: Page) -> Drawn:
    batch, nets = page.batch, page.nets
    x = torch.cat([batch.x_l, batch.unlabelled])
    outs = {role: nets[role](x) for role in page.method.networks}
    winner, loser = page.method.compete({k: fit([out], batch.y_l) for k, out in outs.items()})
    names = {"student": "first network", "rival": "second network"}
    labels = {role: array(out.logits[2].argmax(0)) for role, out in outs.items()}
    a, b, truth = labels["student"], labels["rival"], page.truth
    parts = ("agree", "first is right", "second is right", "neither")
    who = LabelTable("who", parts, (BLACK, SERIES[0], SERIES[1], YELLOW))
    layer = np.where(a == b, 0, np.where(a == truth, 1, np.where(b == truth, 2, 3)))
    acts = ("background", "both: pull together", "one: push apart")
    pull = LabelTable("pull", acts, (BLACK, SERIES[2], SERIES[3]))
    both = np.where((a > 0) & (a == b), 1, np.where(a != b, 2, 0))
    right = {"student": (layer == 1).sum(), "rival": (layer == 2).sum()}
    said = (
        f"The {names[winner]} fits the labelled scans better and teaches the {names[loser]}. On the"
        f" scan they differ at {(layer > 0).sum()} voxels; the winner is right at {right[winner]}"
        f" of these, the loser at {right[loser]}."
    )
    items = {
        f"first{' (wins)' if winner == 'student' else ''}": page.labels(a),
        f"second{' (wins)' if winner == 'rival' else ''}": page.labels(b),
        "where they differ": page.areas(layer, who),
        "what contrast does": page.areas(both, pull),
    }
    alt = "The labels of two networks, who is right where they differ, and which voxels are pulled"
    return Drawn(said, f"{alt} together or pushed apart.", items)


def cad(page: Page) -> Drawn:
    batch, (threshold, side) = page.batch, page.method.limits(page.progress)
    p = page.nets["teacher"](batch.unlabelled).logits.softmax(1)
    region, moved = low_confidence(p, threshold)[0], displace(batch.unlabelled, p, threshold, side)
    where = moved.where[0]
    box = array(where)
    at = np.argwhere(box if box.any() else page.truth > 0).mean(0).round().astype(int)
    parts = ("-", "largest unsure region", "box from the next scan")
    table = LabelTable("displaced", parts, (BLACK, SERIES[3], YELLOW))
    covered = float(region[where].sum() / region.sum().clamp(min=1))
    said = (
        f"Below τ = {threshold:.2f} the largest region has {int(region.sum())} voxels; a box of"
        f" {box.sum()} covers {covered:.0%} of it."
    )
    if box.any():
        before, after = (q[0].amax(0)[where].mean() for q in (p, moved.p))
        said += (
            f" In the box the teacher's largest probability rises from {before:.2f} to"
            f" {after:.2f} on average."
        )
    outline = {"contours": {"outline": 2 * box}, "at": at}
    items = {
        "teacher's doubt": page.heat(1 - p[0].amax(0), "1 - largest probability", at=at),
        "largest unsure region": page.areas(region, table, **outline),
        "the displaced scan": page.scene(moved.x[0], table=table, **outline),
        "what is to be learnt": page.labels(moved.p[0].argmax(0), moved.x[0], at=at),
    }
    alt = "Where the teacher is unsure, the largest such region with the box over it, and the scan"
    return Drawn(said, f"{alt} and labels with the box pasted.", items)


PICTURES: dict[str, Callable[[Page], Drawn]] = {
    "rpg": rpg,
    "ss_net": measures.ss_net,
    "versemi": versemi,
    "self_paced": measures.self_paced,
    "mn": measures.mn,
    "ersr": ersr,
    "m3hl": m3hl,
    "c3s3": c3s3,
    "transmedseg": measures.transmedseg,
    "medl": measures.medl,
    "cad": cad,
}
