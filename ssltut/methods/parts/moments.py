"""Running means and covariances of embeddings, one a class."""

import torch
from torch import Tensor, nn


class ClassMoments(nn.Module):
    """Buffers, so that they are saved and restored with the networks: mean (C, D), covariance (C,
    D, D), seen (C,) bool.
    """

    def __init__(self, n_classes: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_classes, dim))
        self.register_buffer("covariance", torch.zeros(n_classes, dim, dim))
        self.register_buffer("seen", torch.zeros(n_classes, dtype=torch.bool))

    @torch.no_grad()
    @torch.autocast("cuda", enabled=False)
    @torch.autocast("cpu", enabled=False)
    def update(self, vectors: Tensor, labels: Tensor, decay: float) -> None:
        """Mix the moments of vectors (N, D) of classes ``labels`` (N,) into the old ones with a
        share of 1 - decay; the first count fully.

        The moments of a mixture of two sets: the distance of their means is a part of the
        covariance.
        """
        for c in labels.unique().tolist():
            new = vectors[labels == c].float()
            share = 1.0 - decay if self.seen[c] else 1.0
            gap, spread = (
                new.mean(0) - self.mean[c],
                torch.cov(new.T, correction=0).view_as(self.covariance[c]),
            )
            self.covariance[c] = (
                (1.0 - share) * self.covariance[c]
                + share * spread
                + share * (1.0 - share) * torch.outer(gap, gap)
            )
            self.mean[c] += share * gap
            self.seen[c] = True
