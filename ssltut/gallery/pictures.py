"""The pictures of the gallery: each method's own intermediate values on one scan, from the
functions that its loss calls.

Every function takes a ``gallery.Page`` and returns a sentence with the numbers of the picture, and
the picture.
"""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ssltut import show
from ssltut.data.batch import Batch, PatchLocation
from ssltut.data.labels import LabelTable
from ssltut.methods.contract import Plan, Progress
from ssltut.methods.further.adversarial import unit
from ssltut.methods.further.c3s3 import fit
from ssltut.methods.further.cad import displace, low_confidence
from ssltut.methods.further.evidence import dirichlet, fuse, opinion, reliability
from ssltut.methods.further.rpg import thin_label
from ssltut.methods.further.self_paced import age_at, meta_label, self_paced_weights
from ssltut.methods.further.shapes import SURE
from ssltut.methods.further.transmedseg import gap_and_covariance
from ssltut.methods.further.versemi import everywhere, visible_labels
from ssltut.methods.matching.primitives import voxel_vectors
from ssltut.show.static.mechanisms import ClassShift, pairs_figure, transport_figure, turns_figure
from ssltut.show.static.pictures import SERIES, Picture, picture
from ssltut.show.static.slices import Scene

Portrait = tuple[str, Picture]
KEPT = LabelTable(
    "kept",
    ("background, kept", "bone, right", "kept, wrong", "left out"),
    ("#000000", "#009E73", "#D55E00", "#CC79A7"),
)
YELLOW = "#F0E442"
CHANGED = LabelTable("changed", ("same", "other label"), ("#000000", "#D55E00"))


def array(x: Tensor, dtype: type = np.uint8) -> np.ndarray:
    return x.detach().cpu().numpy().astype(dtype)


def judged(label: Tensor, kept: Tensor, truth: np.ndarray) -> np.ndarray:
    """Classes of KEPT for hard labels (X, Y, Z); kept background that is right has no colour."""
    said, kept = array(label), array(kept, bool)
    return np.where(~kept, 3, np.where(said != truth, 2, np.minimum(said, 1))).astype(np.uint8)


@torch.no_grad()
def rpg(page) -> Portrait:
    m, batch = page.method, page.batch
    q, weak = m.targets(batch, page.run.nets)
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
    return said, show.grid(
        {
            "references: thinned labels": page.scene(scan=0, overlay=array(thinned)),
            "what 5 neighbours say": page.scene(overlay=array(q[0].argmax(0))),
            "neighbours against truth": page.scene(overlay=own[0], table=KEPT, contours={}),
            "network against truth": page.scene(overlay=own[1], table=KEPT, contours={}),
        },
        alt=(
            "A labelled scan with labels in coarse blocks; the scan with its neighbours' labels;"
            f" where these and the network's are kept. {said}"
        ),
    )


def ss_net(page) -> Portrait:
    whole = page.batch
    batch = replace(whole, x_l=whole.x_l[:1], y_l=whole.y_l[:1], x_u=whole.x_u[:1])
    net = page.run.nets["student"]
    with torch.no_grad():
        p = net(torch.cat([batch.x_l, batch.x_u])).logits.softmax(1)
        x, worst = page.method.attack(batch, page.run.nets, p)
        chance = worst.flatten(1).norm(dim=1).view(-1, 1, 1, 1, 1) * unit(
            torch.randn(x.shape, generator=batch.generator("chance"))
        )
        before, after, other = (
            net(seen).logits[1].argmax(0) for seen in (x, x + worst, x + chance)
        )
    moved = [array(z != before) for z in (after, other)]
    top = float(worst[1].abs().max())
    said = (
        f"Changes of the same length: the worst one gives {moved[0].mean():.2%} of the voxels"
        f" another label, a random one {moved[1].mean():.2%}."
    )
    heat = {"heat_label": "change (std. of image)", "heat_max": top}
    return said, show.grid(
        {
            "the worst change": page.scene(heat=array(worst[1, 0].abs(), np.float32), **heat),
            "a random one, as long": page.scene(heat=array(chance[1, 0].abs(), np.float32), **heat),
            "worst: labels change": page.scene(overlay=moved[0], table=CHANGED, contours={}),
            "random: labels change": page.scene(overlay=moved[1], table=CHANGED, contours={}),
        },
        alt=(
            "The scan with the adversarial and a random perturbation as heat, and the voxels whose"
            f" label each changes. {said}"
        ),
    )


