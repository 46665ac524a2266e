"""A first-in first-out memory of reference embeddings across scans."""

import torch
from torch import Tensor, nn


class ReferenceMemory(nn.Module):
    """The last ``size`` reference vectors of every class: buffers, so they are saved and restored with the networks.

    vectors (C, size, D); filled (C,) how many are valid; position (C,) where the next one goes.
    """

    def __init__(self, n_classes: int, size: int, dim: int) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("vectors", torch.zeros(n_classes, size, dim))
        self.register_buffer("filled", torch.zeros(n_classes, dtype=torch.int64))
        self.register_buffer("position", torch.zeros(n_classes, dtype=torch.int64))

    @torch.no_grad()
    def store(self, vectors: Tensor, labels: Tensor) -> None:
        """Append vectors (R, D) with classes ``labels`` (R,); the oldest of a full class go first."""
        for c in labels.unique().tolist():
            new = vectors[labels == c][-self.size :]
            slots = (int(self.position[c]) + torch.arange(len(new), device=new.device)) % self.size
            self.vectors[c, slots] = new
            self.position[c] = (int(self.position[c]) + len(new)) % self.size
            self.filled[c] = min(self.size, int(self.filled[c]) + len(new))

    def recall(self) -> tuple[Tensor, Tensor]:
        """All remembered vectors (R, D) and their classes (R,)."""
        counts = self.filled.tolist()
        vectors = torch.cat([self.vectors[c, :n] for c, n in enumerate(counts)])
        labels = torch.cat([torch.full((n,), c, device=vectors.device) for c, n in enumerate(counts)])
        return vectors, labels
