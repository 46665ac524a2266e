"""TransMedSeg: transferable semantic augmentation on graph-based copy-paste (2025), after
descriptions of it.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssltut.data.batch import Batch
from ssltut.methods.classic.bcp import BCP, Pasted
from ssltut.methods.contract import Nets, Network, Progress, Term
from ssltut.methods.losses import masked_cross_entropy
from ssltut.methods.matching.primitives import voxel_vectors
from ssltut.methods.parts.moments import ClassMoments
from ssltut.nets.base import SegNet
from ssltut.nets.heads import Head
from ssltut.nets.precision import full_precision


class TransMedSeg(BCP):
    """Labelled embeddings are moved, class by class, to where the unlabelled ones lie, and spread
    as these are: without drawing any.

    L = L_BCP + κ L_CC + β L_TSA. With Δμ_y the mean of the teacher's embeddings of unlabelled
    voxels under its labels, less that of the student's of labelled voxels, and Σ_y the covariance
    of the former (running estimates), w and s the last layer's weights and outputs:
      L_TSA = CE(s'_i, y), s'_ic = s_ic + α (w_c - w_y)·Δμ_y + α/2 (w_c - w_y)ᵀ Σ_y (w_c - w_y), α =
      0.25 t/T,
    which is log E[1 / p_y] for embeddings moved by N(α Δμ_y, α Σ_y), and by Jensen's inequality no
    less than their expected cross-entropy.
      L_CC = -Tr(W S Sᵀ) / N² on the N voxels of the deepest map, F of length 1, W = F Fᵀ - 1 / τ: S
      are the clusters that one graph
    convolution over F Fᵀ and an MLP give each; what is alike shall be in one cluster, what is not
    in two (GraphCL, arXiv:2411.13147). A reconstruction from a summary and from the codes of TSA
    and BCP. The abstract can be read the other way round, as moving the teacher's embeddings: the
    labelled ones have true labels. Unpublished, decided here: β, the decay of the estimates, the
    embedding as feature, clusters, and the mean over pairs in L_CC, whose graph carries no
    gradient. TSA's mutual-information term is not part of it.

    transfer, clusters  β and κ; at weight 0 nothing is pasted, and these are off too
    """

    name, title, year, exact = "transmedseg", "TransMedSeg", 2025, False
    paper = "Wang et al., 2025, arXiv:2505.14753"
    ideas = ("pseudo-labels", "mixing", "prototypes", "contrast")
    networks = {
        "student": Network(heads={"clusters": Head(level=-1, project=8)}),
        "teacher": Network(ema_of="student"),
    }

    transfer: float = 0.1
    clusters: float = 0.01
    alpha: float = 0.25
    tau: float = 2.0
    moments_decay: float = 0.9

    def extra_modules(self, student: SegNet, n_classes: int) -> dict[str, nn.Module]:
        return {
            name: ClassMoments(n_classes, student.classifier.in_channels)
            for name in ("labelled moments", "unlabelled moments")
        }

    def further(
        self, batch: Batch, nets: Nets, progress: Progress, pasted: Pasted
    ) -> dict[str, Term]:
        terms = {}
        if self.transfer:
            true, features = (
                pasted.true.flatten(),
                voxel_vectors(pasted.out.feats["embedding"].detach()),
            )
            source, found = nets["labelled moments"], nets["unlabelled moments"]
            source.update(features[true], pasted.target.flatten()[true], self.moments_decay)
            found.update(
                voxel_vectors(pasted.teacher.feats["embedding"]),
                pasted.pseudo.flatten(),
                self.moments_decay,
            )
            shift = self.shift(nets, progress)
            logits = pasted.out.logits.float() + shift[pasted.target].movedim(-1, 1)
            value = masked_cross_entropy(logits, pasted.target, pasted.true)
            terms["transfer"] = Term(
                value, self.transfer, (source.seen & found.seen).float().mean().item()
            )
        if self.clusters:
            value = cluster_loss(
                pasted.out.feats["bottleneck"], nets["student"].heads["clusters"], self.tau
            )
            terms["clusters"] = Term(value, self.clusters)
        return terms

    def transport(self, nets: Nets) -> tuple[Tensor, Tensor]:
        """Δμ (C, D) and Σ (C, D, D) of the running estimates; 0 for a class that was not seen on
        both sides.
        """
        source, found = nets["labelled moments"], nets["unlabelled moments"]
        both = (source.seen & found.seen).float()[:, None]
        return both * (found.mean - source.mean), both[..., None] * found.covariance

    def shift(self, nets: Nets, progress: Progress) -> Tensor:
        """What a voxel of class y gets added to its outputs, (C, C) with y in rows."""
        return moved(
            nets["student"].classifier.weight.flatten(1).float(),
            *self.transport(nets),
            self.alpha * progress.frac,
        )


@full_precision
def moved(weight: Tensor, gap: Tensor, covariance: Tensor, alpha: float) -> Tensor:
    """What moving embeddings of class y adds to output c, (C, C) with y in rows: α d·Δμ_y + α/2 dᵀ
    Σ_y d, d = w_c - w_y.

    weight (C, D) of the last layer, gap Δμ (C, D), covariance Σ (C, D, D).
    """
    d = weight[None] - weight[:, None]
    return alpha * torch.einsum("ycd,yd->yc", d, gap) + alpha / 2 * torch.einsum(
        "ycd,yde,yce->yc", d, covariance, d
    )


def cluster_loss(maps: Tensor, head: nn.Sequential, tau: float) -> Tensor:
    """-Tr(W S Sᵀ) / N² of maps (B, D, X, Y, Z) >= 0, mean over the batch; ``head`` is Θ, PReLU,
    output.

    F Fᵀ, whose largest value is 1, is never formed: F (Fᵀ h) is the graph convolution, and the
    trace is |Fᵀ S|² - |Σ_i S_i|² / τ.
    """
    nodes, mixed = F.normalize(maps.detach().float().flatten(2), dim=1), head[0](maps)
    s = (
        head[1:](average(nodes, mixed.float().flatten(2)).view_as(mixed))
        .float()
        .softmax(1)
        .flatten(2)
    )
    return agreement(nodes, s, tau)


@full_precision
def average(nodes: Tensor, values: Tensor) -> Tensor:
    """Mean of ``values`` (B, E, N) over all nodes, weighted by the similarity of ``nodes`` (B, D,
    N) to each.
    """
    degree = torch.einsum("bdn,bd->bn", nodes, nodes.sum(2)).clamp(min=1e-6)
    return (
        torch.einsum("bdn,bde->ben", nodes, torch.einsum("bdm,bem->bde", nodes, values))
        / degree[:, None]
    )


@full_precision
def agreement(nodes: Tensor, s: Tensor, tau: float) -> Tensor:
    kept = (
        torch.einsum("bdn,bkn->bdk", nodes, s).square().sum((1, 2)) - s.sum(2).square().sum(1) / tau
    )
    return -kept.mean() / s.shape[2] ** 2
