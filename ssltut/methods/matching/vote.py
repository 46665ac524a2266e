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
from ssltut.methods.losses import masked_cross_entropy, sum_of
from ssltut.methods.matching import primitives
from ssltut.methods.matching.embedding_matching import Assignment, EmbeddingMatching, embed_labelled
from ssltut.methods.parts.memory import ReferenceMemory
from ssltut.methods.schedules import ramp
from ssltut.methods.uncertainty import MCResult, mc_passes, quantile_threshold, regional_mean
from ssltut.nets.base import Out, SegNet
from ssltut.options import (
    Count,
    Fraction,
    NotNegative,
    OddCount,
    OpenShare,
    Positive,
    Share,
    WholeNumber,
)

By = Literal["embedding", "looks", "place", "both"]
# What a vote compares: maps of the network, and whether also where in its scan a voxel lies.
BY: dict[By, tuple[tuple[str, ...], bool]] = {
    "embedding": (("embedding",), False),
    "looks": (("embedding", "bottleneck"), False),
    "place": ((), True),
    "both": (("embedding", "bottleneck"), True),
}


class Voters(NamedTuple):
    """Labelled voxels that vote: vectors (R, D) and their classes (R,)."""

    vectors: Tensor
    labels: Tensor


class NeighbourVote(Method):
    """Embedding matching by a true nearest-neighbour rule, asked only where it is sure (ours).

    It differs from the published form in four ways: the class is a vote of the nearest of many
    references, on surfaces and inside; a match counts only where the vote exceeds ``gate``; a fixed
    share of the most uncertain voxels (entropy of all classes) is unreliable, so that the set does
    not vanish when its weight peaks; and each term is a mean over all voxels, so that no voxel
    pulls harder than another. A vote has no gradient, so there is no L_EN.

    option         published  ours         why
    w_ua           0.25       0.25         height of the weight of the teacher's labels
    w_ps           0.125      0.125        of the match
    passes         5          5            dropout passes of the teacher
    threshold      -          0.05         the share of the most uncertain voxels
    region         -          1            side in voxels of the cube that uncertainty is averaged
                                           over (1: none): uncertain regions and not every border
    floor          -          0.0          the share of ln C that this mean must reach
    by             -          'embedding'  what is compared (BY), each part of length 1
    place          -          100.0        weight of where in its scan a voxel lies, by 'both'
    k              16         120          surface references a class and draw
    redraws        5          5            draws
    band           -          2            voxels on either side of a surface
    interior       -          400          further references a class, from anywhere inside it
    memory         -          0            references a class from earlier steps, beside the batch's
    neighbours     -          9            how many references vote
    gate           -          0.85         a match counts where more of the vote agrees
    ema_decay      0.99       0.99
    sigma_teacher  0.01       0.01
    """

    name, title, year = "neighbour_vote", "embedding matching, neighbour vote", 2024
    paper = f"ours, after {EmbeddingMatching.paper}"
    fidelity = "adapted"
    ideas: ClassVar[tuple[str, ...]] = EmbeddingMatching.ideas
    loss_weights: ClassVar[tuple[str, ...]] = EmbeddingMatching.loss_weights
    networks = EmbeddingMatching.networks

    w_ua: NotNegative = 0.25
    w_ps: NotNegative = 0.125
    passes: Count = 5
    threshold: OpenShare = 0.05
    region: OddCount = 1
    floor: Share = 0.0
    by: By = "embedding"
    place: Positive = 100.0
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
        names, placed = BY[self.by]
        width = student.classifier.in_channels
        widths = {"embedding": width, "bottleneck": width * student.factor}
        total = sum(widths[name] for name in names) + (primitives.PLACE_WIDTH if placed else 0)
        return {"memory": ReferenceMemory(n_classes, self.memory, total)}

    def forward(self, batch: Batch, nets: Nets, progress: Progress) -> Outs:
        return super().forward(batch, nets, progress) | self.teach(batch, nets)

    def teach(self, batch: Batch, nets: Nets) -> Outs:
        """What the teacher says, and whom it gives to vote."""
        passes = mc_passes(batch, nets["teacher"], self.passes, self.sigma_teacher)
        return {"passes": passes, "references": self.references(batch, nets)}

    def references(self, batch: Batch, nets: Nets) -> Voters:
        """Surface and interior references of the labelled patches, by the teacher."""
        bank = self.vectors(embed_labelled(batch, nets, self.sigma_teacher), batch.locations_l)
        shell = primitives.surface_shell(batch.y_l, self.band)
        regions = [("references", shell, self.k, self.redraws)]
        if self.interior:
            regions.append(("interior", torch.ones_like(shell), self.interior, 1))
        voxels, n = [], batch.n_classes
        for key, region, k, redraws in regions:
            draws = batch.generator(key)
            drawn = primitives.draw_references(
                batch.y_l, region, n, k=k, redraws=redraws, generator=draws
            )
            voxels.append(drawn.voxels[drawn.present].flatten())
        chosen = torch.cat(voxels)
        return Voters(bank[chosen], batch.y_l.flatten()[chosen])

    def vectors(self, out: Out, locations: Sequence[PatchLocation] = ()) -> Tensor:
        """What is compared: parts of constant length for every voxel, (B * X * Y * Z, D)."""
        names, placed = BY[self.by]
        shape = out.logits.shape[2:]
        parts = []
        for name in names:
            maps = out.feats[name]
            if maps.shape[2:] != shape:
                maps = interpolate(maps, shape, mode="trilinear")
            parts.append(primitives.voxel_vectors(normalize(maps.float(), dim=1)))
        if placed:
            places = primitives.place_vectors(locations, shape, out.logits.device)
            parts.append(self.place**0.5 * places)
        return torch.cat(parts, dim=1)

    def unreliable(self, passes: MCResult) -> tuple[Tensor, Tensor]:
        """Uncertainty and, above threshold and floor, which voxels are unreliable, (B, X, Y, Z)."""
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
        teacher = passes.mean.max(1).indices
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
        """Shares of the vote for ``query`` (N, D), (N, C); None without two classes and enough."""
        vectors, labels = references
        if self.memory:
            old_vectors, old_labels = nets["memory"].recall()
            vectors, labels = torch.cat([vectors, old_vectors]), torch.cat([labels, old_labels])
        if len(labels.unique()) < 2 or len(labels) < self.neighbours:
            return None
        return primitives.neighbour_vote(query, vectors, labels, batch.n_classes, self.neighbours)

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
                terms[name] = Term(sum_of(values), weight * rise, mask.float().mean().item())
        return terms

    def update(self, batch: Batch, nets: Nets, outs: Outs, progress: Progress) -> None:
        super().update(batch, nets, outs, progress)
        if self.memory and "references" in outs:
            nets["memory"].store(*outs["references"])


class RegionVote(NeighbourVote):
    """The neighbour vote, asked only in uncertain regions: not at every border (ours).

    On a scan like the labelled ones the uncertain voxels are those of the borders, and there the
    student is right more often than any match. On a scan that shows something new (a nail in the
    femur) whole regions are uncertain, and there it is the other way round.

    option     published  ours     why
    w_ps       0.125      1.0      a matched voxel pulls like a labelled one
    threshold  -          0.1      at most a tenth of the voxels
    region     -          7        uncertainty is averaged over cubes of so many voxels
    floor      -          0.18     and what then reaches 0.18 ln C is matched
    by         -          'looks'  on something new the last map says what a voxel looks like, the
                                   bottleneck where it is
    memory     -          300      two patches hold few places

    The other options are those of the neighbour vote.
    """

    name, title = "region_vote", "embedding matching, region vote"

    threshold: OpenShare = 0.1
    region: OddCount = 7
    floor: Share = 0.18
    by: By = "looks"
    memory: WholeNumber = 300
    w_ps: NotNegative = 1.0
