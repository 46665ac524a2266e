"""A whole scan in three dimensions: a picture, and beside it the best viewer that works."""

import json
import socket
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from types import ModuleType
from typing import Any

import numpy as np
from matplotlib.colors import to_hex
from numpy.typing import ArrayLike

from ssltut.data.labels import LabelTable
from ssltut.errors import ConfigError
from ssltut.files import cache_dir
from ssltut.show.frontends import chosen_by, frontend, takes_widgets
from ssltut.show.live.scene3d import layout, mesh_trace, plotly_widget
from ssltut.show.static.pictures import Picture, picture
from ssltut.show.static.scene3d import POINT, VolumeScene, volume_figure
from ssltut.show.static.slices import check_shapes
from ssltut.text import markup

# The best first: image, labels and points; the same; surfaces and points. plotly is always there.
VIEWERS = ("itkwidgets", "k3d", "plotly")
SIZE = {"width": 580, "height": 480}  # pixels of a viewer: with the front view it fits a laptop
HOSTS = ("cdn.jsdelivr.net", "lib.imjoy.io")  # two of those that itkwidgets loads its scripts from
EXTENSION = "imjoy-jupyterlab-extension"  # of itkwidgets


def volume(
    image: np.ndarray,
    *,
    spacing: Sequence[float],
    alt: str,
    label_image: np.ndarray | None = None,
    point_set: ArrayLike | None = None,
    table: LabelTable | None = None,
    title: str | None = None,
    shows: str = "brightest value",
) -> Picture:
    """A whole scan from the front: its brightest values, and its labels as surfaces.

    In JupyterLab and VS Code the first of ``VIEWERS`` that works follows, and one line says why.

    image, label_image  (X, Y, Z);  spacing  mm
    point_set           (N, 3) mm from the centre of voxel (0, 0, 0)
    shows               what the left panel is said to show, as "largest entropy (nats)"
    Raises ConfigError when the label has another shape than the image.
    """
    label = None if label_image is None else np.asarray(label_image)
    check_shapes(np.asarray(image), {"label_image": label})
    points = None if point_set is None else np.asarray(point_set, float).reshape(-1, 3)
    scene = VolumeScene(np.asarray(image), spacing, label, points, table, shows)
    still = picture(volume_figure(scene), alt, title)
    return VolumePicture(still.png, still.alt, scene=scene) if takes_widgets() else still


@dataclass(frozen=True, repr=False, kw_only=True)
class VolumePicture(Picture):
    """A picture that, where it is shown live, is followed by a viewer of ``scene``."""

    scene: VolumeScene

    def _ipython_display_(self) -> None:
        from IPython.display import display

        names, why = candidates()
        # itkwidgets may stay blank without an error; under any other viewer the picture is hidden
        role = "beside" if names[0] == "itkwidgets" else "still"
        display(Picture(self.png, self.alt, role=role))
        for name in names:
            try:
                OPENERS[name](self.scene)
                break
            except Exception as problem:  # whatever an alpha release may raise, the lesson goes on
                why = f"{name} did not open ({type(problem).__name__}: {problem})"
        else:
            print(f"No 3D viewer opened: {why}; the picture above shows the same.")
            return
        if why:
            print(f"3D viewer: {name}, because {why}.")


def scripts_place() -> tuple[Path, Path]:
    """Where install_viewer.py puts itkwidgets' scripts, and the JupyterLab configuration for it."""
    from jupyter_core.paths import jupyter_config_dir

    root = Path(jupyter_config_dir())
    if sys.prefix != sys.base_prefix:  # a virtual environment keeps its own configuration
        root = Path(sys.prefix) / "etc" / "jupyter"
    return cache_dir() / "viewer", root / "jupyter_lab_config.json"


def scripts_installed() -> bool:
    """Whether the offline scripts are there and JupyterLab is told of them."""
    folder, config = scripts_place()
    with suppress(OSError, ValueError, KeyError):
        values = json.loads(config.read_text(encoding="utf-8"))
        named = str(folder) in values["LabApp"]["extra_labextensions_path"]
        return named and (folder / EXTENSION / "package.json").is_file()
    return False


@cache
def reachable(hosts: tuple[str, ...] = HOSTS, seconds: float = 2.0) -> bool:
    """Whether this machine reaches ``hosts``, asked once and never for longer than ``seconds``."""
    answered = []

    def connect() -> None:
        for host in hosts:
            with suppress(OSError):
                socket.create_connection((host, 443), timeout=seconds).close()
                answered.append(host)

    # Some networks swallow what they do not allow. In a thread: a name server may keep one waiting
    # for longer than any time-out of ours.
    asking = Thread(target=connect, daemon=True)
    asking.start()
    asking.join(seconds)
    return len(answered) == len(hosts)


def obstacles() -> dict[str, str]:
    """What keeps each of VIEWERS from working here ("": nothing), on the kernel's network."""
    found = {name: "" if find_spec(name) else f"{name} is not installed" for name in VIEWERS}
    if not found["itkwidgets"] and frontend() == "vscode":
        found["itkwidgets"] = "itkwidgets needs JupyterLab"
    elif not found["itkwidgets"] and not scripts_installed() and not reachable():
        why = "the scripts of itkwidgets are not on this machine and their hosts cannot be reached"
        found["itkwidgets"] = f"{why} (data_scripts/install_viewer.py fetches them once)"
    return found


