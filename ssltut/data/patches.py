"""Volumes cached once as int16 tensors on the device; patches are sliced and augmented there. No
worker processes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ssltut.data.batch import PatchLocation
from ssltut.data.case import LABELLED, Case
from ssltut.data.views import Augmentation, Randomisation
from ssltut.errors import DataError

SCALE = 1000.0  # cached integer steps per unit of the normalised image; int16 then reaches +-32 standard deviations


@dataclass(frozen=True)
class Intensity:
    """The z-score of the training scans: normalised = (value - mean) / std."""

    mean: float
    std: float

    @staticmethod
    def of(cases: Iterable[Case]) -> "Intensity":
        """Mean and standard deviation over all voxels of ``cases`` (labelled and unlabelled
        training scans alike).

        Raises DataError when every voxel has the same value.
        """
        n, total, squares = 0, 0.0, 0.0
        for case in cases:
            n += case.image.size
            total += float(case.image.sum(dtype=np.float64))
            squares += float(np.square(case.image, dtype=np.float64).sum())
        mean = total / max(n, 1)
        std = float(np.sqrt(max(squares / max(n, 1) - mean**2, 0.0)))
        if std <= 1e-6 * max(1.0, abs(mean)):
            raise DataError(
                f"the training scans have no contrast: every voxel is {mean:g}",
                fix="check that the images were read correctly",
            )
        return Intensity(mean, std)

    def normalise(self, image: np.ndarray) -> np.ndarray:
        return (image.astype(np.float32) - np.float32(self.mean)) / np.float32(self.std)


class Patches(NamedTuple):
    """images (n, 1, *patch) float32; labels (n, *patch) int64, or None where a scan has none; ids of
    their cases; locations in their scans.
    """

    images: Tensor
    labels: Tensor | None
    ids: tuple[str, ...]
    locations: tuple[PatchLocation, ...]


class PatchPool:
    """The volumes of one part of a cohort as tensors, and random patches of them, randomised
    (ssltut.data.views) with strength ``randomise``.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        intensity: Intensity,
        patch: tuple[int, int, int],
        device: torch.device | str,
        randomise: float = 0.0,
    ) -> None:
        self.ids, self.patients = (
            tuple(case.id for case in cases),
            tuple(case.patient for case in cases),
        )
        self.sides = [
            case.meta.get("side") or case.meta.get("anatomy", {}).get("side") for case in cases
        ]
        self.partial = {
            case.id: tuple(case.meta[LABELLED]) for case in cases if LABELLED in case.meta
        }
        self.patch, self.device, self.randomise = patch, device, randomise
        self.images = [self._image(case, intensity) for case in cases]
        self.labels = [
            None if case.label is None else self._pad(torch.as_tensor(case.label), 0).to(device)
            for case in cases
        ]
        # Half of the labelled patches are centred on a foreground voxel, as bone fills a small part
        # of a scan.
        self.foreground = [
            None if label is None else torch.nonzero(label > 0) for label in self.labels
        ]

    def known(self, ids: Sequence[str], n_classes: int) -> Tensor | None:
        """Which classes are labelled in the scans ``ids``, (B, n_classes) bool; None where no scan
        of the pool lacks any.
        """
        if not self.partial:
            return None
        rows = [
            [c == 0 or c in self.partial.get(i, range(n_classes)) for c in range(n_classes)]
            for i in ids
        ]
        return torch.tensor(rows, device=self.device)

    def _image(self, case: Case, intensity: Intensity) -> Tensor:
        steps = np.clip(np.rint(intensity.normalise(case.image) * SCALE), -32768, 32767).astype(
            np.int16
        )
        return self._pad(torch.from_numpy(steps), int(steps.min())).to(self.device)

    def _pad(self, volume: Tensor, value: int) -> Tensor:
        missing = [max(0, p - s) for p, s in zip(self.patch, volume.shape, strict=False)]
        pad = [v for m in reversed(missing) for v in (m // 2, m - m // 2)]
        return F.pad(volume, pad, value=value) if any(missing) else volume

    def _corner(self, i: int, generator: torch.Generator) -> list[int]:
        draw = torch.rand(5, generator=generator, device=self.device).tolist()
        room = [s - p for s, p in zip(self.images[i].shape, self.patch, strict=False)]
        foreground = self.foreground[i]
        if foreground is None or len(foreground) == 0 or draw[3] < 0.5:
            return [int(u * (r + 1)) for u, r in zip(draw, room, strict=False)]
        centre = foreground[int(draw[4] * len(foreground))].tolist()
        return [
            min(max(c - p // 2, 0), r) for c, p, r in zip(centre, self.patch, room, strict=False)
        ]

    def _location(self, i: int, box: tuple[slice, ...], mirrored: bool) -> PatchLocation:
        sides = self.images[i].shape
        x, y, z = ((s.start + s.stop) / 2 / n for s, n in zip(box, sides, strict=True))
        right = (
            self.sides[i] == "right" if self.sides[i] else x > 0.5
        )  # in RAS+ the first index grows to the right
        extent = tuple((s.stop - s.start) / n for s, n in zip(box, sides, strict=True))
        return PatchLocation(
            self.patients[i],
            "right" if right != mirrored else "left",
            (1.0 - x if mirrored else x, y, z),
            extent,
        )

    def sample(self, n: int, generator: torch.Generator) -> Patches:
        """``n`` random patches, augmented."""
        which = torch.randint(len(self.ids), (n,), generator=generator, device=self.device).tolist()
        boxes = [
            tuple(
                slice(c, c + p)
                for c, p in zip(self._corner(i, generator), self.patch, strict=False)
            )
            for i in which
        ]
        augmentation = Augmentation.draw(n, generator)
        has_labels = all(self.labels[i] is not None for i in which)
        if self.randomise:
            view = Randomisation.draw(n, generator, self.randomise)
            cuts = [
                view.cut(
                    k,
                    self.images[i],
                    self.labels[i] if has_labels else None,
                    [s.start for s in box],
                    self.patch,
                )
                for k, (i, box) in enumerate(zip(which, boxes, strict=False))
            ]
            x, y = (
                view(torch.stack([x for x, _ in cuts])[:, None] / SCALE),
                torch.stack([y for _, y in cuts]) if has_labels else None,
            )
        else:
            x = (
                torch.stack([self.images[i][box] for i, box in zip(which, boxes, strict=False)])[
                    :, None
                ].float()
                / SCALE
            )
            y = (
                torch.stack(
                    [self.labels[i][box] for i, box in zip(which, boxes, strict=False)]
                ).long()
                if has_labels
                else None
            )
        locations = tuple(
            self._location(*drawn)
            for drawn in zip(which, boxes, augmentation.mirror.tolist(), strict=True)
        )
        return Patches(
            augmentation.apply(x),
            None if y is None else augmentation.apply_label(y),
            tuple(self.ids[i] for i in which),
            locations,
        )
