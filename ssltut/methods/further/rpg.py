"""Reference-guided pseudo-labels, RPG (Seibold et al. 2022), our reconstruction."""

import torch
from torch import Tensor
from torch.nn import functional as F

from ssltut.data.batch import Batch
from ssltut.methods.contract import PARTS, Method, Nets, Plan, Progress, Term, Terms, supervised
from ssltut.methods.losses import masked_cross_entropy, masked_mean, supervised_loss
from ssltut.methods.matching.primitives import neighbour_vote, voxel_vectors
from ssltut.methods.parts.perturb import strong_view
from ssltut.nets.modes import eval_mode


def thin(values: Tensor, stride: int) -> Tensor:
    """Means over blocks of ``stride`` voxels a side (fewer where a side is shorter): (B, D, X, Y,
    Z) to about 1 / stride of its sides.
    """
    return F.avg_pool3d(values.float(), [min(stride, s) for s in values.shape[2:]], ceil_mode=True)


def thin_label(label: Tensor, n_classes: int, stride: int) -> Tensor:
    """(B, X, Y, Z) hard labels to the class that most voxels of a block have, the lowest of
    equals.
    """
    return thin(F.one_hot(label, n_classes).movedim(-1, 1), stride).argmax(1)


def balanced(labels: Tensor, n_classes: int, limit: int, generator: torch.Generator) -> Tensor:
    """Positions in ``labels`` (R,): all of a class, or ``limit`` drawn from it."""
    found = [(labels == c).nonzero()[:, 0] for c in range(n_classes)]
    return torch.cat(
        [f[torch.randperm(len(f), generator=generator, device=f.device)[:limit]] for f in found]
    )


class RPG(Method):
    """Every unlabelled voxel takes the label of the labelled voxels that look most like it, and not
    what the network thinks of it.

    L = L_S + w_r L_r + w_c L_c once ``warmup`` of training has made features that mean something:
      L_r  cross-entropy of p(strong) to q, the share of the 5 nearest labelled embeddings (cosine)
           that carry each class, where max q >= 0.7
      L_c  cross-entropy of p(strong) to argmax p(weak) where max p(weak) >= 0.95 (as FixMatch)
    both means over all voxels. Neighbours are exact, at 1 / ``stride`` of the resolution:
    embeddings are averaged over a block, a block's label is its most frequent one, at most
    ``references`` blocks a class of the labelled patches are asked, and q returns to full
    resolution trilinearly. Reconstructed from the abstract and one caption, which give the nearest
    reference pixels (five) and the weak and strong copies; features, distance, thinning,
    thresholds, weights and warm-up are ours. References and weak copies are seen in eval mode and
    carry no gradient; strong views move no voxel.
    """

    name, title, year = "rpg", "RPG", 2022
    paper = "Seibold et al., AAAI 2022, arXiv:2112.00735"
    ideas = ("consistency", "pseudo-labels", "prototypes", "evidence")
    exact = False

    w_reference: float = 1.0
    w_consistency: float = 1.0
    warmup: float = 0.1
    stride: int = 4
    neighbours: int = 5
    references: int = 512
    agreement: float = 0.7
    confidence: float = 0.95
    sigma_strong: float = 0.1

    def plan(self, progress: Progress, default: Plan) -> Plan:
        return Plan(default.labelled, 0) if progress.frac < self.warmup else default

    def view(self, batch: Batch, part: str) -> Tensor:
        """The student learns from strong views of unlabelled patches."""
        if part == "labelled":
            return super().view(batch, part)
        return batch.noise(self.sigma_strong, "strong")(
            strong_view(batch.x_u, batch.generator("strong"))
        )

    def forward(self, batch: Batch, nets: Nets, progress: Progress) -> None:
        """All passes are in ``terms``."""

    def terms(self, batch: Batch, nets: Nets, outs: None, progress: Progress) -> Terms:
        if batch.x_u is None or not (self.w_reference or self.w_consistency):
            return {"supervised": supervised(self.see(batch, nets, PARTS[:1]), batch)}
        out = self.see(batch, nets)
        labelled, strong = out.labelled, out.unlabelled
        terms = {"supervised": Term(supervised_loss(labelled.logits, batch.y_l))}
        q, weak = self.targets(batch, nets)
        if self.w_reference:
            kept = q.amax(1) >= self.agreement
            ce = -(q * strong.logits.float().log_softmax(1)).sum(1)
            terms["reference"] = Term(
                masked_mean(ce, kept, "all"), self.w_reference, kept.float().mean().item()
            )
        if self.w_consistency:
            (sure, label), seen = weak.max(1), strong.logits
            value = masked_cross_entropy(seen, label, sure >= self.confidence, "all")
            terms["consistency"] = Term(
                value, self.w_consistency, (sure >= self.confidence).float().mean().item()
            )
        return terms

    @torch.no_grad()
    def targets(self, batch: Batch, nets: Nets) -> tuple[Tensor, Tensor]:
        """What the references say of the unlabelled patches and what the student says of their weak
        view, both (B', C, X, Y, Z).
        """
        weakly = super().view
        with eval_mode(nets["student"]):
            seen = nets["student"](torch.cat([weakly(batch, part) for part in PARTS]))
        of_labelled, of_unlabelled = (
            thin(part.feats["embedding"], self.stride) for part in seen.split(len(batch.x_l))
        )
        labels = thin_label(batch.y_l, batch.n_classes, self.stride).flatten()
        chosen = balanced(labels, batch.n_classes, self.references, batch.generator("references"))
        votes = neighbour_vote(
            voxel_vectors(of_unlabelled),
            voxel_vectors(of_labelled)[chosen],
            labels[chosen],
            batch.n_classes,
            min(self.neighbours, len(chosen)),
        )
        coarse = votes.view(len(batch.x_u), *of_unlabelled.shape[2:], batch.n_classes).movedim(
            -1, 1
        )
        q = F.interpolate(coarse, batch.x_u.shape[2:], mode="trilinear")
        return q, seen.logits[len(batch.x_l) :].float().softmax(1)
