"""A whole scan in three dimensions: always a picture, and in JupyterLab the best viewer that works
there below it.
"""

import json
import os
import socket
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from types import ModuleType

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from ssltut.data.labels import LabelTable
from ssltut.errors import ConfigError
from ssltut.files import cache_dir
from ssltut.show.frontends import frontend
from ssltut.show.static.pictures import SERIES, Picture, picture, styled
from ssltut.show.static.scene3d import Mesh, shapes, surface
from ssltut.show.static.slices import decorate

POINT = {"ls": "", "marker": "o", "ms": 6, "color": "#F0E442", "mec": "black"}
VIEWERS = ("itkwidgets", "k3d", "plotly")  # the best first; plotly is always there
HOSTS = ("cdn.jsdelivr.net", "lib.imjoy.io")  # two of those that itkwidgets loads its scripts from


EXTENSION = "imjoy-jupyterlab-extension"  # of itkwidgets


def scripts_place() -> tuple[Path, Path]:
    """Where data_scripts/install_viewer.py puts itkwidgets' scripts, and the JupyterLab
    configuration that names them: a virtual environment keeps its own, any other Python its user's.
    """
    from jupyter_core.paths import jupyter_config_dir

    in_environment = sys.prefix != sys.base_prefix
    root = Path(sys.prefix) / "etc" / "jupyter" if in_environment else Path(jupyter_config_dir())
    return cache_dir() / "viewer", root / "jupyter_lab_config.json"


def scripts_installed() -> bool:
    """Whether the scripts are there and JupyterLab is told of them."""
    folder, config = scripts_place()
    with suppress(OSError, ValueError, KeyError):
        values = json.loads(config.read_text(encoding="utf-8"))
        told = str(folder) in values["LabApp"]["extra_labextensions_path"]
        return told and (folder / EXTENSION / "package.json").is_file()
    return False


@cache
def reachable(hosts: tuple[str, ...] = HOSTS, seconds: float = 2.0) -> bool:
    """Whether this machine reaches ``hosts``, asked once and never for longer than ``seconds``:
    some networks swallow what they do not allow.
    """
    answered = []

    def knock() -> None:
        for host in hosts:
            with suppress(OSError):
                socket.create_connection((host, 443), timeout=seconds).close()
                answered.append(host)

    asking = Thread(
        target=knock, daemon=True
    )  # a name server may keep one waiting for longer than any time-out of ours
    asking.start()
    asking.join(seconds)
    return len(answered) == len(hosts)


def obstacles() -> dict[str, str]:
    """What keeps each of VIEWERS from working here, "" where nothing does. That the browser has the
    kernel's network is assumed.
    """
    found = {name: "" if find_spec(name) else f"{name} is not installed" for name in VIEWERS}
    if not found["itkwidgets"] and not scripts_installed() and not reachable():
        found["itkwidgets"] = (
            "the scripts of itkwidgets are not on this machine and their hosts cannot be reached"
            " (data_scripts/install_viewer.py fetches them once)"
        )
    return found


def candidates() -> tuple[list[str], str]:
    """The viewers to try, best first, and why the first of VIEWERS is not among them ("" when it
    is).

    The environment's SSLTUT_VIEWER names the one to take. Raises ConfigError when it names none.
    """
    chosen = os.environ.get("SSLTUT_VIEWER")
    if chosen and chosen not in VIEWERS:
        raise ConfigError(
            f"SSLTUT_VIEWER is {chosen!r}",
            fix=f"set it to one of {', '.join(VIEWERS)}, or unset it",
        )
    if chosen:
        return [chosen], "" if chosen == VIEWERS[0] else "SSLTUT_VIEWER asks for it"
    found = obstacles()
    return [name for name in VIEWERS if not found[name]], found[VIEWERS[0]]


@dataclass(frozen=True)
class Solid:
    """What a viewer is given: image, label (X, Y, Z), spacing in mm, points (N, 3) mm from the
    centre of voxel (0, 0, 0), names and colours.
    """

    image: np.ndarray
    spacing: Sequence[float]
    label: np.ndarray | None
    points: np.ndarray | None
    table: LabelTable | None

    @property
    def meshes(self) -> list[Mesh]:
        """The surface of each class."""
        classes = [] if self.label is None else [int(c) for c in np.unique(self.label) if c > 0]
        found = [surface(self.label, c, spacing=self.spacing, table=self.table) for c in classes]
        return (
            found
            if self.table
            else [
                m._replace(colour=SERIES[k % len(SERIES)], name=f"class {c}")
                for k, (c, m) in enumerate(zip(classes, found, strict=False))
            ]
        )


