"""Pictures of the gallery with curves and numbers beside the scan; the others: ``pictures``."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from torch import Tensor
from torch.nn.functional import cross_entropy

from gallery.pages import Drawn, Page, array
from ssltut.data.batch import Batch, PatchLocation
from ssltut.data.labels import LabelTable
from ssltut.methods.contract import Plan, Progress
from ssltut.methods.further.adversarial import unit
from ssltut.methods.further.evidence import dirichlet, fuse, opinion, reliability
from ssltut.methods.further.self_paced import meta_label, self_paced_weights
from ssltut.methods.further.transmedseg import gap_and_covariance
from ssltut.methods.matching.primitives import voxel_vectors
from ssltut.show.static.pictures import DASHES, SERIES, styled
from ssltut.show.static.slices import HALO, Scene, colour_scale, draw_plane

BLACK = "#000000"
Curve = tuple[Tensor, Tensor]
Series = Mapping[str, Sequence[float]]
# How the embeddings of a class are moved: their means (2,) in labelled and unlabelled scans, and
# centre (2,) and covariance (2, 2) of what is moved from one to the other.
Shift = tuple[Tensor, Tensor, Tensor, Tensor]


def ss_net(page: Page) -> Drawn:
    whole, net = page.batch, page.nets["student"]
    batch = replace(whole, x_l=whole.x_l[:1], y_l=whole.y_l[:1], x_u=whole.unlabelled[:1])
    p = net(torch.cat([batch.x_l, batch.unlabelled])).logits.softmax(1)
    with torch.enable_grad():
        x, worst = page.method.attack(batch, page.nets, p)
    x, worst = x.detach(), worst.detach()
    length = worst.flatten(1).norm(dim=1).view(-1, 1, 1, 1, 1)
    chance = length * unit(torch.randn(x.shape, generator=batch.generator("chance")))
    before, after, other = (net(seen).logits[1].argmax(0) for seen in (x, x + worst, x + chance))
    moved = [array(z != before) for z in (after, other)]
    said = (
        f"Changes of the same length: the worst one gives {moved[0].mean():.2%} of the voxels"
        f" another label, a random one {moved[1].mean():.2%}."
    )
    top, label = {"heat_max": float(worst[1].abs().max())}, "change (std. of image)"
    changed = LabelTable("changed", ("same", "other label"), (BLACK, "#D55E00"))
    items = {
        "the worst change": page.heat(worst[1, 0].abs(), label, **top),
        "a random one, as long": page.heat(chance[1, 0].abs(), label, **top),
        "worst: labels change": page.areas(moved[0], changed),
        "random: labels change": page.areas(moved[1], changed),
    }
    alt = "The scan with the adversarial and a random perturbation as heat, and the voxels whose"
    return Drawn(said, f"{alt} label each changes.", items)


def three_patches(page: Page, sides: list[int]) -> tuple[Batch, list[tuple[slice, ...]]]:
    """Three patches, from foot to head, of a labelled scan and of the scan, and their boxes."""
    whole, at = page.batch, page.at
    x = torch.stack([whole.x_l[0], whole.unlabelled[0]])
    shape = x.shape[2:]
    shares = [s / n for s, n in zip(sides, shape, strict=True)]
    extent = (shares[0], shares[1], shares[2])
    boxes, centres = [], []
    for part in range(3):
        corner = [min(max(c - s // 2, 0), n - s) for c, s, n in zip(at, sides, shape, strict=True)]
        corner[2] = part * (shape[2] - sides[2]) // 2
        boxes.append(tuple(slice(c, c + s) for c, s in zip(corner, sides, strict=True)))
        middles = [(2 * c + s) / 2 / n for c, s, n in zip(corner, sides, shape, strict=True)]
        centres.append((middles[0], middles[1], middles[2]))
    cut = [torch.stack([v[(slice(None), *box)] for box in boxes]) for v in x]
    patients = [page.gallery.scans[i].patient for i in (0, 2)]
    places = [
        tuple(PatchLocation(p, "left", centre, extent) for centre in centres) for p in patients
    ]
    y = torch.zeros(3, *sides, dtype=torch.long)
    batch = replace(whole, x_l=cut[0], y_l=y, x_u=cut[1])
    return replace(batch, locations_l=places[0], locations_u=places[1]), boxes


def self_paced(page: Page) -> Drawn:
    m, kind, student = page.method, "position", page.nets["student"]
    sides = [min(s, n) for s, n in zip(page.gallery.config.patch, page.truth.shape, strict=True)]
    batch, boxes = three_patches(page, sides)
    views = [m.view(batch, "labelled"), m.view(batch, "unlabelled"), m.second_view(batch)]
    pooled = student.encode(torch.cat(views))[-1].float().mean((2, 3, 4))
    same, losses, w = m.pairs(kind, pooled, batch, page.nets, page.progress)
    layer = np.zeros(page.truth.shape, np.uint8)
    for n, box in enumerate(boxes, 1):
        layer[box] = np.maximum(layer[box], n)
    said = (
        f"{len(w)} pairs are from the same place. Their losses run from {losses.min():.2f} to"
        f" {losses.max():.2f}; at this step of training γ is {m.age(kind, page.progress):.0f} and"
        f" their weights run from {w.min():.2f} to {w.max():.2f}."
    )
    order = meta_label(kind, batch, m.bins).repeat(2).argsort(stable=True)
    grid = torch.full(same.shape, math.nan).masked_scatter(same, w)[order][:, order]
    at = torch.linspace(0, 1.2 * float(losses.max()) + 3.0, 100)
    curves = {}
    for frac in (0.01, 0.1, 1.0):
        age = m.age(kind, Progress(round(1000 * frac), 1000))
        curves[f"t = {frac:g} T, γ = {age:.0f}"] = (at, self_paced_weights(at, age, m.weights))
    colours = (BLACK, SERIES[0], "#E69F00", SERIES[3])
    heights = LabelTable("heights", ("-", "foot", "middle", "head"), colours)
    scene = Scene(**page.labels(layer, table=heights))
    alt = "The scan with three patches from foot to head; a matrix of pair weights; weight against"
    figure = pairs_figure(scene, grid.numpy(), curves, (losses, w))
    return Drawn(said, f"{alt} loss.", figure)


@styled
def pairs_figure(
    scene: Scene, weights: np.ndarray, curves: Mapping[str, Curve], points: Curve
) -> Figure:
    """A scan with patches, the ``weights`` (N, N) of their pairs, and weight against loss.

    curves   {name: (losses, weights)};  points  losses and weights of the pairs themselves
    """
    fig = Figure(figsize=(12, 4.4), layout="constrained")
    left, middle, right = fig.subplots(1, 3, width_ratios=(1, 1.25, 1.25))
    draw_plane(left, scene, "coronal", "three places in the scan")
    image = middle.imshow(weights, cmap="viridis", vmin=0, vmax=1)
    middle.set(title="weight of a pair (grey: no pair)", facecolor="#cccccc")
    middle.set(xlabel="view of a patch", ylabel="view of a patch")
    ticks = range(0, len(weights), 2)
    middle.set(xticks=ticks, yticks=ticks)
    middle.grid(False)
    fig.colorbar(image, ax=middle, shrink=0.8)
    for (name, curve), dashes, colour in zip(curves.items(), DASHES, SERIES, strict=False):
        right.plot(*curve, ls=dashes, color=colour, label=name)
    right.plot(*points, ls="", marker="|", color="black", ms=18, mew=2, label="the pairs, now")
    right.set(title="easy pairs first", xlabel="loss of the pair", ylabel="weight")
    right.set_ylim(-0.03, 1.05)
    right.legend(loc="upper center", bbox_to_anchor=(0.45, -0.16), ncols=2, columnspacing=1)
    return fig


def mn(page: Page) -> Drawn:
    m, batch, config = page.method, page.batch, page.gallery.config
    p = {r: page.nets[r](batch.unlabelled[:1]).logits[0].softmax(0) for r in m.networks}
    default = Plan(config.labelled, config.unlabelled)
    times = [Progress(t, 400) for t in range(400)]
    plans = [m.plan(t, default) for t in times]
    shares = [plan.unlabelled / (config.labelled + config.unlabelled) for plan in plans]
    rates = [max(plan.rates.values()) for plan in plans]
    agree = (p["student"].argmax(0) == p["slices"].argmax(0)).float().mean()
    wrong = {role: float((array(q.argmax(0)) != page.truth).mean()) for role, q in p.items()}
    said = (
        f"2D and 3D give the same label at {agree:.1%} of the voxels; wrong are"
        f" {wrong['slices']:.1%} (2D) and {wrong['student']:.1%} (3D). At the end {shares[-1]:.0%}"
        " of the patches of a step are unlabelled."
    )
    learning = {
        "2D learns": ["slices" in m.learners(t) for t in times],
        "3D learns": ["student" in m.learners(t) for t in times],
    }
    series = {"share of unlabelled patches": shares, "learning rate (relative)": rates}
    scenes = {
        "bone, says 2D": Scene(**page.heat(1 - p["slices"][0], heat_max=1.0)),
        "bone, says 3D": Scene(**page.heat(1 - p["student"][0], heat_max=1.0)),
    }
    alt = "Who learns when, with learning rate and share of unlabelled patches; the soft masks of"
    figure = turns_figure([t.frac for t in times], learning, series, scenes)
    return Drawn(said, f"{alt} both networks.", figure)


@styled
def turns_figure(
    t: Sequence[float], learning: Series, series: Series, scenes: Mapping[str, Scene]
) -> Figure:
    """Who is ``learning`` at ``t`` (share of training), over lines from 0 to 1; scans beside it."""
    fig = Figure(figsize=(12, 4.4), layout="constrained")
    ax, *others = fig.subplots(1, 1 + len(scenes), width_ratios=(2, *[1] * len(scenes)))
    for row, (name, on) in enumerate(learning.items()):
        low, colour = 1.1 + 0.16 * row, SERIES[row]
        ax.fill_between(t, low, low + 0.12, where=on, color=colour, step="post", lw=0)
        text = {"ha": "right", "va": "center", "weight": "bold"}
        ax.text(-0.02, low + 0.06, name, color=colour, **text)
    for (name, y), dashes, colour in zip(series.items(), DASHES, SERIES[::-2], strict=False):
        ax.plot(t, y, color=colour, ls=dashes, label=name)
    ax.set(xlim=(0, 1), ylim=(-0.03, 1.42), yticks=(0, 0.5, 1), title="who learns when")
    ax.set_xlabel(f"fraction of training (of {len(t)} steps)")
    ax.legend(loc="upper center", bbox_to_anchor=(0.45, -0.16), ncols=2, columnspacing=1)
    for panel, (name, scene) in zip(others, scenes.items(), strict=True):
        draw_plane(panel, scene, "coronal", name)
    return fig


def samples(batch: Batch, feats: Tensor, label: Tensor) -> list[Tensor]:
    """Up to 250 embeddings of every class."""
    vectors, flat = voxel_vectors(feats), label.flatten()
    chosen = []
    for c in range(batch.n_classes):
        inside = (flat == c).nonzero()[:, 0]
        order = torch.randperm(len(inside), generator=batch.generator("cloud", c))[:250]
        chosen.append(vectors[inside[order]])
    return chosen


def transmedseg(page: Page) -> Drawn:
    m, batch, nets = page.method, page.batch, page.nets
    gap, sigma = gap_and_covariance(nets)
    out, teacher = nets["student"](batch.x_l), nets["teacher"](batch.unlabelled[:1])
    shifted = out.logits + m.shift(nets, nets, page.progress)[batch.y_l].movedim(-1, 1)
    losses = [cross_entropy(z, batch.y_l, reduction="none")[0] for z in (shifted, out.logits)]
    harder = losses[0] - losses[1]
    clouds = {
        "labelled": samples(batch, out.feats["embedding"], batch.y_l),
        "unlabelled": samples(batch, teacher.feats["embedding"], teacher.logits.argmax(1)),
    }
    axes = torch.pca_lowrank(torch.cat([v for cloud in clouds.values() for v in cloud]), 2)[2]
    parts = {
        (scan, name): pd.DataFrame((vectors @ axes).numpy(), columns=["x", "y"])
        for scan, cloud in clouds.items()
        for name, vectors in zip(page.run.table.names, cloud, strict=True)
    }
    means = [nets[f"{part} moments"].mean @ axes for part in ("labelled", "unlabelled")]
    alpha = m.alpha * page.progress.frac
    lengths = zip(page.run.table.names, gap, strict=True)
    listed = ", ".join(f"{name} {g.norm():.2f}" for name, g in lengths)
    said = (
        f"Length of the way from labelled to unlabelled embeddings: {listed}; α is {alpha:.2f}. It"
        f" makes the labels of a labelled scan harder by {harder.mean():.4f} nats a voxel,"
        f" {harder.max():.2f} at most."
    )
    scene = Scene(**page.heat(harder.clamp(min=0), "loss added (nats)", scan=0))
    shifts = [
        (a, b, a + alpha * (b - a), alpha * axes.T @ s @ axes)
        for a, b, s in zip(*means, sigma, strict=True)
    ]
    alt = "Embeddings of labelled and unlabelled voxels in two dimensions with the way between"
    points = pd.concat(parts, names=["scan", "class"]).reset_index()
    figure = transport_figure(points, shifts, page.run.table, scene)
    return Drawn(said, f"{alt} their means; where that adds loss.", figure)


@styled
def transport_figure(
    points: pd.DataFrame, shifts: Sequence[Shift], table: LabelTable, scene: Scene
) -> Figure:
    """Embeddings (columns scan, class, x, y) with the shift of each class, and a scan with heat."""
    colours = dict(zip(table.names, ("#777777", *table.colours[1:]), strict=True))
    fig = Figure(figsize=(12, 4.8), layout="constrained")
    ax, right = fig.subplots(1, 2, width_ratios=(1.7, 1))
    axes = {"x": "x", "y": "y", "hue": "class", "style": "scan", "palette": colours}
    markers = {"labelled": "o", "unlabelled": "X"}
    sns.scatterplot(points, ax=ax, markers=markers, s=36, alpha=0.6, **axes)
    for shift, dashes, colour in zip(shifts, DASHES, colours.values(), strict=False):
        draw_shift(ax, shift, {"ec": colour, "ls": dashes})
    low, high = points[["x", "y"]].quantile([0.02, 0.98]).to_numpy()
    left, bottom = low - 0.15 * (high - low)
    ax.set(xlim=(left, high[0] + low[0] - left), ylim=(bottom, high[1] + low[1] - bottom))
    ax.set(xlabel="first direction", ylabel="second direction")
    key = ax.legend(loc="upper left", bbox_to_anchor=(1, 1), markerscale=1.6, handlelength=3)
    for handle, dashes in zip(key.get_lines()[1:], DASHES[: len(shifts)], strict=False):
        handle.set(
            ls=dashes, lw=2, path_effects=HALO
        )  # a class is known by the dashes of its ellipse too
    draw_plane(right, scene, "coronal", "loss added to a scan")
    fig.colorbar(colour_scale(scene), ax=right, label=scene.heat_label, shrink=0.85)
    return fig


def draw_shift(ax: Axes, shift: Shift, look: dict[str, Any]) -> None:
    """An arrow from start to end, and an ellipse of two standard deviations on either side."""
    start, end, centre = (tuple(point.tolist()) for point in shift[:3])
    values, vectors = torch.linalg.eigh(shift[3])
    short, long = (4 * values.clamp(min=0).sqrt()).tolist()
    angle = math.degrees(math.atan2(vectors[1, 1], vectors[0, 1]))
    for style in ({"ec": "black", "lw": 5}, {"lw": 2.5}):
        ax.add_patch(Ellipse(centre, long, short, angle=angle, fill=False, **look | style))
    ax.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "lw": 3, "color": "black"})


def medl(page: Page) -> Drawn:
    batch, networks = page.batch, page.method.networks
    x = torch.cat([batch.x_l, batch.unlabelled])
    alphas = [dirichlet(page.nets[role](x).logits) for role in networks]
    fused, weights = page.method.fuse_opinions(alphas, 2, page.progress)
    opinions = [opinion(alpha) for alpha in alphas]
    mass = [o.uncertainty[2] for o in (*opinions, fuse(*opinions))]
    wrong = array(fused.belief[2].argmax(0)) != page.truth
    trust, w = reliability(fused)[2], weights[0][2]
    listed = ", ".join(f"{u.mean():.3f}" for u in mass)
    surest = mass[2] <= mass[2].median()
    said = (
        f"Mean uncertainty of the first, the second and both: {listed}. Both are wrong at"
        f" {wrong.mean():.1%} of the voxels, where R is {trust[torch.from_numpy(wrong)].mean():.2f}"
        f" on average ({trust.mean():.2f} over all). Now ω is {w[surest].mean():.2f} on the surer"
        f" half and {w[~surest].mean():.2f} on the other."
    )
    top, names = float(max(u.max() for u in mass)), ("first network", "second network")
    items = {
        name: page.heat(u, "uncertainty u", heat_max=top)
        for name, u in zip((*names, "both together"), mass, strict=True)
    }
    table = LabelTable("wrong", ("right", "wrong"), (BLACK, SERIES[1]))
    items["where both are wrong"] = page.areas(wrong, table)
    alt = "Uncertainty of two networks and of their fused opinion, and where that is wrong."
    return Drawn(said, alt, items)
