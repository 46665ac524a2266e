"""Semi-Supervised Segmentation via Embedding Matching (Xie et al. 2024), and its variant with a
neighbour vote.
"""

from math import log
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize

from ssltut.data.batch import Batch, PatchLocation
from ssltut.errors import ConfigError
from ssltut.methods.classic.mean_teacher import MeanTeacher
from ssltut.methods.contract import PARTS, Nets, Progress, Term, Terms, supervised
from ssltut.methods.losses import entropy, masked_cross_entropy, masked_mean, supervised_loss
from ssltut.methods.matching.primitives import (
    KERNELS,
    PLACE_WIDTH,
    draw_references,
    neighbour_vote,
    place_vectors,
    similarity,
    surface_shell,
    voxel_vectors,
)
from ssltut.methods.parts.memory import ReferenceMemory
from ssltut.methods.schedules import ramp
from ssltut.methods.uncertainty import (
    mc_dropout,
    published_threshold,
    quantile_threshold,
    regional_mean,
)
from ssltut.nets.base import Out, SegNet

TERMS = ("UA", "NN", "EN")


class Assignment(NamedTuple):
    """Where every voxel of the unlabelled patches gets its label from; spatial shape (B, X, Y, Z).

    uncertainty (nats, the mean over its ``region``); unreliable (bool); teacher (int64, argmax of
    the mean of the passes); match (int64, the class of the most similar references); trusted (bool,
    unreliable voxels whose match passes the gate); scores (N, C) similarity or vote of the N
    unreliable voxels, -inf for classes without references, or None where nothing could be matched.
    """

    uncertainty: Tensor
    unreliable: Tensor
    teacher: Tensor
    match: Tensor
    trusted: Tensor
    scores: Tensor | None