@dataclass(frozen=True, repr=False)
class Volume(Picture):
    """A picture that, shown in JupyterLab, is followed by a viewer of ``solid``."""

    solid: Solid | None = None

    def _ipython_display_(self) -> None:
        from IPython.display import display

        display(Picture(self.png, self.alt, role="beside"))
        names, why = candidates()
        for name in names:
            try:
                OPENERS[name](self.solid)
                break
            # Whatever an alpha release and its browser scripts may raise, the lesson goes on.
            except Exception as problem:
                why = f"{name} did not open ({type(problem).__name__}: {problem})"
        else:
            print(f"No 3D viewer opened: {why}; the picture above shows the same.")
            return
        if why:
            print(f"3D viewer: {name}, because {why}.")


def open_itkwidgets(solid: Solid) -> None:
    """Image, labels and points; the browser draws them when it has the scripts, and the kernel does
    not wait for it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of dask, about how it guesses dtypes
        itk_view()(**layers(solid))


def layers(solid: Solid) -> dict[str, object]:
    """The keywords of itkwidgets' ``view``."""
    from ngff_zarr import to_ngff_image

    def grid(array: np.ndarray) -> object:  # the viewer counts x to the left and y to the back
        return to_ngff_image(
            np.ascontiguousarray(array[::-1, ::-1].T),
            dims=["z", "y", "x"],
            scale=dict(zip("xyz", map(float, solid.spacing), strict=False)),
        )

    given = {"image": grid(solid.image)}
    if solid.label is not None:
        given["label_image"] = grid(solid.label)
    if solid.points is not None:
        ends = [(n - 1) * s for n, s in zip(solid.image.shape[:2], solid.spacing, strict=False)]
        given["point_set"] = solid.points * (-1, -1, 1) + [*ends, 0]
    return given


def open_k3d(solid: Solid) -> None:
    """Image, surfaces and points by k3d, which brings its own scripts."""
    import k3d
    from IPython.display import display

    shape, spacing = np.array(solid.image.shape), np.array(solid.spacing, float)
    bounds = np.stack([-0.5 * spacing, (shape - 0.5) * spacing], -1).ravel()
    low, high = np.percentile(solid.image, (60, 99.8))
    plot = k3d.plot(camera_auto_fit=False, grid_visible=False, height=480)
    plot += k3d.volume(
        np.ascontiguousarray(solid.image.T, np.float32),
        color_range=[float(low), float(max(high, low + 1e-6))],
        bounds=bounds,
        alpha_coef=8,
        name="image",
        color_map=k3d.colormaps.matplotlib_color_maps.Gray,
    )
    for mesh in solid.meshes:
        plot += k3d.mesh(
            mesh.vertices.astype(np.float32),
            mesh.faces.astype(np.uint32),
            color=packed(mesh.colour),
            opacity=0.6,
            name=mesh.name,
        )
    if solid.points is not None:
        plot += k3d.points(
            solid.points.astype(np.float32),
            point_size=2 * float(spacing.max()),
            color=packed(POINT["color"]),
            name="points",
        )
    plot.camera = [float(v) for v in view_from_the_front(shape * spacing)]
    display(plot)


def view_from_the_front(size: np.ndarray) -> list[float]:
    """Camera place, target and up (9,) that see a scan of ``size`` mm from the front."""
    middle = size / 2
    return [middle[0], middle[1] + 1.6 * size.max(), middle[2], *middle, 0, 0, 1]


def packed(colour: str) -> int:
    """A colour as the one integer 0xRRGGBB."""
    return int("".join(f"{round(255 * v):02x}" for v in to_rgb(colour)), 16)


