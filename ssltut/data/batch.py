"""A batch: what a method sees of one training step."""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ssltut.data.views import Noise
from ssltut.errors import DataError
from ssltut.seeding import derive_seed, generator_for


class PatchLocation(NamedTuple):
    """Where a patch comes from; a mirrored one shows the other side."""

    patient: str  # whose scan it is
    side: str  # "left" or "right", as ``meta`` of the scan says, else the half it lies in
    centre: tuple[float, float, float]  # 0 to 1 along each axis (right, anterior, superior)
    extent: tuple[float, float, float] = (1.0, 1.0, 1.0)  # sides as shares of the scan's

    def level(self, bins: int) -> int:
        """In which of ``bins`` equal parts of the heights its scan allows it is, 0 at the foot."""
        room = 1.0 - self.extent[2]
        if room <= 0.0:
            return 0
        share = (self.centre[2] - self.extent[2] / 2) / room
        return min(int(share * bins + 1e-6), bins - 1)


@dataclass(frozen=True)
class Batch:
    """Labelled and unlabelled patches; there is no label of an unlabelled patch in it."""

    x_l: Tensor  # (B, 1, X, Y, Z) float32
    y_l: Tensor  # (B, X, Y, Z) int64
    x_u: Tensor | None  # (B', 1, X, Y, Z), or None without unlabelled patches
    ids_l: tuple[str, ...]  # of the cases, in the order of the patches
    ids_u: tuple[str, ...]
    n_classes: int
    seed: int
    locations_l: tuple[PatchLocation, ...] = ()
    locations_u: tuple[PatchLocation, ...] = ()
    known: Tensor | None = None  # (B, C) bool: classes labelled in the scans of x_l; None: all

    @property
    def unlabelled(self) -> Tensor:
        """``x_u``. Raises DataError in a batch without unlabelled patches."""
        if self.x_u is None:
            fix = "ask Method.parts which patches a step has"
            raise DataError("this batch has no unlabelled patches", fix=fix)
        return self.x_u

    def share(self, n: int, of: int) -> "Batch":
        """Every ``of``-th patch of each kind from ``n`` on, with random draws of its own.

        Raises DataError where the patches cannot be shared equally.
        """
        if len(self.ids_l) % of or len(self.ids_u) % of:
            found = f"{len(self.ids_l)} labelled and {len(self.ids_u)} unlabelled patches a step"
            fix = "set labelled and unlabelled of the training to multiples, or start fewer"
            raise DataError(f"{found} cannot be shared among {of} processes", fix=fix)
        of_patches = {k: v for k, v in vars(self).items() if isinstance(v, Tensor | tuple)}
        mine: Any = {name: values[n::of] for name, values in of_patches.items()}
        return replace(self, **mine, seed=derive_seed(self.seed, "share", n))

    def known_classes(self) -> Tensor:
        """``known``, with every class where it is None; the background always is."""
        if self.known is not None:
            return self.known
        return self.y_l.new_ones((len(self.x_l), self.n_classes), dtype=torch.bool)

    def noise(self, sigma: float, *key: object) -> Noise:
        """A replayable noise view of this batch: the same key gives the same noise again."""
        return Noise(sigma, derive_seed(self.seed, "noise", *key))

    def generator(self, *key: object) -> torch.Generator:
        """A generator of its own for a random draw inside a method."""
        return generator_for(self.x_l.device, self.seed, *key)
