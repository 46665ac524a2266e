"""Semi-Supervised Segmentation via Embedding Matching (Xie et al., MIDL 2024), as published.

Our variants are beside this file: a vote of neighbours (vote.py), beside others (beside.py).
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ssltut.data.batch import Batch
from ssltut.methods.contract import Method, Nets, Network, Outs, Progress, Term, Terms
from ssltut.methods.losses import entropy, masked_cross_entropy
from ssltut.methods.matching import primitives
from ssltut.methods.schedules import ramp
from ssltut.methods.uncertainty import Classes, mc_passes, published_threshold, quantile_threshold
from ssltut.nets.base import Out
from ssltut.options import Count, Fraction, NotNegative, OpenShare


class Assignment(NamedTuple):
    """Where every voxel of the unlabelled patches gets its label from, (B, X, Y, Z) each."""

    uncertainty: Tensor  # nats
    unreliable: Tensor  # bool: the uncertainty reaches the threshold
    teacher: Tensor  # int64: the teacher's label
    match: Tensor  # int64: the class of the most similar references, the teacher's elsewhere
    trusted: Tensor  # bool: unreliable voxels whose match counts
    # (N, C) similarity of the N unreliable voxels to each class, -inf for one without references;
    # None where nothing could be matched.
    scores: Tensor | None


class EmbeddingMatching(Method):
    """Every unlabelled voxel gets a label: the teacher's, or that of similar labelled voxels.

    The teacher's where it is sure; elsewhere that of the most similar labelled surface voxels.

      L = L_S + w_UA L_UA + w_PS (L_NN + L_EN), with w_UA = 0.25 ramp(t/T), w_PS = 0.125 ramp(t/T)

    The steps are those of the paper's method section, in its order; its task is bone against rest
    (``Cohort.as_bone``). With more than two classes, our extension, there is one set of references
    a class, and a class that is absent from the labelled patches is left out.

    option         published           ours                why
    w_ua           0.25                0.25                height of the weight of L_UA
    w_ps           0.125               0.125               of L_NN and L_EN, both where unreliable
    use            ('UA', 'NN', 'EN')  ('UA', 'NN', 'EN')  the terms that are on
    passes         5                   5                   M; the argmax of their mean is the label
    threshold      'published'         'published'         λ_T, or the share of unreliable voxels
    classes        -                   'two'               of more than two the most probable 'two',
                                                           against ln 2, or 'all', against ln C
    kernel         'mean_cosine'       'mean_cosine'       K; the paper compares all four
    k              16                  16                  references a class from the labelled
                                                           patches, by the teacher in eval mode
    redraws        5                   5                   l, how often they are drawn anew
    band           -                   2                   voxels on either side of a surface
    ema_decay      0.99                0.99                of the teacher
    sigma_teacher  0.01                0.01                noise on what the teacher sees
    """

    name, title, year = "embedding_matching", "embedding matching", 2024
    paper = "Xie et al., MIDL 2024, PMLR 250:1741-1753, arXiv:2407.04638"
    ideas = ("pseudo-labels", "prototypes", "evidence")
    loss_weights = ("w_ua", "w_ps")
    networks = {"student": Network(), "teacher": Network(ema_of="student")}

    w_ua: NotNegative = 0.25
    w_ps: NotNegative = 0.125
    use: tuple[Literal["UA", "NN", "EN"], ...] = ("UA", "NN", "EN")
    passes: Count = 5
    threshold: Literal["published"] | OpenShare = "published"
    classes: Classes = "two"
    kernel: primitives.Kernel = "mean_cosine"
    k: Count = 16
    redraws: Count = 5
    band: Count = 2
    ema_decay: Fraction = 0.99
    sigma_teacher: NotNegative = 0.01

    def decay_at(self, progress: Progress) -> float:
        return self.ema_decay

    def forward(self, batch: Batch, nets: Nets, progress: Progress) -> Outs:
        return super().forward(batch, nets, progress) | self.teach(batch, nets)

    def teach(self, batch: Batch, nets: Nets) -> Outs:
        """What the teacher says: of the unlabelled patches in M passes, of the labelled in one."""
        passes = mc_passes(batch, nets["teacher"], self.passes, self.sigma_teacher, self.classes)
        references = embed_labelled(batch, nets, self.sigma_teacher)
        return {"passes": passes, "references": references}

    def assign(self, batch: Batch, nets: Nets, outs: Outs, progress: Progress) -> Assignment:
        """Split the unlabelled voxels and label them."""
        # Step 1: H(x), the mean over the passes of their entropies.
        passes = outs["passes"]
        uncertainty = passes.mean_of_entropies
        # Step 2: unreliable where H >= λ_T = (0.75 + 0.25 ramp(t/T)) ln 2.
        if self.threshold == "published":
            limit = published_threshold(progress.frac, batch.n_classes, self.classes)
        else:
            limit = quantile_threshold(uncertainty, self.threshold)
        unreliable = uncertainty >= limit
        # Step 3: the teacher's hard label.
        teacher = passes.mean.max(1).indices
        # Steps 4 and 5: K, the similarity to references of each class.
        student: Out = outs["student"].unlabelled
        query = primitives.voxel_vectors(student.feats["embedding"])[unreliable.flatten()]
        scores = self.similarities(batch, outs["references"], query)
        if scores is None:
            nowhere = torch.zeros_like(unreliable)
            return Assignment(uncertainty, unreliable, teacher, teacher, nowhere, None)
        # Step 6: the label of the most similar class.
        match = teacher.masked_scatter(unreliable, scores.detach().max(1).indices)
        return Assignment(uncertainty, unreliable, teacher, match, unreliable, scores)

    def similarities(self, batch: Batch, references: Out, query: Tensor) -> Tensor | None:
        """K of every class for embeddings ``query`` (N, D), (N, C); None without two classes."""
        shell, n = primitives.surface_shell(batch.y_l, self.band), batch.n_classes
        draws = batch.generator("references")
        drawn = primitives.draw_references(
            batch.y_l, shell, n, k=self.k, redraws=self.redraws, generator=draws
        )
        if drawn.present.sum() < 2:
            return None
        bank = primitives.voxel_vectors(references.feats["embedding"])[drawn.voxels]
        scores = primitives.similarity(bank, query, self.kernel)
        return scores.masked_fill(~drawn.present[:, None], float("-inf")).T

    def terms(self, batch: Batch, nets: Nets, outs: Outs, progress: Progress) -> Terms:
        terms = self.labelled(batch, outs)
        rise = ramp(progress.frac)
        logits = outs["student"].unlabelled.logits
        found = self.assign(batch, nets, outs, progress)
        if self.w_ua and "UA" in self.use:  # L_UA: cross-entropy to the teacher where H < λ_T
            reliable = ~found.unreliable
            value = masked_cross_entropy(logits, found.teacher, reliable)
            terms["reliable"] = Term(value, self.w_ua * rise, reliable.float().mean().item())
        if self.w_ps and "NN" in self.use:  # L_NN: cross-entropy to the match elsewhere
            value = masked_cross_entropy(logits, found.match, found.trusted)
            terms["match"] = Term(value, self.w_ps * rise, found.trusted.float().mean().item())
        # L_EN: entropy of softmax(K) there
        if self.w_ps and "EN" in self.use and found.scores is not None:
            unsure = entropy(found.scores.softmax(1))
            value = unsure.sum() / max(len(unsure), 1)
            terms["entropy"] = Term(value, self.w_ps * rise, found.unreliable.float().mean().item())
        return terms


@torch.no_grad()
def embed_labelled(batch: Batch, nets: Nets, sigma: float) -> Out:
    """One pass in eval mode over the labelled patches, under noise: it embeds the references."""
    noise = batch.noise(sigma, "teacher", tuple(batch.x_l.shape), True)
    return nets["teacher"](noise(batch.x_l))
