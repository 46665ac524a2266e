"""A whole scan in three dimensions: always a picture, and in JupyterLab the itkwidgets viewer below it."""

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import ModuleType

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from ssltut.data.labels import LabelTable
from ssltut.errors import ConfigError
from ssltut.show.frontends import frontend
from ssltut.show.pictures import SERIES, Picture, picture, styled
from ssltut.show.slices import decorate
from ssltut.show.space import shapes, surface

POINT = {"ls": "", "marker": "o", "ms": 6, "color": "#F0E442", "mec": "black"}


@dataclass(frozen=True, repr=False)
class Volume(Picture):
    """A picture that, shown in JupyterLab, is followed by the itkwidgets viewer with ``layers`` (its keywords, made when needed)."""

    layers: Callable[[], dict[str, object]] = field(default=dict)

    def _ipython_display_(self) -> None:
        from IPython.display import display

        display(Picture(self.png, self.alt))
        try:
            itk_view()(**self.layers())
        except Exception as problem:  # noqa: BLE001 - whatever an alpha release and its browser scripts may raise, the lesson goes on
            print(f"The 3D viewer did not open ({type(problem).__name__}: {problem}); the picture above shows the same.")


def itk_view() -> Callable[..., object]:
    """itkwidgets' ``view``; the one place that imports it.

    Importing it puts a watcher in the place of the kernel's execute_request handler, which then waits for a browser for ever and loses
    every output under papermill: the kernel's own handler is put back at once. Its demand for imjoy_elfinder is met by an empty module.
    """
    sys.modules.setdefault("imjoy_elfinder", ModuleType("imjoy_elfinder"))
    try:
        from itkwidgets import view
    finally:
        module = sys.modules.get("itkwidgets.cell_watcher")
        if module is not None:
            watcher = module.CellWatcher()
            watcher.kernel.shell_handlers["execute_request"] = watcher.execute_request_handler
            with suppress(ValueError):
                watcher.shell.events.unregister("post_run_cell", watcher.post_run_cell)
    return view


def volume(image: np.ndarray, *, spacing: Sequence[float], alt: str, label_image: np.ndarray | None = None, point_set: ArrayLike | None = None,
           table: LabelTable | None = None, title: str | None = None) -> Picture:
    """A whole scan: its brightest values from the front and its labels as surfaces; in JupyterLab the itkwidgets viewer below.

    image (X, Y, Z);  label_image (X, Y, Z);  point_set (N, 3) mm from the centre of voxel (0, 0, 0);  spacing in mm.
    Raises ConfigError when the label has another shape than the image.
    """
    if label_image is not None and np.shape(label_image) != np.shape(image):
        raise ConfigError(f"label_image has shape {np.shape(label_image)} but the image has {np.shape(image)}", fix="put both on one grid")
    points = None if point_set is None else np.asarray(point_set, float).reshape(-1, 3)
    still = picture(projected(np.asarray(image), spacing, label_image, points, table, title), alt)
    if frontend() != "lab":
        return still

    def layers() -> dict[str, object]:
        from ngff_zarr import to_ngff_image

        def grid(array: np.ndarray) -> object:  # the viewer counts x to the left and y to the back
            return to_ngff_image(np.ascontiguousarray(array[::-1, ::-1].T), dims=["z", "y", "x"], scale=dict(zip("xyz", map(float, spacing))))

        given = {"image": grid(np.asarray(image))}
        if label_image is not None:
            given["label_image"] = grid(np.asarray(label_image))
        if points is not None:
            given["point_set"] = points * (-1, -1, 1) + [(image.shape[0] - 1) * spacing[0], (image.shape[1] - 1) * spacing[1], 0]
        return given

    return Volume(still.png, still.alt, layers)


@styled
def projected(image: np.ndarray, spacing: Sequence[float], label: np.ndarray | None, points: np.ndarray | None, table: LabelTable | None,
              title: str | None) -> Figure:
    """The still picture behind ``volume``."""
    classes = [] if label is None else [int(c) for c in np.unique(label) if c > 0]
    width, height = image.shape[0] * spacing[0], image.shape[2] * spacing[2]
    share = 0.5 if classes else 1.0
    fig = Figure(figsize=(6 / share, 6))
    ax = fig.add_axes((0.02, 0.02, share - 0.04, 0.84))
    bright = image.max(1).T[::-1, ::-1]
    ax.imshow(bright, cmap="gray", vmin=np.percentile(bright, 20), vmax=np.percentile(bright, 99.8), extent=(0, width, 0, height), interpolation="bilinear")
    decorate(ax, "RLSI", width, height, True)
    ax.set_title("brightest value from front to back")
    if points is not None:
        ax.plot(width - points[:, 0] - spacing[0] / 2, points[:, 2] + spacing[2] / 2, **POINT)
    if classes:
        room = fig.add_axes((0.5, 0.08, 0.5, 0.82), projection="3d", computed_zorder=False)
        meshes = [surface(label, c, spacing=spacing, table=table) for c in classes]
        meshes = meshes if table else [m._replace(colour=SERIES[k % len(SERIES)], name=f"class {c}") for k, (c, m) in enumerate(zip(classes, meshes))]
        shapes(room, meshes)
        for k, mesh in enumerate(meshes):
            room.plot([], [], [], ls="", marker="s", ms=12, color=mesh.colour, label=mesh.name)
        if points is not None:
            room.plot(*points.T, **POINT, zorder=3, label="points", clip_on=False)
        fig.legend(loc="lower right", ncols=5)
    if title:
        fig.suptitle(title, fontsize=16)
    return fig
