"""A whole scan seen from the front: its brightest values, its labels as surfaces, its points."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ssltut.data.labels import LabelTable
from ssltut.show.static.pictures import SERIES, styled
from ssltut.show.static.scene3d import Mesh, draw_meshes, surfaces
from ssltut.show.static.slices import decorate

POINT: dict[str, Any] = {"ls": "", "marker": "o", "ms": 6, "color": "#F0E442", "mec": "black"}


@dataclass(frozen=True)
class VolumeScene:
    """What a viewer is given; ``points`` (N, 3) are mm from the centre of voxel (0, 0, 0)."""

    image: np.ndarray
    spacing: Sequence[float]
    label: np.ndarray | None = None
    points: np.ndarray | None = None
    table: LabelTable | None = None

    @property
    def meshes(self) -> list[Mesh]:
        """The surface of each class."""
        if self.label is None:
            return []
        classes = range(int(self.label.max()) + 1)
        colours = tuple(SERIES[(c - 1) % len(SERIES)] for c in classes)
        table = self.table or LabelTable("", tuple(f"class {c}" for c in classes), colours)
        return surfaces(self.label, self.spacing, table)


@styled
def volume_figure(scene: VolumeScene, title: str | None) -> Figure:
    """The still picture of ``show.volume``."""
    image, spacing, points, meshes = scene.image, scene.spacing, scene.points, scene.meshes
    width, height = image.shape[0] * spacing[0], image.shape[2] * spacing[2]
    share = 0.5 if meshes else 1.0
    fig = Figure(figsize=(6 / share, 6))
    ax = fig.add_axes((0.02, 0.02, share - 0.04, 0.84))
    bright = image.max(1).T[::-1, ::-1]
    low, high = np.percentile(bright, (20, 99.8))
    extent = (0, width, 0, height)
    ax.imshow(bright, cmap="gray", vmin=low, vmax=high, extent=extent, interpolation="bilinear")
    decorate(ax, "RLSI", width, height)
    ax.set_title("brightest value from front to back")
    if points is not None:
        ax.plot(width - points[:, 0] - spacing[0] / 2, points[:, 2] + spacing[2] / 2, **POINT)
    if meshes:
        space = fig.add_axes((0.5, 0.08, 0.5, 0.82), projection="3d", computed_zorder=False)
        draw_meshes(space, meshes)
        for mesh in meshes:
            space.plot([], [], [], ls="", marker="s", ms=12, color=mesh.colour, label=mesh.name)
        if points is not None:
            space.plot(*points.T, **POINT, zorder=3, label="points", clip_on=False)
        fig.legend(loc="lower right", ncols=5)
    if title:
        fig.suptitle(title, fontsize=16)
    return fig