def candidates() -> tuple[list[str], str]:
    """The viewers to try, best first, and why the first of VIEWERS is not among them, or "".

    The environment's SSLTUT_VIEWER names the one to take. Raises ConfigError when it names none.
    """
    if chosen := chosen_by("SSLTUT_VIEWER", VIEWERS):
        return [chosen], "" if chosen == VIEWERS[0] else "SSLTUT_VIEWER asks for it"
    found = obstacles()
    return [name for name in VIEWERS if not found[name]], found[VIEWERS[0]]


def itk_view() -> Callable[..., Any]:
    """itkwidgets' ``view``; the one place that imports it.

    The import puts a watcher in the place of the kernel's execute_request handler, which waits for
    a browser for ever and loses every output under papermill: the kernel's own is put back at once.
    Its demand for imjoy_elfinder is met by an empty module.
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


def open_itkwidgets(scene: VolumeScene) -> None:
    """Image, labels and points; the kernel does not wait for the browser's scripts."""
    from ngff_zarr import to_ngff_image

    scale = dict(zip("xyz", map(float, scene.spacing), strict=True))

    def grid(array: np.ndarray) -> Any:  # the viewer counts x to the left and y to the back
        turned = np.ascontiguousarray(array[::-1, ::-1].T)
        return to_ngff_image(turned, dims=["z", "y", "x"], scale=scale)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of dask, about how it guesses dtypes
        layers = {"image": grid(scene.image)}
        if scene.label is not None:
            layers["label_image"] = grid(scene.label)
        if scene.points is not None:
            ends = (np.array(scene.image.shape) - 1) * scene.spacing * (1, 1, 0)
            layers["point_set"] = scene.points * (-1, -1, 1) + ends
        itk_view()(**layers)


def with_front(viewer: Any, scene: VolumeScene) -> Any:
    """A viewer, and beside it the scan from the front, which a viewer of surfaces cannot show."""
    import ipywidgets

    from ssltut.show.live.widgets import beside

    alt = f"{scene.shows}, from the front"
    front = picture(volume_figure(replace(scene, label=None)), alt)
    return beside([viewer], [ipywidgets.HTML(front._repr_mimebundle_()[0]["text/html"])])


def open_k3d(scene: VolumeScene) -> None:
    """Image, surfaces and points by k3d, which brings its own scripts."""
    import k3d
    from IPython.display import display

    shape, spacing = np.array(scene.image.shape), np.array(scene.spacing, float)
    plot = k3d.plot(camera_auto_fit=False, grid_visible=False, height=SIZE["height"])
    plot.layout.width = f"{SIZE['width']}px"
    bounds = np.stack([-0.5 * spacing, (shape - 0.5) * spacing], -1).ravel()
    low, high = np.percentile(scene.image, (60, 99.8))
    grey = {"color_range": [float(low), float(max(high, low + 1e-6))], "alpha_coef": 8}
    grey["color_map"] = k3d.colormaps.matplotlib_color_maps.Gray
    values = np.ascontiguousarray(scene.image.T, np.float32)
    plot += k3d.volume(values, bounds=bounds, name="image", **grey)
    for mesh in scene.meshes:
        look = {"color": packed(mesh.colour), "opacity": 0.6, "name": markup(mesh.name)}
        plot += k3d.mesh(mesh.vertices.astype(np.float32), mesh.faces.astype(np.uint32), **look)
    if scene.points is not None:
        look = {"color": packed(POINT["color"]), "point_size": 2 * float(spacing.max())}
        plot += k3d.points(scene.points.astype(np.float32), name="points", **look)
    size = shape * spacing
    x, y, z = size / 2
    # From the front: where the camera stands, what it looks at, and what is up.
    plot.camera = [float(v) for v in (x, y + 1.6 * size.max(), z, x, y, z, 0, 0, 1)]
    display(with_front(plot, scene))


def packed(colour: str) -> int:
    """A colour as the one integer 0xRRGGBB."""
    return int(to_hex(colour)[1:], 16)


def open_plotly(scene: VolumeScene) -> None:
    """Surfaces and points by plotly; the image itself it cannot show."""
    import plotly.graph_objects as go
    from IPython.display import display

    traces = [mesh_trace(mesh, opacity=0.7, showlegend=True) for mesh in scene.meshes]
    if scene.points is not None:
        x, y, z = scene.points.astype(np.float32).T
        marker = {"size": 5, "color": POINT["color"], "line": {"color": "black", "width": 1}}
        traces.append(go.Scatter3d(x=x, y=y, z=z, mode="markers", name="points", marker=marker))
    if not traces:
        fix = "install itkwidgets or k3d to see an image alone"
        raise ConfigError("there is neither a label nor a point to draw", where="plotly", fix=fix)
    display(with_front(plotly_widget(traces, layout(None) | SIZE), scene))


OPENERS = {"itkwidgets": open_itkwidgets, "k3d": open_k3d, "plotly": open_plotly}