@torch.no_grad()
def versemi(page) -> Portrait:
    batch, names = page.batch, page.run.table.names
    known = torch.ones(2, batch.n_classes, dtype=torch.bool)
    known[0, 1:-1] = (
        False  # the first scan is one of those in which only the last class is labelled
    )
    hidden = replace(batch, known=known)
    y, known = visible_labels(hidden)
    counts = page.method.counted(y, everywhere(known))[0]
    p = page.run.nets["student"](batch.x_u[:1], heads=True).heads["prompts"][0].sigmoid()
    told = LabelTable(
        "told",
        ("-", names[-1], "nothing is learnt"),
        ("#000000", page.run.table.colours[-1], "#CC79A7"),
    )
    layer = torch.where(counts, (y[0] > 0).long(), 2)
    same = (p[0] - p[1:].amax(0)).abs().mean()
    said = (
        f"In the scan where only {names[-1]} is labelled, 'is this any bone?' has an answer at"
        f" {counts.float().mean():.1%} of the voxels. On the scan, 'any' and the largest of the"
        f" other answers differ by {same:.3f} on average."
    )
    heat = {"heat_label": "probability", "heat_max": 1.0}
    prompts = {
        f"prompt: {name}": page.scene(heat=array(q, np.float32), **heat)
        for name, q in zip(("any", *names[1:]), p, strict=True)
    }
    known_part = {
        f"only {names[-1]} is known": page.scene(
            scan=0, overlay=array(layer), table=told, contours={}
        )
    }
    return said, show.grid(
        known_part | prompts,
        alt=f"A labelled scan without one class, and the scan answered under every prompt. {said}",
    )


