"""Reference-guided pseudo-labels, RPG (Seibold et al. 2022), our reconstruction."""

import torch
from torch import Tensor
from torch.nn import functional as F

from ssltut.data.batch import Batch
from ssltut.methods.contract import (
    PARTS,
    Method,
    Nets,
    Outs,
    Part,
    Plan,
    Progress,
    Term,
    Terms,
)
from ssltut.methods.losses import masked_cross_entropy, masked_mean
from ssltut.methods.matching.primitives import neighbour_vote, voxel_vectors
from ssltut.methods.parts.perturb import strong_view
from ssltut.nets.modes import eval_mode
from ssltut.options import Count, Fraction, NotNegative


def thin(values: Tensor, stride: int) -> Tensor:
    """Means of (B, D, X, Y, Z) over blocks of ``stride`` voxels a side, or of the whole side."""
    return F.avg_pool3d(values.float(), [min(stride, s) for s in values.shape[2:]], ceil_mode=True)


def thin_label(label: Tensor, n_classes: int, stride: int) -> Tensor:
    """(B, X, Y, Z) hard labels to the class that most voxels of a block have, or the lowest."""
    return thin(F.one_hot(label, n_classes).movedim(-1, 1), stride).argmax(1)


def balanced(labels: Tensor, n_classes: int, limit: int, generator: torch.Generator) -> Tensor:
    """Positions in ``labels`` (R,): all of a class, or ``limit`` drawn from it."""
    chosen = []
    for c in range(n_classes):
        own = (labels == c).nonzero()[:, 0]
        order = torch.randperm(len(own), generator=generator, device=own.device)
        chosen.append(own[order[:limit]])
    return torch.cat(chosen)


class RPG(Method):
    """Every unlabelled voxel learns the label of the labelled voxels with the nearest embeddings.

    They decide, and not what the network predicts for the voxel itself.
    L = L_S + w_r L_r + w_c L_c once ``warmup`` of training has made features that mean something:
      L_r  cross-entropy of p(strong) to q, the share of the 5 nearest labelled embeddings (cosine)
           that carry each class, where max q >= 0.7
      L_c  cross-entropy of p(strong) to argmax p(weak) where max p(weak) >= 0.95 (as FixMatch)
    both means over all voxels. Neighbours are exact, at 1 / ``stride`` of the resolution:
    embeddings are averaged over a block, a block's label is its most frequent one, at most
    ``references`` blocks a class of the labelled patches are compared, and q returns to full
    resolution trilinearly. Reconstructed from the abstract and one caption, which give the nearest
    reference pixels (five) and the weak and strong copies; features, distance, thinning,
    thresholds, weights and warm-up are ours. References and weak copies are seen in eval mode and
    carry no gradient; strong views move no voxel.
    """

    name, title, year = "rpg", "RPG", 2022
    paper = "Seibold et al., AAAI 2022, arXiv:2112.00735"
    ideas = ("consistency", "pseudo-labels", "prototypes", "evidence")
    fidelity = "reconstruction"
    loss_weights = ("w_reference", "w_consistency")

    w_reference: NotNegative = 1.0
    w_consistency: NotNegative = 1.0
    warmup: Fraction = 0.1
    stride: Count = 4
    neighbours: Count = 5
    references: Count = 512
    agreement: Fraction = 0.7
    confidence: Fraction = 0.95
    sigma_strong: NotNegative = 0.1

    def plan(self, progress: Progress, default: Plan) -> Plan:
        first = Plan(default.labelled + default.unlabelled, 0)
        return first if progress.frac < self.warmup else default

    def view(self, batch: Batch, part: Part) -> Tensor:
        """The student learns from strong views of unlabelled patches."""
        if part == "labelled":
            return super().view(batch, part)
        strong = strong_view(batch.unlabelled, batch.generator("strong"))
        return batch.noise(self.sigma_strong, "strong")(strong)

    def terms(self, batch: Batch, nets: Nets, outs: Outs, progress: Progress) -> Terms:
        student = outs["student"]
        terms = self.labelled(batch, outs)
        strong = student.unlabelled.logits
        q, weak = self.targets(batch, nets)
        if self.w_reference:
            kept = q.amax(1) >= self.agreement
            loss = masked_mean(soft_cross_entropy(strong, q), kept, "all")
            terms["reference"] = Term(loss, self.w_reference, kept.float().mean().item())
        if self.w_consistency:
            confidence, label = weak.max(1)
            kept = confidence >= self.confidence
            loss = masked_cross_entropy(strong, label, kept, "all")
            terms["consistency"] = Term(loss, self.w_consistency, kept.float().mean().item())
        return terms

    @torch.no_grad()
    def targets(self, batch: Batch, nets: Nets) -> tuple[Tensor, Tensor]:
        """Votes of the references and the student's weak prediction, both (B', C, X, Y, Z)."""
        weak_view = super().view
        with eval_mode(nets["student"]):
            weak = nets["student"](torch.cat([weak_view(batch, part) for part in PARTS]))
        labelled, unlabelled = weak.split(len(batch.x_l))
        references = voxel_vectors(thin(labelled.feats["embedding"], self.stride))
        queries = thin(unlabelled.feats["embedding"], self.stride)
        labels = thin_label(batch.y_l, batch.n_classes, self.stride).flatten()
        chosen = balanced(labels, batch.n_classes, self.references, batch.generator("references"))
        k = min(self.neighbours, len(chosen))
        of_block = voxel_vectors(queries)
        votes = neighbour_vote(of_block, references[chosen], labels[chosen], batch.n_classes, k)
        coarse = votes.unflatten(0, (len(queries), *queries.shape[2:])).movedim(-1, 1)
        q = F.interpolate(coarse, batch.unlabelled.shape[2:], mode="trilinear")
        return q, unlabelled.logits.float().softmax(1)


def soft_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """-Σ_c q_c log p_c, (B, X, Y, Z), of probabilities q ``target`` (B, C, X, Y, Z)."""
    return -(target * logits.float().log_softmax(1)).sum(1)
