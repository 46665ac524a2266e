"""Reference-guided pseudo-labels, RPG (Seibold et al. 2022), our reconstruction."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssltut.data.batch import Batch
from ssltut.methods.contract import PARTS, Method, Nets, Outs, Part, Plan, Progress, Term, Terms
from ssltut.methods.losses import masked_cross_entropy, masked_mean
from ssltut.methods.matching.primitives import balanced, neighbour_vote, voxel_vectors
from ssltut.methods.parts.memory import ReferenceMemory, after_storing
from ssltut.methods.parts.perturb import strong_view
from ssltut.nets.base import SegNet
from ssltut.nets.modes import eval_mode
from ssltut.options import Count, Fraction, NotNegative


def thin(values: Tensor, stride: int) -> Tensor:
    """Means of (B, D, X, Y, Z) over blocks of ``stride`` voxels a side, or of the whole side."""
    return F.avg_pool3d(values.float(), [min(stride, s) for s in values.shape[2:]], ceil_mode=True)


def thin_label(label: Tensor, n_classes: int, stride: int) -> Tensor:
    """(B, X, Y, Z) hard labels to the class that most voxels of a block have, or the lowest."""
    return thin(F.one_hot(label, n_classes).movedim(-1, 1), stride).max(1).indices


class Targets(NamedTuple):
    """What unlabelled patches are taught, and what the pool of references takes in."""

    votes: Tensor  # (B', C, X, Y, Z) shares of the neighbours
    weak: Tensor  # (B', C, X, Y, Z) the prediction of weak views
    vectors: Tensor  # (R, D) blocks of this step's labelled patches
    classes: Tensor  # (R,)


class RPG(Method):
    """Every unlabelled voxel learns the label of the labelled voxels with the nearest embeddings.

    They decide, and not what the network predicts for the voxel itself.
    L = L_S + w_r L_r + w_c L_c once ``warmup`` of training has made features that mean something:
      L_r  cross-entropy of p(strong) to q, the share of the nearest labelled embeddings (cosine)
           that carry each class, where max q >= ``agreement``
      L_c  cross-entropy of p(strong) to argmax p(weak) where max p(weak) >= ``confidence``
    both means over all voxels. Neighbours are exact, at 1 / ``stride`` of the resolution:
    embeddings are averaged over a block, a block's label is its most frequent one, and q returns to
    full resolution trilinearly. They are of this step and those before, so of all labelled scans.

    option         published  ours  why
    w_reference    -          1.0   ours
    w_consistency  -          1.0   ours
    warmup         -          0.1   share of training on labels alone
    stride         -          2     voxels a side of a block: in 3D not all can be compared
    neighbours     5          5
    references     -          2048  of a class in the pool, the last ones
    drawn          -          128   of a class in a step, so that a pool holds 16 steps
    agreement      -          0.7   four of five neighbours
    confidence     -          0.95  as in FixMatch
    sigma_strong   -          0.1   noise on top of the strong view

    Reconstructed from the abstract and one caption, which give a pool of annotated images, the five
    nearest reference pixels and the weak and strong copies; all else is ours. References and weak
    copies are seen in eval mode and carry no gradient; strong views move no voxel.
    """

    name, title, year = "rpg", "RPG", 2022
    paper = "Seibold et al., AAAI 2022, arXiv:2112.00735"
    ideas = ("consistency", "pseudo-labels", "prototypes", "evidence")
    fidelity = "reconstruction"
    loss_weights = ("w_reference", "w_consistency")

    w_reference: NotNegative = 1.0
    w_consistency: NotNegative = 1.0
    warmup: Fraction = 0.1
    stride: Count = 2
    neighbours: Count = 5
    references: Count = 2048
    drawn: Count = 128
    agreement: Fraction = 0.7
    confidence: Fraction = 0.95
    sigma_strong: NotNegative = 0.1

    def plan(self, progress: Progress, default: Plan) -> Plan:
        return default.all_labelled if progress.frac < self.warmup else default

    def extra_modules(self, student: SegNet, n_classes: int) -> dict[str, nn.Module]:
        return {"pool": ReferenceMemory(n_classes, self.references, student.classifier.in_channels)}

    def view(self, batch: Batch, part: Part, who: str = "student") -> Tensor:
        """The student learns from strong views of unlabelled patches."""
        if part == "labelled":
            return super().view(batch, part, who)
        strong = strong_view(batch.unlabelled, batch.generator("strong"))
        return batch.noise(self.sigma_strong, "strong")(strong)

    def forward(self, batch: Batch, nets: Nets, progress: Progress) -> Outs:
        return super().forward(batch, nets, progress) | {"targets": self.targets(batch, nets)}

    def terms(self, batch: Batch, nets: Nets, outs: Outs, progress: Progress) -> Terms:
        terms = self.labelled(batch, outs)
        strong = outs["student"].unlabelled.logits
        q, weak, *_ = outs["targets"]
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

    def update(self, batch: Batch, nets: Nets, outs: Outs, progress: Progress) -> None:
        """The pool takes in the references of this step."""
        targets = outs["targets"]
        nets["pool"].store(targets.vectors, targets.classes)

    @torch.no_grad()
    def targets(self, batch: Batch, nets: Nets) -> Targets:
        """Votes of the references, those of this step among them, and the weak prediction."""
        weak_view = super().view
        with eval_mode(nets["student"]):
            weak = nets["student"](torch.cat([weak_view(batch, part) for part in PARTS]))
        labelled, unlabelled = weak.split(len(batch.x_l))
        vectors = voxel_vectors(thin(labelled.feats["embedding"], self.stride))
        classes = thin_label(batch.y_l, batch.n_classes, self.stride).flatten()
        chosen = balanced(classes, batch.n_classes, self.drawn, batch.generator("references"))
        new = vectors[chosen], classes[chosen]
        references, labels = after_storing(nets["pool"], *new).recall()
        queries = thin(unlabelled.feats["embedding"], self.stride)
        k = min(self.neighbours, len(labels))
        votes = neighbour_vote(voxel_vectors(queries), references, labels, batch.n_classes, k)
        coarse = votes.unflatten(0, (len(queries), *queries.shape[2:])).movedim(-1, 1)
        q = F.interpolate(coarse, batch.unlabelled.shape[2:], mode="trilinear")
        return Targets(q, unlabelled.logits.float().softmax(1), *new)


def soft_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """-Σ_c q_c log p_c, (B, X, Y, Z), of probabilities q ``target`` (B, C, X, Y, Z)."""
    return -(target * logits.float().log_softmax(1)).sum(1)
