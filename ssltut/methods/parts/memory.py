"""Memories across scans, of references and of scores; buffers, so they are saved and restored."""

import math
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from ssltut.seeding import derive_seed


class ReferenceMemory(nn.Module):
    """The last ``size`` reference vectors of every class, first in, first out."""

    vectors: Tensor  # (C, size, D)
    filled: Tensor  # (C,) how many are valid
    position: Tensor  # (C,) where the next one goes

    def __init__(self, n_classes: int, size: int, dim: int) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("vectors", torch.zeros(n_classes, size, dim))
        self.register_buffer("filled", torch.zeros(n_classes, dtype=torch.int64))
        self.register_buffer("position", torch.zeros(n_classes, dtype=torch.int64))

    @torch.no_grad()
    def store(self, vectors: Tensor, labels: Tensor) -> None:
        """Append vectors (R, D) of classes ``labels`` (R,); the oldest of a full class go."""
        for c in labels.unique().tolist():
            new = vectors[labels == c][-self.size :]
            start = int(self.position[c])
            self.vectors[c, (start + torch.arange(len(new), device=new.device)) % self.size] = new
            self.position[c] = (start + len(new)) % self.size
            self.filled[c] = min(self.size, int(self.filled[c]) + len(new))

    def recall(self) -> tuple[Tensor, Tensor]:
        """All remembered vectors (R, D) and their classes (R,)."""
        counts = self.filled.tolist()
        vectors = torch.cat([self.vectors[c, :n] for c, n in enumerate(counts)])
        classes = torch.arange(len(counts), device=vectors.device)
        return vectors, classes.repeat_interleave(self.filled)


class ScoreTable(nn.Module):
    """The last score of every scan, by its id; the oldest of ``size`` goes first."""

    keys: Tensor
    scores: Tensor
    count: Tensor

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
            self.keys[slot] = derive_seed(0, case_id)
            self.scores[slot] = float(score)

    def clear(self) -> None:
        """Forget all scores."""
        self.count.zero_()

    def recall(self, case_id: str) -> float | None:
        """The last score of a scan, None where the table holds none."""
        slot = self._slot(case_id)
        return None if slot is None else self.scores[slot].item()

    def limit(self, share: float) -> float:
        """The score at or below which the lowest ``share`` of all scores lie; -inf without any."""
        ascending = self.scores[: self.filled].sort().values
        if not len(ascending):
            return -math.inf
        return ascending[max(1, math.ceil(share * len(ascending))) - 1].item()

    def _slot(self, case_id: str) -> int | None:
        slots = (self.keys[: self.filled] == derive_seed(0, case_id)).nonzero()
        return int(slots[0]) if len(slots) else None


def after_storing(memory: nn.Module, *new: Any) -> Any:
    """A copy of ``memory`` that has stored ``new`` too: what a step sees before ``update``."""
    later: Any = deepcopy(memory)
    later.store(*new)
    return later
