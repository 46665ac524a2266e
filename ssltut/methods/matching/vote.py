"""A vote of neighbours in the place of the published match (our variants).

Three parts, each small: which voxels are unreliable (``unreliable``), what is compared
(``vectors``), and whom the references are (``references`` and the memory). A method that goes
beside another one adds which patches are matched at all (``matched_patches``, in beside.py).
"""

from collections.abc import Sequence
from math import log
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize

from ssltut.data.batch import Batch, PatchLocation
from ssltut.methods.contract import Method, Nets, Outs, Progress, Term, Terms
from ssltut.methods.losses import masked_cross_entropy
from ssltut.methods.matching.embedding_matching import Assignment, EmbeddingMatching
from ssltut.methods.matching.primitives import (
    PLACE_WIDTH,
    draw_references,
    neighbour_vote,
    place_vectors,
    surface_shell,
    voxel_vectors,
)
from ssltut.methods.matching.teacher import teacher_on_labelled, teacher_passes
from ssltut.methods.parts.memory import ReferenceMemory
from ssltut.methods.schedules import ramp
from ssltut.methods.uncertainty import MCResult, quantile_threshold, regional_mean
from ssltut.nets.base import Out, SegNet
from ssltut.options import Count, Fraction, NotNegative, OddCount, OpenShare, Share, WholeNumber

LAYERS = {"embedding": ("embedding",), "both": ("embedding", "bottleneck")}


class Voters(NamedTuple):
    """Labelled voxels that vote: vectors (R, D) and their classes (R,)."""

    vectors: Tensor
    labels: Tensor