class EmbeddingMatching(MeanTeacher):
    """Every unlabelled voxel gets a label: the teacher's where it is sure, that of the most similar
    labelled surface voxels elsewhere.

    Published form (the defaults), with t/T the fraction of training, H the mean entropy of M = 5
    dropout + noise passes of the teacher:
      L = L_S + w_UA L_UA + w_PS (L_NN + L_EN), w_UA = 0.25 ramp(t/T), w_PS = 0.125 ramp(t/T)
      UA  cross-entropy to the teacher's hard label where H < λ_T = (0.75 + 0.25 ramp(t/T)) ln C
      NN  cross-entropy elsewhere to the class with the highest similarity K between the student's
          embedding and k = 16 teacher embeddings of labelled surface voxels a class, averaged over
          l = 5 redraws
      EN  entropy there of softmax(K), minimised through the student's embedding (no temperature)
    Unpublished, decided here: the teacher's label is the argmax of the mean of the passes;
    references come from the labelled half of the batch, embedded by the teacher in eval mode under
    its noise; the surface band is 2 voxels; EN runs over the unreliable voxels. Extension: C > 2
    classes (one set of references a class, ln C), classes absent from the labelled patches are left
    out.

    use           which unlabelled terms are on (ablation)
    uncertainty   "mean_of_entropies" (published) or "entropy_of_mean" (UA-MT's)
    threshold     "published", or the share of most uncertain voxels that counts as unreliable, e.g.
                  0.05
    region        side in voxels of the cube that uncertainty is averaged over (1 as published):
                  uncertain regions, not every border
    floor         share of ln C that uncertainty must reach before a voxel counts as unreliable (0
                  as published)
    normalise     "set": each term is a mean over its own voxels (published); "all": over all voxels
                  of the patches
    kernel        "mean_cosine" (published), "max_cosine", "mean_euclid", "max_euclid", or "vote" of
                  the ``neighbours`` nearest references
    interior      further references a class from anywhere inside it (0 as published)
    memory        references a class remembered across scans (0 as published); they join those of
                  the batch in the vote
    gate          a match counts only where its vote exceeds this share (0: always)
    mutual        only references that have the voxel among their own nearest voxels vote (False as
                  published)
    query         whose embeddings of the unlabelled voxels are matched: "student" (published) or
                  "teacher"
    layer         which map is matched: "embedding" (the last, published), "half" (the one before,
                  at half resolution), "bottleneck", or "both": the last and the bottleneck, each of
                  length 1, so that detail and surroundings count alike
    place         weight of where in its scan a voxel lies, beside a map that is matched (0 as
                  published: only what it looks like counts)
    share         of the voxels of a patch that must be unreliable for the patch to be matched (0 as
                  published): fewer are borders, nothing new
    rampup        fraction of training at which the weights reach their height (1 as published)
    """

    name = "embedding_matching"
    title = "embedding matching"
    paper = "Xie et al., MIDL 2024, PMLR 250:1741-1753, arXiv:2407.04638"
    year = 2024
    ideas = ("pseudo-labels", "prototypes", "evidence")

    w_ua: float = 0.25
    w_ps: float = 0.125
    use: tuple[str, ...] = TERMS
    passes: int = 5
    uncertainty: str = "mean_of_entropies"
    threshold: str | float = "published"
    region: int = 1
    floor: float = 0.0
    normalise: str = "set"
    kernel: str = "mean_cosine"
    k: int = 16
    redraws: int = 5
    band: int = 2
    interior: int = 0
    memory: int = 0
    neighbours: int = 9
    gate: float = 0.0
    mutual: bool = False
    query: str = "student"
    layer: str = "embedding"
    place: float = 0.0
    share: float = 0.0
    rampup: float = 1.0
    ema_warmup: bool = False
    sigma_teacher: float = 0.01

    def __post_init__(self) -> None:
        choices = {
            "uncertainty": ("mean_of_entropies", "entropy_of_mean"),
            "kernel": (*KERNELS, "vote"),
            "query": ("student", "teacher"),
            "normalise": ("set", "all"),
            "layer": ("embedding", "half", "bottleneck", "both"),
        }
        for option, allowed in choices.items():
            if getattr(self, option) not in allowed:
                raise ConfigError(
                    f"{option} is {getattr(self, option)!r}",
                    where=self.name,
                    fix=f"use one of {', '.join(allowed)}",
                )
        if self.threshold != "published" and not (
            isinstance(self.threshold, float) and 0.0 < self.threshold < 1.0
        ):
            raise ConfigError(
                f"threshold is {self.threshold!r}",
                where=self.name,
                fix="use published, or a share between 0 and 1 such as 0.05",
            )
        for option in ("passes", "k", "redraws", "band", "neighbours"):
            if getattr(self, option) < 1:
                raise ConfigError(
                    f"{option} is {getattr(self, option)}",
                    where=self.name,
                    fix="give a number of at least 1",
                )
        if self.region < 1 or self.region % 2 == 0:
            raise ConfigError(
                f"region is {self.region}",
                where=self.name,
                fix="give an odd number of voxels, such as 7, or 1 for none",
            )
        shares = {"floor": "a share of ln C", "share": "a share of the voxels of a patch"}
        for option, what in shares.items():
            if not 0.0 <= getattr(self, option) < 1.0:
                raise ConfigError(
                    f"{option} is {getattr(self, option)}",
                    where=self.name,
                    fix=f"give {what} of at least 0, below 1",
                )
        if self.place < 0.0:
            raise ConfigError(
                f"place is {self.place}", where=self.name, fix="give a weight of at least 0"
            )
        if not 0.0 < self.rampup <= 1.0:
            raise ConfigError(
                f"rampup is {self.rampup}",
                where=self.name,
                fix="give a fraction of training above 0, at most 1",
            )
        if set(self.use) - set(TERMS):
            raise ConfigError(
                f"use is {self.use}", where=self.name, fix=f"choose among {', '.join(TERMS)}"
            )
        if self.kernel != "vote" and (self.interior or self.memory or self.gate or self.mutual):
            raise ConfigError(
                "interior references, a memory, a gate and mutual neighbours need neighbours to"
                " vote",
                where=self.name,
                fix="set kernel='vote'",
            )
        if self.kernel == "vote" and "EN" in self.use:
            raise ConfigError(
                "the entropy term needs a similarity with a gradient, a vote has none",
                where=self.name,
                fix="use UA and NN",
            )

    def extra_modules(self, student: SegNet, n_classes: int) -> dict[str, nn.Module]:
        wider = {
            "embedding": 1,
            "half": 2,
            "bottleneck": student.factor,
            "both": 1 + student.factor,
        }[self.layer]
        wide = wider * student.classifier.in_channels + (PLACE_WIDTH if self.place else 0)
        return {"memory": ReferenceMemory(n_classes, self.memory, wide)} if self.memory else {}

    def forward(self, batch: Batch, nets: Nets, progress: Progress) -> None:
        """All passes are in ``terms``."""

    def terms(self, batch: Batch, nets: Nets, outs: None, progress: Progress) -> Terms:
        if (
            batch.x_u is None or not self.wanted()
        ):  # nothing of the unlabelled patches may act, batch statistics included
            return {"supervised": supervised(self.see(batch, nets, PARTS[:1]), batch)}
        out = self.see(batch, nets)
        labelled, student = out.labelled, out.unlabelled
        return {"supervised": Term(supervised_loss(labelled.logits, batch.y_l))} | self.unlabelled(
            batch, nets, progress, student
        )

    def wanted(self) -> list[str]:
        """The unlabelled terms that are on and have a weight."""
        return [term for term in self.use if (self.w_ua if term == "UA" else self.w_ps)]

    def unlabelled(
        self, batch: Batch, nets: Nets, progress: Progress, student: Out, *others: Tensor
    ) -> dict[str, Term]:
        """L_UA, L_NN and L_EN, as far as they are wanted; ``student`` is what the student gives for
        the unlabelled patches.

        ``others``: logits of further networks for these patches; they are taught the same labels,
        and the cross-entropies add up.
        """
        use, taught, terms = self.wanted(), (student.logits, *others), {}
        found = self.assign(batch, nets, progress, self.vectors(student, batch.locations_u))
        rise = ramp(progress.frac / self.rampup)
        if "UA" in use:
            reliable = ~found.unreliable
            value = sum(
                masked_cross_entropy(logits, found.teacher, reliable, self.normalise)
                for logits in taught
            )
            terms["reliable"] = Term(value, self.w_ua * rise, reliable.float().mean().item())
        if "NN" in use:
            value = sum(
                masked_cross_entropy(logits, found.match, found.trusted, self.normalise)
                for logits in taught
            )
            terms["match"] = Term(value, self.w_ps * rise, found.trusted.float().mean().item())
        if "EN" in use and found.scores is not None:
            voxels = torch.zeros_like(found.uncertainty).masked_scatter(
                found.unreliable, entropy(found.scores.softmax(1))
            )
            value = masked_mean(voxels, found.unreliable, self.normalise)
            terms["entropy"] = Term(value, self.w_ps * rise, found.unreliable.float().mean().item())
        return terms

    def assign(
        self, batch: Batch, nets: Nets, progress: Progress, student_embedding: Tensor
    ) -> Assignment:
        """Split the unlabelled voxels and label them; ``student_embedding`` (B * X * Y * Z, D)
        keeps its graph in ``scores``.
        """
        views = (batch.noise(self.sigma_teacher, "mc", m)(batch.x_u) for m in range(self.passes))
        passes = mc_dropout(nets["teacher"], views)
        uncertainty = regional_mean(getattr(passes, self.uncertainty), self.region)
        if self.threshold == "published":
            limit = published_threshold(progress.frac, batch.n_classes)
        else:
            limit = quantile_threshold(uncertainty, self.threshold)
        unreliable, teacher = (
            uncertainty >= max(limit, self.floor * log(batch.n_classes)),
            passes.mean.argmax(1),
        )
        unreliable &= self.asked(batch, nets, unreliable.float().mean((1, 2, 3)))[
            :, None, None, None
        ]
        embedding = (
            student_embedding
            if self.query == "student"
            else self.teacher_embedding(batch, nets, labelled=False)
        )
        scores = self.match(batch, nets, embedding[unreliable.flatten()])
        if scores is None:
            return Assignment(
                uncertainty, unreliable, teacher, teacher, torch.zeros_like(unreliable), None
            )
        best = scores.detach().max(1)
        votes = (
            best.values if self.kernel == "vote" else torch.ones_like(best.values)
        )  # 0: no mutual neighbour, so no answer
        match = teacher.masked_scatter(
            unreliable, torch.where(votes > 0, best.indices, teacher[unreliable])
        )
        trusted = torch.zeros_like(unreliable).masked_scatter(unreliable, votes > self.gate)
        return Assignment(uncertainty, unreliable, teacher, match, trusted, scores)

    def asked(self, batch: Batch, nets: Nets, shares: Tensor) -> Tensor:
        """Which unlabelled patches are matched, (B,) bool; ``shares`` (B,) is how much of each is
        unreliable.
        """
        return shares >= self.share

    def match(self, batch: Batch, nets: Nets, query: Tensor) -> Tensor | None:
        """Similarity, or share of the vote, of every class for embeddings ``query`` (N, D) -> (N,
        C); None without two classes to choose.
        """
        shell = surface_shell(batch.y_l, self.band)
        draws = batch.generator("references")
        references = draw_references(
            batch.y_l, shell, batch.n_classes, k=self.k, redraws=self.redraws, generator=draws
        )
        bank = self.teacher_embedding(batch, nets, labelled=True)
        if self.kernel == "vote":
            return self.vote(batch, nets, bank, references, query)
        if references.present.sum() < 2:
            return None
        scores = similarity(bank[references.index], query, self.kernel)
        return scores.masked_fill(~references.present[:, None], float("-inf")).T

    def vote(self, batch: Batch, nets: Nets, bank: Tensor, surface, query: Tensor) -> Tensor | None:
        """Neighbour vote over surface, interior and remembered references."""
        drawn = [surface]
        if self.interior:
            anywhere = torch.ones_like(batch.y_l, dtype=torch.bool)
            generator = batch.generator("interior")
            drawn.append(
                draw_references(
                    batch.y_l,
                    anywhere,
                    batch.n_classes,
                    k=self.interior,
                    redraws=1,
                    generator=generator,
                )
            )
        vectors, labels = [], []
        for references in drawn:
            for c in torch.nonzero(references.present)[:, 0].tolist():
                vectors.append(bank[references.index[c].flatten()])
                labels.append(torch.full((len(vectors[-1]),), c, device=bank.device))
        vectors, labels = torch.cat(vectors), torch.cat(labels)
        if self.memory:
            memory: ReferenceMemory = nets["memory"]
            old_vectors, old_labels = memory.recall()
            memory.store(vectors, labels)
            vectors, labels = torch.cat([vectors, old_vectors]), torch.cat([labels, old_labels])
        if len(labels.unique()) < 2 or len(labels) < self.neighbours:
            return None
        return neighbour_vote(
            query.detach(), vectors, labels, batch.n_classes, self.neighbours, mutual=self.mutual
        )

    @torch.no_grad()
    def teacher_embedding(self, batch: Batch, nets: Nets, *, labelled: bool) -> Tensor:
        """(B * X * Y * Z, D) embeddings of the labelled or the unlabelled patches by the teacher in
        eval mode, under its noise.
        """
        x, places = (batch.x_l, batch.locations_l) if labelled else (batch.x_u, batch.locations_u)
        noisy = batch.noise(self.sigma_teacher, "teacher", tuple(x.shape), labelled)(x)
        return self.vectors(nets["teacher"](noisy), places)

    def vectors(self, out: Out, places: tuple[PatchLocation, ...] = ()) -> Tensor:
        """What is matched: a vector of the chosen map for every voxel, (B * X * Y * Z, D); a
        coarser map is brought to full resolution.

        ``places`` of the patches count with weight ``place`` (and may be left out where that is 0).
        """
        maps = [
            out.feats[layer]
            for layer in (("embedding", "bottleneck") if self.layer == "both" else (self.layer,))
        ]
        maps = [
            (
                found
                if found.shape[2:] == out.logits.shape[2:]
                else interpolate(found, out.logits.shape[2:], mode="trilinear")
            )
            for found in maps
        ]
        if len(maps) > 1 or self.place:
            maps = [normalize(found, dim=1) for found in maps]
        vectors = [voxel_vectors(found) for found in maps]
        if self.place:
            vectors.append(
                self.place**0.5 * place_vectors(places, out.logits.shape[2:], out.logits.device)
            )
        return torch.cat(vectors, dim=1)  # parts of constant length add up in a cosine


class NeighbourVote(EmbeddingMatching):
    """Embedding matching with a neighbour vote (our variant): a true nearest-neighbour rule, asked
    only where it is sure.

    Differs from the published form in four named options: the class is a vote of the 9 nearest of
    many surface and interior references; a match counts only where the vote exceeds 0.85; the
    unreliable voxels are the 5 % most uncertain ones throughout, so the set does not vanish when
    its weight peaks; terms are means over all voxels, so no voxel pulls harder than another. A vote
    has no gradient, so no EN.
    """

    name = "neighbour_vote"
    title = "embedding matching, neighbour vote"
    exact = False

    use: tuple[str, ...] = ("UA", "NN")
    threshold: str | float = 0.05
    normalise: str = "all"
    kernel: str = "vote"
    k: int = 120
    interior: int = 400
    gate: float = 0.85