def open_plotly(solid: Solid) -> None:
    """Surfaces and points by plotly; the image itself it cannot show."""
    import plotly.graph_objects as go
    from IPython.display import display

    from ssltut.show.live.scene3d import layout, plotly_widget

    drawn = [
        go.Mesh3d(
            **dict(zip("xyz", m.vertices.astype(np.float32).T, strict=False)),
            **dict(zip("ijk", m.faces.astype(np.int32).T, strict=False)),
            color=m.colour,
            opacity=0.7,
            name=m.name,
            hoverinfo="name",
            showlegend=True,
        )
        for m in solid.meshes
    ]
    if solid.points is not None:
        drawn.append(
            go.Scatter3d(
                **dict(zip("xyz", solid.points.astype(np.float32).T, strict=False)),
                mode="markers",
                name="points",
                marker={"size": 5, "color": POINT["color"], "line": {"color": "black", "width": 1}},
            )
        )
    if not drawn:
        raise ConfigError(
            "there is neither a label nor a point to draw",
            where="plotly",
            fix="install itkwidgets or k3d to see an image alone",
        )
    display(plotly_widget(drawn, layout(None)))


OPENERS: dict[str, Callable[[Solid], None]] = {
    "itkwidgets": open_itkwidgets,
    "k3d": open_k3d,
    "plotly": open_plotly,
}


def itk_view() -> Callable[..., object]:
    """itkwidgets' ``view``; the one place that imports it.

    Importing it puts a watcher in the place of the kernel's execute_request handler, which then
    waits for a browser for ever and loses every output under papermill: the kernel's own handler is
    put back at once. Its demand for imjoy_elfinder is met by an empty module.
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


def volume(
    image: np.ndarray,
    *,
    spacing: Sequence[float],
    alt: str,
    label_image: np.ndarray | None = None,
    point_set: ArrayLike | None = None,
    table: LabelTable | None = None,
    title: str | None = None,
) -> Picture:
    """A whole scan: its brightest values from the front and its labels as surfaces; in JupyterLab a
    viewer below.

    That is itkwidgets (image, labels, points), where it can work, else k3d, else plotly (surfaces
    and points), and one line says why.

    image (X, Y, Z);  label_image (X, Y, Z);  point_set (N, 3) mm from the centre of voxel (0, 0,
    0);  spacing in mm. Raises ConfigError when the label has another shape than the image.
    """
    if label_image is not None and np.shape(label_image) != np.shape(image):
        raise ConfigError(
            f"label_image has shape {np.shape(label_image)} but the image has {np.shape(image)}",
            fix="put both on one grid",
        )
    points = None if point_set is None else np.asarray(point_set, float).reshape(-1, 3)
    solid = Solid(
        np.asarray(image),
        spacing,
        None if label_image is None else np.asarray(label_image),
        points,
        table,
    )
    still = picture(projected(solid, title), alt)
    return Volume(still.png, still.alt, solid) if frontend() == "lab" else still


@styled
def projected(solid: Solid, title: str | None) -> Figure:
    """The still picture behind ``volume``."""
    image, spacing, points, meshes = solid.image, solid.spacing, solid.points, solid.meshes
    width, height = image.shape[0] * spacing[0], image.shape[2] * spacing[2]
    share = 0.5 if meshes else 1.0
    fig = Figure(figsize=(6 / share, 6))
    ax = fig.add_axes((0.02, 0.02, share - 0.04, 0.84))
    bright = image.max(1).T[::-1, ::-1]
    ax.imshow(
        bright,
        cmap="gray",
        vmin=np.percentile(bright, 20),
        vmax=np.percentile(bright, 99.8),
        extent=(0, width, 0, height),
        interpolation="bilinear",
    )
    decorate(ax, "RLSI", width, height, True)
    ax.set_title("brightest value from front to back")
    if points is not None:
        ax.plot(width - points[:, 0] - spacing[0] / 2, points[:, 2] + spacing[2] / 2, **POINT)
    if meshes:
        room = fig.add_axes((0.5, 0.08, 0.5, 0.82), projection="3d", computed_zorder=False)
        shapes(room, meshes)
        for mesh in meshes:
            room.plot([], [], [], ls="", marker="s", ms=12, color=mesh.colour, label=mesh.name)
        if points is not None:
            room.plot(*points.T, **POINT, zorder=3, label="points", clip_on=False)
        fig.legend(loc="lower right", ncols=5)
    if title:
        fig.suptitle(title, fontsize=16)
    return fig
