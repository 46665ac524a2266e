"""Memories across scans: of reference embeddings, first in, first out, and of a score for every
scan.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ssltut.seeding import derive_seed


class ReferenceMemory(nn.Module):
    """The last ``size`` reference vectors of every class: buffers, so they are saved and restored
    with the networks.

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
        """Append vectors (R, D) with classes ``labels`` (R,); the oldest of a full class go
        first.
        """
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
        labels = torch.cat(
            [torch.full((n,), c, device=vectors.device) for c, n in enumerate(counts)]
        )
        return vectors, labels


class ScoreTable(nn.Module):
    """The last score of every scan, by its id: buffers, saved and restored with the networks. The
    oldest of ``size`` goes first.
    """

    def __init__(self, size: int = 4096) -> None:
        super().__init__()
        self.register_buffer("keys", torch.zeros(size, dtype=torch.int64))
        self.register_buffer("scores", torch.zeros(size, dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    @property
    def filled(self) -> int:
        return min(int(self.count), len(self.keys))

    @torch.no_grad()
    def store(self, ids: Sequence[str], scores: Sequence[float]) -> None:
        for case_id, score in zip(ids, scores, strict=True):
            slot = self._slot(case_id)
            if slot is None:
                slot = int(self.count) % len(self.keys)
                self.count += 1
            self.keys[slot], self.scores[slot] = derive_seed(0, case_id), float(score)

    def recall(self, case_id: str) -> float | None:
        """The last score of a scan, None where the table holds none."""
        slot = self._slot(case_id)
        return None if slot is None else self.scores[slot].item()

    def limit(self, share: float) -> float:
        """The score below or at which the ``share`` of all scans with the lowest scores lie; -inf
        while there is none.
        """
        known = self.scores[: self.filled].sort().values
        return known[max(1, math.ceil(share * len(known))) - 1].item() if len(known) else -math.inf

    def _slot(self, case_id: str) -> int | None:
        known = (self.keys[: self.filled] == derive_seed(0, case_id)).nonzero()
        return int(known[0]) if len(known) else None