def places(page, sides: list[int]) -> tuple[Batch, list[tuple[slice, ...]]]:
    """Of a labelled scan and of the scan three patches each, from foot to head, as a batch with
    their places; and where they lie.
    """
    whole = page.batch
    x, at = torch.stack([whole.x_l[0], whole.x_u[0]]), page.at
    boxes = []
    for part in range(3):
        corner = [
            min(max(c - s // 2, 0), n - s) for c, s, n in zip(at, sides, x.shape[2:], strict=True)
        ]
        corner[2] = part * (x.shape[4] - sides[2]) // 2
        boxes.append(tuple(slice(c, c + s) for c, s in zip(corner, sides, strict=True)))
    cut = [torch.stack([v[(slice(None), *box)] for box in boxes]) for v in x]
    found = [
        [
            PatchLocation(
                case.patient,
                "left",
                tuple((b.start + b.stop) / 2 / n for b, n in zip(box, x.shape[2:], strict=True)),
            )
            for box in boxes
        ]
        for case in (page.gallery.scans[0], page.gallery.scans[2])
    ]
    y = torch.zeros(3, *sides, dtype=torch.long)
    return (
        replace(
            whole,
            x_l=cut[0],
            y_l=y,
            x_u=cut[1],
            locations_l=tuple(found[0]),
            locations_u=tuple(found[1]),
        ),
        boxes,
    )


@torch.no_grad()
def self_paced(page) -> Portrait:
    m, kind = page.method, "position"
    sides = [min(s, n) for s, n in zip(page.gallery.config.patch, page.truth.shape, strict=True)]
    batch, boxes = places(page, sides)
    student = page.run.nets["student"]
    x = torch.cat(
        [
            page.method.view(batch, "labelled"),
            page.method.view(batch, "unlabelled"),
            m.second_view(batch),
        ]
    )
    same, losses, w = m.pairs(
        kind, student.encode(x)[-1].float().mean((2, 3, 4)), batch, page.run.nets, page.progress
    )
    heights = LabelTable(
        "heights", ("-", "foot", "middle", "head"), ("#000000", SERIES[0], "#E69F00", SERIES[3])
    )
    layer = np.zeros(page.truth.shape, np.uint8)
    for n, box in enumerate(boxes, 1):
        layer[box] = np.maximum(layer[box], n)
    said = (
        f"{len(w)} pairs are from the same place. Their losses run from {losses.min():.2f} to"
        f" {losses.max():.2f}; at this step of training γ is {age_at(kind, page.progress):.0f} and"
        f" their weights run from {w.min():.2f} to {w.max():.2f}."
    )
    order = meta_label(kind, batch, m.bins).repeat(2).argsort(stable=True)
    grid = torch.full(same.shape, math.nan).masked_scatter(same, w)[order][:, order]
    at = torch.linspace(0, 1.2 * float(losses.max()) + 3.0, 100)
    ages = {frac: age_at(kind, Progress(round(1000 * frac), 1000)) for frac in (0.01, 0.1, 1.0)}
    curves = {
        f"t = {frac:g} T, γ = {age:.0f}": (at, self_paced_weights(at, age, m.weights))
        for frac, age in ages.items()
    }
    scene = Scene(**page.scene(overlay=layer, table=heights))
    return said, picture(
        pairs_figure(scene, grid.numpy(), curves, (losses, w)),
        "The scan with three patches from foot to head; a matrix of pair weights; weight against"
        f" loss. {said}",
    )


@torch.no_grad()
def mn(page) -> Portrait:
    m, batch, config = page.method, page.batch, page.gallery.config
    p = {role: page.run.nets[role](batch.x_u[:1]).logits[0].softmax(0) for role in m.networks}
    total = config.labelled + config.unlabelled
    times = [Progress(t, 400) for t in range(400)]
    shares = [m.plan(t, Plan(config.labelled, config.unlabelled)).unlabelled / total for t in times]
    rates = [max(m.rates(t).values()) for t in times]
    agree = (p["student"].argmax(0) == p["slices"].argmax(0)).float().mean()
    wrong = {role: float((array(q.argmax(0)) != page.truth).mean()) for role, q in p.items()}
    said = (
        f"2D and 3D give the same label at {agree:.1%} of the voxels; wrong are"
        f" {wrong['slices']:.1%} (2D) and {wrong['student']:.1%} (3D). At the end {shares[-1]:.0%}"
        " of the patches of a step are unlabelled."
    )
    learning = {
        f"{name} learns": [role in m.learners(t) for t in times]
        for role, name in (("slices", "2D"), ("student", "3D"))
    }
    scenes = [
        Scene(**page.scene(heat=array(1 - p[role][0], np.float32), heat_max=1.0))
        for role in ("slices", "student")
    ]
    return said, picture(
        turns_figure(
            [t.frac for t in times],
            learning,
            {"share of unlabelled patches": shares, "learning rate (relative)": rates},
            {"bone, says 2D": scenes[0], "bone, says 3D": scenes[1]},
        ),
        "Who learns when, with learning rate and share of unlabelled patches; the soft masks of"
        f" both networks. {said}",
    )


@torch.no_grad()
def ersr(page) -> Portrait:
    m, batch = page.method, page.batch
    nets = page.run.nets
    found, _ = m.refine(batch, nets, 1.0)
    p = array(nets["teacher"](batch.x_u[:1]).logits.softmax(1)[0, m.target], np.float32)
    used, sure = array(found.used[0], bool), p >= SURE
    area = np.where(used, sure, False).sum((0, 1)) if used.any() else p.sum((0, 1))
    z = int(area.argmax())
    shapes = m.shapes(p[..., z] if m.shape == "ellipse" else p)
    ring = np.zeros(p.shape, np.uint8)
    if shapes:
        inside = (
            np.min(
                [s.squared(p[..., z].shape if m.shape == "ellipse" else p.shape) for s in shapes], 0
            )
            <= 1
        )
        ring[(..., z) if m.shape == "ellipse" else ...] = inside
    at = [*np.argwhere(p[..., z] > 0.5 * p[..., z].max()).mean(0).astype(int), z]
    table = LabelTable(
        "shape",
        ("-", "sure mask", "repaired mask", "one half", "its mirror half", "fitted shape"),
        ("#000000", SERIES[3], SERIES[2], *SERIES[:2], YELLOW),
    )
    region, left = array(found.region[0], bool), array(found.left[0], bool)
    n, fitted = sum(sure.any((0, 1))), int(used.any((0, 1)).sum())
    said = f"The teacher sees its target in {n} slices; a shape fits in {fitted} of them."
    if shapes:
        said += (
            " In this one repair moves"
            f" {np.abs(array(found.mask[0])[..., z].astype(int) - sure[..., z]).sum()} pixels."
        )
    see = {"table": table, "at": at}
    return said, show.grid(
        {
            "teacher's probability": page.scene(
                heat=p, heat_max=1.0, heat_label="probability", at=at
            ),
            "sure mask, fitted shape": page.scene(
                overlay=sure.astype(np.uint8), contours={"outline": 5 * ring}, **see
            ),
            "repaired mask": page.scene(overlay=2 * array(found.mask[0]), contours={}, **see),
            "mirror halves": page.scene(
                overlay=np.where(region, np.where(left, 3, 4), 0).astype(np.uint8),
                contours={},
                **see,
            ),
        },
        plane="axial",
        alt=(
            "One axial slice: probability of the round organ, its sure mask with the fitted shape,"
            f" the repaired mask, and the halves that must mirror each other. {said}"
        ),
    )


@torch.no_grad()
def m3hl(page) -> Portrait:
    m, batch = page.method, page.batch
    pasted, (mixed, target, true), (teacher, pseudo) = m.forward(
        batch, page.run.nets, page.progress
    )
    source = LabelTable(
        "source",
        ("-", "from the labelled scan", "from the scan itself"),
        ("#000000", SERIES[2], SERIES[3]),
    )
    near = (pasted.feats["embedding"][:1] - teacher.feats["embedding"][:1]).abs().mean()
    right = (array(pseudo[0]) == page.truth).mean()
    share, overlap = true[0].float().mean(), (true[0] & true[len(true) // 2]).float().mean()
    said = (
        f"{share:.0%} of the first mix come from the labelled scan, and {overlap:.0%} of the places"
        f" are labelled in both mixes. The teacher's labels of the scan are right at {right:.1%} of"
        f" the voxels; low-level features of mix and scan differ by {near:.3f}."
    )
    half = len(mixed) // 2
    return said, show.grid(
        {
            "the mask": page.scene(
                overlay=np.where(array(true[0], bool), 1, 2).astype(np.uint8),
                table=source,
                contours={},
            ),
            "mix 1, labels to learn": page.scene(mixed[0], overlay=array(target[0])),
            "mix 2, the complement": page.scene(mixed[half], overlay=array(target[half])),
            "teacher's labels": page.scene(overlay=array(pseudo[0])),
        },
        alt=(
            "A mask of blocks, two complementary mixes of labelled and unlabelled scans with their"
            f" labels, and the teacher's labels. {said}"
        ),
    )


@torch.no_grad()
def c3s3(page) -> Portrait:
    batch, nets = page.batch, page.run.nets
    outs = {role: nets[role](torch.cat([batch.x_l, batch.x_u])) for role in page.method.networks}
    fits = {role: fit([out], batch.y_l) for role, out in outs.items()}
    winner, loser = page.method.compete(fits)
    names = {"student": "first network", "rival": "second network"}
    said_by = {role: array(out.logits[2].argmax(0)) for role, out in outs.items()}
    a, b, truth = said_by["student"], said_by["rival"], page.truth
    who = LabelTable(
        "who",
        ("agree", "first is right", "second is right", "neither"),
        ("#000000", SERIES[0], SERIES[1], YELLOW),
    )
    layer = np.where(a == b, 0, np.where(a == truth, 1, np.where(b == truth, 2, 3))).astype(
        np.uint8
    )
    pull = LabelTable(
        "pull",
        ("background", "both: pull together", "one: push apart"),
        ("#000000", SERIES[2], SERIES[3]),
    )
    both = np.where((a > 0) & (a == b), 1, np.where(a != b, 2, 0)).astype(np.uint8)
    apart, won = (layer > 0).sum(), (layer == 1 + (winner == "rival")).sum()
    said = (
        f"The {names[winner]} fits the labelled scans better and teaches the {names[loser]}. On the"
        f" scan they differ at {apart} voxels; the winner is right at {won} of these, the loser at"
        f" {(layer == 1 + (loser == 'rival')).sum()}."
    )
    return said, show.grid(
        {
            f"first{' (wins)' if winner == 'student' else ''}": page.scene(overlay=a),
            f"second{' (wins)' if winner == 'rival' else ''}": page.scene(overlay=b),
            "where they differ": page.scene(overlay=layer, table=who, contours={}),
            "what contrast does": page.scene(overlay=both, table=pull, contours={}),
        },
        alt=(
            "The labels of two networks, who is right where they differ, and which voxels are"
            f" pulled together or pushed apart. {said}"
        ),
    )


@torch.no_grad()
def transmedseg(page) -> Portrait:
    m, batch, nets = page.method, page.batch, page.run.nets
    gap, sigma = gap_and_covariance(nets)
    out, teacher = nets["student"](batch.x_l), nets["teacher"](batch.x_u[:1])
    harder = F.cross_entropy(
        out.logits + m.shift(nets, nets, page.progress)[batch.y_l].movedim(-1, 1),
        batch.y_l,
        reduction="none",
    )
    harder = (harder - F.cross_entropy(out.logits, batch.y_l, reduction="none"))[0]
    clouds = []
    for feats, label in (
        (out.feats["embedding"], batch.y_l),
        (teacher.feats["embedding"], teacher.logits.argmax(1)),
    ):
        vectors, flat = voxel_vectors(feats), label.flatten()
        drawn = [(flat == c).nonzero()[:, 0] for c in range(batch.n_classes)]
        clouds.append(
            [
                vectors[i[torch.randperm(len(i), generator=batch.generator("cloud", c))[:250]]]
                for c, i in enumerate(drawn)
            ]
        )
    every = torch.cat([v for cloud in clouds for v in cloud])
    axes = torch.pca_lowrank(every, 2)[2]
    flat = [[v @ axes for v in cloud] for cloud in clouds]
    means, alpha = (
        [nets[f"{part} moments"].mean @ axes for part in ("labelled", "unlabelled")],
        m.alpha * page.progress.frac,
    )
    told = ", ".join(
        f"{name} {g.norm():.2f}" for name, g in zip(page.run.table.names, gap, strict=True)
    )
    said = (
        f"Length of the way from labelled to unlabelled embeddings: {told}; α is {alpha:.2f}. It"
        f" makes the labels of a labelled scan harder by {harder.mean():.4f} nats a voxel,"
        f" {harder.max():.2f} at most."
    )
    scene = Scene(
        **page.scene(
            scan=0, heat=array(harder.clamp(min=0), np.float32), heat_label="loss added (nats)"
        )
    )
    shifts = [
        ClassShift(a, b, a + alpha * (b - a), alpha * axes.T @ s @ axes)
        for a, b, s in zip(*means, sigma, strict=True)
    ]
    return said, picture(
        transport_figure(*flat, shifts, page.run.table, scene),
        "Embeddings of labelled and unlabelled voxels in two dimensions with the way between their"
        f" means; where that adds loss. {said}",
    )


@torch.no_grad()
def medl(page) -> Portrait:
    batch, names = page.batch, ("first network", "second network")
    alphas = [
        dirichlet(page.run.nets[role](torch.cat([batch.x_l, batch.x_u])).logits)
        for role in page.method.networks
    ]
    fused, weights = page.method.fuse_opinions(alphas, 2, page.progress)
    mass = [o.uncertainty[2] for o in (*map(opinion, alphas), fuse(*map(opinion, alphas)))]
    wrong = array(fused.belief[2].argmax(0)) != page.truth
    trust, w = reliability(fused)[2], weights[0][2]
    told = ", ".join(f"{u.mean():.3f}" for u in mass)
    surest = mass[2] <= mass[2].median()
    said = (
        f"Mean uncertainty of the first, the second and both: {told}. Both are wrong at"
        f" {wrong.mean():.1%} of the voxels, where R is {trust[torch.from_numpy(wrong)].mean():.2f}"
        f" on average ({trust.mean():.2f} over all). Now ω is {w[surest].mean():.2f} on the surer"
        f" half and {w[~surest].mean():.2f} on the other."
    )
    heat = {"heat_max": float(max(u.max() for u in mass)), "heat_label": "uncertainty u"}
    items = {
        name: page.scene(heat=array(u, np.float32), **heat)
        for name, u in zip((*names, "both together"), mass, strict=True)
    }
    items["where both are wrong"] = page.scene(
        overlay=wrong.astype(np.uint8),
        contours={},
        table=LabelTable("wrong", ("right", "wrong"), ("#000000", SERIES[1])),
    )
    return said, show.grid(
        items,
        alt=(
            "Uncertainty of two networks and of their fused opinion, and where that is wrong."
            f" {said}"
        ),
    )


@torch.no_grad()
def cad(page) -> Portrait:
    batch, (threshold, side) = page.batch, page.method.limits(page.progress)
    p = page.run.nets["teacher"](batch.x_u).logits.softmax(1)
    region, moved = low_confidence(p, threshold)[0], displace(batch.x_u, p, threshold, side)
    box = array(moved.where[0])
    at = np.argwhere(box if box.any() else page.truth > 0).mean(0).round().astype(int)
    table = LabelTable(
        "displaced",
        ("-", "largest unsure region", "box from the next scan"),
        ("#000000", SERIES[3], YELLOW),
    )
    before, after = (q[0].amax(0)[moved.where[0]] for q in (p, moved.p))
    said = (
        f"Below τ = {threshold:.2f} the largest region has {int(region.sum())} voxels; a box of"
        f" {box.sum()} covers {float(region[moved.where[0]].sum() / region.sum().clamp(min=1)):.0%}"
        " of it."
    )
    if box.any():
        said += (
            f" In the box the teacher's largest probability rises from {before.mean():.2f} to"
            f" {after.mean():.2f} on average."
        )
    see = {"at": at, "table": table}
    return said, show.grid(
        {
            "teacher's doubt": page.scene(
                heat=array(1 - p[0].amax(0), np.float32),
                heat_label="1 - largest probability",
                at=at,
            ),
            "largest unsure region": page.scene(
                overlay=array(region), contours={"outline": 2 * box}, **see
            ),
            "the displaced scan": page.scene(moved.x[0], contours={"outline": 2 * box}, **see),
            "what is to be learnt": page.scene(
                moved.x[0], overlay=array(moved.p[0].argmax(0)), at=at
            ),
        },
        alt=(
            "Where the teacher is unsure, the largest such region with the box over it, and the"
            f" scan and labels with the box pasted. {said}"
        ),
    )


PORTRAITS: dict[str, Callable[..., Portrait]] = {
    f.__name__: f
    for f in (rpg, ss_net, versemi, self_paced, mn, ersr, m3hl, c3s3, transmedseg, medl, cad)
}
