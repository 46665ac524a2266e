"""Subjective logic on voxels: evidence, belief and uncertainty, their fusion, and losses.

α (B, K, ...) are the parameters of the Dirichlet distribution, α = evidence + 1; S = Σ_n α_n;
belief b_n = (α_n - 1) / S; u = K / S.
"""

from typing import NamedTuple

import torch
from torch import Tensor

MAX_LOGIT = 10.0  # logits above it count as this: 22,000 pieces of evidence


class Opinion(NamedTuple):
    """belief (B, K, ...) and uncertainty (B, ...), which add up to 1 in every voxel."""

    belief: Tensor
    uncertainty: Tensor


def dirichlet(logits: Tensor) -> Tensor:
    """α = exp(z) + 1; then the shares of the belief, b_n / Σ b, are the softmax of z."""
    return logits.float().clamp(max=MAX_LOGIT).exp() + 1.0


def opinion(alpha: Tensor) -> Opinion:
    """b_n = (α_n - 1) / S and u = K / S."""
    strength = alpha.sum(1, keepdim=True)
    return Opinion((alpha - 1.0) / strength, alpha.shape[1] / strength[:, 0])


def fuse(first: Opinion, second: Opinion) -> Opinion:
    """b_n ∝ b_n b'_n + (b_n u' + b'_n u) / (1 + K), u ∝ u u'.

    An opinion of full uncertainty changes nothing; full conflict leaves full uncertainty.
    """
    b, u = first.belief, first.uncertainty[:, None]
    c, v = second.belief, second.uncertainty[:, None]
    belief = b * c + (b * v + c * u) / (1 + b.shape[1])
    total = belief.sum(1, keepdim=True) + u * v
    belief = belief / total.clamp(min=torch.finfo(total.dtype).tiny)
    return Opinion(belief, torch.where(total > 0, u * v / total, 1.0)[:, 0])


def reliability(fused: Opinion) -> Tensor:
    """R = exp(-(u + H)) (B, ...), H = -Σ b log2 b in bits; 1 where one class has all belief."""
    b = fused.belief
    negative_entropy = (b * b.clamp(min=torch.finfo(b.dtype).tiny).log2()).sum(1)
    return torch.exp(-fused.uncertainty + negative_entropy)


def rank(values: Tensor, bins: int = 4096) -> Tensor:
    """2 rank / V - 1 in [-1, 1], -1 the smallest, by a histogram of the logarithms."""
    level = values.log()
    low, high = level.min(), level.max()
    share = (level - low) / (high - low).clamp(min=1e-12)
    bin_of = (share * (bins - 1)).round().long().flatten()
    count = torch.bincount(bin_of, minlength=bins)
    mean_rank = count.cumsum(0) - (count + 1) / 2  # of the voxels of a bin, counted from 0
    return (2.0 * mean_rank[bin_of] / max(values.numel() - 1, 1) - 1.0).view_as(values)


def nll(alpha: Tensor, target: Tensor) -> Tensor:
    """-log of the expected probability α/S of the true class, (B, X, Y, Z) in nats."""
    return alpha.sum(1).log() - alpha.gather(1, target[:, None])[:, 0].log()


def log_det_fisher(alpha: Tensor) -> Tensor:
    """log |Fisher information| = Σ_n log ψ1(α_n) + log(1 - Σ_n ψ1(S) / ψ1(α_n)), ψ1 trigamma."""
    of_class = torch.polygamma(1, alpha)
    of_sum = torch.polygamma(1, alpha.sum(1, keepdim=True))
    return of_class.log().sum(1) + (1.0 - (of_sum / of_class).sum(1)).clamp(min=1e-7).log()


def fisher_loss(alpha: Tensor, target: Tensor, det_weight: float) -> Tensor:
    """Σ_n ((y_n - α_n / S)^2 + α_n (S - α_n) / (S^2 (S + 1))) ψ1(α_n) - det_weight log |I(α)|.

    alpha (B, K, ...), target (B, ...) int64, result (B, ...). Fisher-information evidential
    learning (Deng et al., ICML 2023, arXiv:2303.02045). Where there is much evidence for a class,
    ψ1 is small: a wrong label there costs little.
    """
    y = torch.nn.functional.one_hot(target, alpha.shape[1]).movedim(-1, 1).to(alpha.dtype)
    s = alpha.sum(1, keepdim=True)
    error = (y - alpha / s).square() + alpha * (s - alpha) / (s.square() * (s + 1.0))
    return (error * torch.polygamma(1, alpha)).sum(1) - det_weight * log_det_fisher(alpha)