class NeighbourVote(Method):
    """Embedding matching by a true nearest-neighbour rule, asked only where it is sure.

    It differs from the published form in four ways: the class is a vote of the nearest of many
    references, on surfaces and inside; a match counts only where the vote exceeds ``gate``; a fixed
    share of the most uncertain voxels is unreliable, so that the set does not vanish when its
    weight peaks; and each term is a mean over all voxels, so that no voxel pulls harder than
    another. A vote has no gradient, so there is no L_EN.

    w_ua, w_ps    heights of the weights of the teacher's labels and of the match
    passes        dropout passes of the teacher
    threshold     the share of the most uncertain voxels that is unreliable
    region        side in voxels of the cube that uncertainty is averaged over (1: none), so that
                  uncertain regions count and not every border
    floor         the share of ln C that this mean must reach
    layer         what is compared: the last map, or that and the bottleneck, each of length 1
    place         weight of where in its scan a voxel lies, beside what it looks like
    k, redraws    surface references a class: ``redraws`` draws of ``k``
    band          voxels on either side of a surface that count as the surface
    interior      further references a class from anywhere inside it
    memory        references a class remembered across scans; they join those of the batch
    neighbours    how many references vote
    gate          a match counts only where more than this share of the vote agrees
    """

    name, title, year = "neighbour_vote", "embedding matching, neighbour vote", 2024
    paper = f"ours, after {EmbeddingMatching.paper}"
    fidelity = "adapted"
    ideas: ClassVar[tuple[str, ...]] = EmbeddingMatching.ideas
    loss_weights: ClassVar[tuple[str, ...]] = EmbeddingMatching.loss_weights
    networks = EmbeddingMatching.networks
    retired = EmbeddingMatching.retired | {
        "use": ("UA", "NN"),
        "normalise": "all",
        "kernel": "vote",
    }

    w_ua: NotNegative = 0.25
    w_ps: NotNegative = 0.125
    passes: Count = 5
    threshold: OpenShare = 0.05
    region: OddCount = 1
    floor: Share = 0.0
    layer: Literal["embedding", "both"] = "embedding"
    place: NotNegative = 0.0
    k: Count = 120
    redraws: Count = 5
    band: Count = 2
    interior: WholeNumber = 400
    memory: WholeNumber = 0
    neighbours: Count = 9
    gate: Share = 0.85
    ema_decay: Fraction = 0.99
    sigma_teacher: NotNegative = 0.01

    def decay_at(self, progress: Progress) -> float:
        return self.ema_decay

    def extra_modules(self, student: SegNet, n_classes: int) -> dict[str, nn.Module]:
        if not self.memory:
            return {}
        width = student.classifier.in_channels
        if self.layer == "both":
            width += width * student.factor
        if self.place:
            width += PLACE_WIDTH
        return {"memory": ReferenceMemory(n_classes, self.memory, width)}

    def forward(self, batch: Batch, nets: Nets, progress: Progress) -> Outs:
        return super().forward(batch, nets, progress) | self.teach(batch, nets)

    def teach(self, batch: Batch, nets: Nets) -> Outs:
        """What the teacher says, and whom it gives to vote."""
        passes = teacher_passes(batch, nets, self.passes, self.sigma_teacher)
        return {"passes": passes, "references": self.references(batch, nets)}

    def references(self, batch: Batch, nets: Nets) -> Voters:
        """Surface and interior references of the labelled patches, by the teacher."""
        out = teacher_on_labelled(batch, nets, self.sigma_teacher)
        bank = self.vectors(out, batch.locations_l)
        shell = surface_shell(batch.y_l, self.band)
        regions = [("references", shell, self.k, self.redraws)]
        if self.interior:
            regions.append(("interior", torch.ones_like(shell), self.interior, 1))
        vectors, labels, n = [], [], batch.n_classes
        for key, region, k, redraws in regions:
            draws = batch.generator(key)
            drawn = draw_references(batch.y_l, region, n, k=k, redraws=redraws, generator=draws)
            for c in torch.nonzero(drawn.present)[:, 0].tolist():
                vectors.append(bank[drawn.voxels[c].flatten()])
                labels.append(torch.full((k * redraws,), c, device=bank.device))
        return Voters(torch.cat(vectors), torch.cat(labels))

    def vectors(self, out: Out, locations: Sequence[PatchLocation] = ()) -> Tensor:
        """What is compared: a vector for every voxel, (B * X * Y * Z, D).

        A coarser map is brought to full resolution. Parts of constant length add up in a cosine.
        """
        shape = out.logits.shape[2:]
        maps = [out.feats[layer] for layer in LAYERS[self.layer]]
        maps = [
            m if m.shape[2:] == shape else interpolate(m, shape, mode="trilinear") for m in maps
        ]
        if len(maps) > 1 or self.place:
            maps = [normalize(m, dim=1) for m in maps]
        parts = [voxel_vectors(m) for m in maps]
        if self.place:
            parts.append(self.place**0.5 * place_vectors(locations, shape, out.logits.device))
        return torch.cat(parts, dim=1)

    def unreliable(self, passes: MCResult) -> tuple[Tensor, Tensor]:
        """Uncertainty, and which voxels are unreliable: the most uncertain, above the floor.

        Both (B, X, Y, Z).
        """
        uncertainty = regional_mean(passes.mean_of_entropies, self.region)
        floor = self.floor * log(passes.mean.shape[1])
        limit = max(quantile_threshold(uncertainty, self.threshold), floor)
        return uncertainty, uncertainty >= limit

    def matched_patches(self, batch: Batch, nets: Nets, shares: Tensor) -> Tensor:
        """Which unlabelled patches are matched, (B,) bool; ``shares`` of each are unreliable."""
        return torch.ones_like(shares, dtype=torch.bool)

    def assign(self, batch: Batch, nets: Nets, outs: Outs, progress: Progress) -> Assignment:
        """Split the unlabelled voxels and label them."""
        passes: MCResult = outs["passes"]
        teacher = passes.mean.argmax(1)
        uncertainty, unreliable = self.unreliable(passes)
        matched = self.matched_patches(batch, nets, unreliable.float().mean((1, 2, 3)))
        unreliable &= matched[:, None, None, None]
        query = self.vectors(outs["student"].unlabelled, batch.locations_u)
        scores = self.vote(batch, nets, outs["references"], query[unreliable.flatten()])
        if scores is None:
            nowhere = torch.zeros_like(unreliable)
            return Assignment(uncertainty, unreliable, teacher, teacher, nowhere, None)
        votes, best = scores.max(1)
        match = teacher.masked_scatter(unreliable, best)
        trusted = torch.zeros_like(unreliable).masked_scatter(unreliable, votes > self.gate)
        return Assignment(uncertainty, unreliable, teacher, match, trusted, scores)

    def vote(self, batch: Batch, nets: Nets, references: Voters, query: Tensor) -> Tensor | None:
        """Share of the vote of every class for vectors ``query`` (N, D), (N, C).

        Remembered references vote as well. None without two classes and enough neighbours.
        """
        vectors, labels = references
        if self.memory:
            old_vectors, old_labels = nets["memory"].recall()
            vectors, labels = torch.cat([vectors, old_vectors]), torch.cat([labels, old_labels])
        if len(labels.unique()) < 2 or len(labels) < self.neighbours:
            return None
        return neighbour_vote(query.detach(), vectors, labels, batch.n_classes, self.neighbours)

    def terms(self, batch: Batch, nets: Nets, outs: Outs, progress: Progress) -> Terms:
        found = self.assign(batch, nets, outs, progress)
        logits = [outs["student"].unlabelled.logits]
        return self.labelled(batch, outs) | self.vote_terms(found, logits, ramp(progress.frac))

    def vote_terms(self, found: Assignment, logits: Sequence[Tensor], rise: float) -> Terms:
        """Cross-entropy to teacher and match of every network that is taught, added up."""
        taught = {
            "reliable": (found.teacher, ~found.unreliable, self.w_ua),
            "match": (found.match, found.trusted, self.w_ps),
        }
        terms = {}
        for name, (label, mask, weight) in taught.items():
            if weight:
                values = [masked_cross_entropy(z, label, mask, "all") for z in logits]
                total = sum(values[1:], values[0])
                terms[name] = Term(total, weight * rise, mask.float().mean().item())
        return terms

    def update(self, batch: Batch, nets: Nets, outs: Outs, progress: Progress) -> None:
        super().update(batch, nets, outs, progress)
        if self.memory and "references" in outs:
            nets["memory"].store(*outs["references"])


class RegionVote(NeighbourVote):
    """The neighbour vote, asked only in uncertain regions: not at every border.

    On a scan like the labelled ones the uncertain voxels are those of the borders, and there the
    student is right more often than any match. On a scan that shows something new (a nail in the
    femur) whole regions are uncertain, and there it is the other way round. So uncertainty is
    averaged over cubes of 7 voxels, and only what then reaches 0.18 ln C is matched, at most a
    tenth of the voxels. Embedding and bottleneck vote together, as on something new the last map
    says what a voxel looks like and the bottleneck where it is; 300 references a class are
    remembered, as two patches hold few places; and a matched voxel pulls like a labelled one.
    """

    name, title = "region_vote", "embedding matching, region vote"

    threshold: OpenShare = 0.1
    region: OddCount = 7
    floor: Share = 0.18
    layer: Literal["embedding", "both"] = "both"
    memory: WholeNumber = 300
    w_ps: NotNegative = 1.0
