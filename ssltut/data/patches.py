"""Volumes cached once as int16 tensors on the device; patches are sliced and augmented there."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ssltut.data.batch import PatchLocation
from ssltut.data.case import LABELLED, Case
from ssltut.data.views import Augmentation, Box, Randomisation
from ssltut.errors import DataError

# Cached integer steps per unit of the normalised image: int16 reaches +-32 standard deviations.
SCALE = 1000.0


@dataclass(frozen=True)
class Intensity:
    """The z-score of the training scans: normalised = (value - mean) / std."""

    mean: float
    std: float

    @staticmethod
    def of(cases: Iterable[Case]) -> "Intensity":
        """Over all voxels of ``cases``. Raises DataError when every voxel has the same value."""
        n, total, squares = 0, 0.0, 0.0
        for case in cases:
            n += case.image.size
            total += float(case.image.sum(dtype=np.float64))
            squares += float(np.square(case.image, dtype=np.float64).sum())
        mean = total / max(n, 1)
        std = float(np.sqrt(max(squares / max(n, 1) - mean**2, 0.0)))
        if std <= 1e-6 * max(1.0, abs(mean)):
            problem = f"the training scans have no contrast: every voxel is {mean:g}"
            raise DataError(problem, fix="check that the images were read correctly")
        return Intensity(mean, std)

    def normalise(self, image: np.ndarray) -> np.ndarray:
        return (image.astype(np.float32) - np.float32(self.mean)) / np.float32(self.std)


class Patches(NamedTuple):
    """Patches drawn from a pool."""

    images: Tensor  # (n, 1, *patch) float32
    labels: Tensor | None  # (n, *patch) int64, or None where a scan has none
    ids: tuple[str, ...]  # of their cases
    locations: tuple[PatchLocation, ...]


class PatchPool:
    """The volumes of one part of a cohort as tensors, and random patches of them.

    randomise  strength of their domain randomisation (ssltut.data.views), 0 for none
    """

    def __init__(
        self,
        cases: Sequence[Case],
        intensity: Intensity,
        patch: tuple[int, int, int],
        device: torch.device | str,
        randomise: float = 0.0,
    ) -> None:
        self.patch, self.device, self.randomise = patch, device, randomise
        self.ids = tuple(case.id for case in cases)
        self.patients = tuple(case.patient for case in cases)
        metas = [case.meta for case in cases]
        self.sides = [meta.get("side") or meta.get("anatomy", {}).get("side") for meta in metas]
        self.partial = {c.id: tuple(c.meta[LABELLED]) for c in cases if LABELLED in c.meta}
        self.images = [self._image(case, intensity) for case in cases]
        labels = (case.label for case in cases)
        self.labels = [None if y is None else self._pad(torch.as_tensor(y), 0) for y in labels]
        # Bone fills a small part of a scan, so half of the labelled patches are centred on some.
        self.foreground = [None if y is None else torch.nonzero(y > 0) for y in self.labels]

    def known(self, ids: Sequence[str], n_classes: int) -> Tensor | None:
        """Which classes are labelled in scans, (B, n_classes) bool; None where all are in all."""
        if not self.partial:
            return None
        known = torch.zeros(len(ids), n_classes, dtype=torch.bool)
        for row, case_id in zip(known, ids, strict=True):
            row[[0, *self.partial.get(case_id, range(n_classes))]] = True
        return known.to(self.device)

    def _image(self, case: Case, intensity: Intensity) -> Tensor:
        steps = np.rint(intensity.normalise(case.image) * SCALE)
        volume = np.clip(steps, -32768, 32767).astype(np.int16)
        return self._pad(torch.from_numpy(volume), int(volume.min()))

    def _pad(self, volume: Tensor, value: int) -> Tensor:
        missing = [max(0, p - s) for p, s in zip(self.patch, volume.shape, strict=True)]
        pad = [v for m in reversed(missing) for v in (m // 2, m - m // 2)]
        padded = F.pad(volume, pad, value=value) if any(missing) else volume
        return padded.contiguous().to(self.device)

    def _box(self, i: int, generator: torch.Generator, level: int = 0, bins: int = 0) -> Box:
        """A random patch of volume ``i``; with ``bins`` one at this level of so many."""
        draw = torch.rand(5, generator=generator, device=self.device).tolist()
        room = [s - p for s, p in zip(self.images[i].shape, self.patch, strict=True)]
        foreground = self.foreground[i]
        if foreground is None or len(foreground) == 0 or draw[3] < 0.5:
            corner = [int(u * (r + 1)) for u, r in zip(draw[:3], room, strict=True)]
        else:
            centre = foreground[int(draw[4] * len(foreground))].tolist()
            wanted = [c - p // 2 for c, p in zip(centre, self.patch, strict=True)]
            corner = np.clip(wanted, 0, room).tolist()
        if bins:
            lowest, above = (-(-room[2] * part // bins) for part in (level, level + 1))
            above += level + 1 == bins
            corner[2] = min(lowest + int(draw[2] * max(above - lowest, 1)), room[2])
        return tuple(slice(c, c + p) for c, p in zip(corner, self.patch, strict=True))

    def _location(self, i: int, box: Box, mirrored: bool) -> PatchLocation:
        sides = self.images[i].shape
        x, y, z = ((s.start + s.stop) / 2 / n for s, n in zip(box, sides, strict=True))
        # In RAS+ the first index grows to the right.
        is_right = self.sides[i] == "right" if self.sides[i] else x > 0.5
        side = "right" if is_right != mirrored else "left"
        a, b, c = ((s.stop - s.start) / n for s, n in zip(box, sides, strict=True))
        return PatchLocation(self.patients[i], side, (1.0 - x if mirrored else x, y, z), (a, b, c))

    def sample(self, n: int, generator: torch.Generator, bins: int = 0) -> Patches:
        """``n`` random patches, augmented.

        bins  0; or a scan gives so many in a row, one at each level (``PatchLocation.level``)
        """
        group = max(bins, 1)
        size = (-(-n // group),)
        scans = torch.randint(len(self.ids), size, generator=generator, device=self.device)
        which = scans.repeat_interleave(group)[:n].tolist()
        boxes = [self._box(i, generator, k % group, bins) for k, i in enumerate(which)]
        augmentation = Augmentation.draw(n, generator)
        images, labels = self._cut(which, boxes, generator)
        if labels is not None:
            labels = augmentation.apply_label(labels)
        places = tuple(map(self._location, which, boxes, augmentation.mirror.tolist()))
        ids = tuple(self.ids[i] for i in which)
        return Patches(augmentation.apply(images), labels, ids, places)

    def _cut(
        self, which: list[int], boxes: list[Box], generator: torch.Generator
    ) -> tuple[Tensor, Tensor | None]:
        """Images (n, 1, *patch) and labels (n, *patch) or None of these boxes, randomised."""
        view = Randomisation.draw(len(which), generator, self.randomise) if self.randomise else None
        images, labels = [], []
        for k, (i, box) in enumerate(zip(which, boxes, strict=True)):
            image, label = self.images[i], self.labels[i]
            if view is None:
                image, label = image[box], None if label is None else label[box]
            else:
                image, label = view.cut(k, image, label, box)
            images.append(image)
            if label is not None:
                labels.append(label)
        x = torch.stack(images)[:, None].float() / SCALE
        y = torch.stack(labels).long() if len(labels) == len(which) else None
        return (x if view is None else view(x)), y
