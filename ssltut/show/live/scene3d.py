"""Two scans side by side with their matches, to be turned by hand: plotly's half of scene3d."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from ssltut.errors import ConfigError
from ssltut.show.frontends import frontend
from ssltut.show.static import scene3d
from ssltut.show.static.pictures import Illustrated, Picture, picture
from ssltut.text import markup, plain

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from plotly.basedatatypes import BaseTraceType


def correspondences(
    surface_a: scene3d.Mesh | Sequence[scene3d.Mesh],
    surface_b: scene3d.Mesh | Sequence[scene3d.Mesh],
    points_a: ArrayLike,
    points_b: ArrayLike,
    agree: ArrayLike,
    *,
    alt: str,
    title: str | None = None,
    scans: tuple[str, str] = ("unlabelled scan", "labelled scan"),
    names: tuple[str, str] = ("match of the right class", "match of a wrong class"),
) -> "Picture | go.FigureWidget":
    """Two scans side by side, and a line from each voxel to its match.

    surface_a, surface_b   meshes of each scan, as ``surface`` makes them
    points_a, points_b     (N, 3) mm in the frame of each scan's meshes
    agree                  (N,) bool: thin solid blue lines; the others are thick dashed orange ones
    Returns a plotly FigureWidget that carries its picture, a page with its own script in Colab, or,
    in the static frontend, the picture alone. Raises ConfigError when the points do not pair up.
    """
    a, b = np.asarray(points_a, float).reshape(-1, 3), np.asarray(points_b, float).reshape(-1, 3)
    agree = np.asarray(agree, bool)
    if not len(a) == len(b) == len(agree):
        problem = f"{len(a)} points, {len(b)} matches and {len(agree)} marks of agreement"
        raise ConfigError(problem, where="correspondences", fix="give one of each")
    sides = [[s] if isinstance(s, scene3d.Mesh) else list(s) for s in (surface_a, surface_b)]
    scene = scene3d.arrange_matches(sides, a, b, agree, scans, names)
    still = picture(scene3d.matches_figure(scene), alt, title)
    if frontend() == "static":
        return still
    if frontend() == "colab":
        import plotly.graph_objects as go

        figure = go.Figure(traces(scene), layout(title))
        page = figure.to_html(full_html=False, include_plotlyjs="cdn")
        return replace(still, page=page)
    return plotly_widget(traces(scene), layout(title), still)


def lettered(text: str) -> str:
    """``text`` as a title or key of plotly shows it letter by letter: no tags and no formulas.

    Words within a scene take no entities; they are pixels, in which nothing can run.
    """
    return markup(text).replace("$", "&#36;")


def mesh_trace(mesh: scene3d.Mesh, opacity: float, **style: Any) -> "go.Mesh3d":
    """A mesh as plotly draws it."""
    import plotly.graph_objects as go

    x, y, z = mesh.vertices.astype(np.float32).T
    i, j, k = mesh.faces.astype(np.int32).T
    style |= {
        "color": mesh.colour,
        "opacity": opacity,
        "name": lettered(mesh.name) or None,  # plotly's widget sends no change past an empty name
        "hoverinfo": "name",
    }
    return go.Mesh3d(x=x, y=y, z=z, i=i, j=j, k=k, **style)


def traces(scene: scene3d.MatchScene) -> "list[BaseTraceType]":
    """A scene as plotly draws it: the meshes, the two paths, the captions."""
    import plotly.graph_objects as go

    # Through bones one sees the lines; without lines it is the bones that are looked at.
    opacity = 0.25 if scene.matches else 1.0
    shown: list[BaseTraceType] = [
        mesh_trace(mesh, opacity, showlegend=bool(mesh.name) and not scene.matches)
        for mesh in scene.meshes
    ]
    for (name, path), style in zip(scene.matches, scene3d.MATCHES, strict=False):
        x, y, z = path.astype(np.float32).T
        line = {"color": style["color"], "width": style["width"]}
        marker = {"size": 3, "symbol": style["symbol"]}
        look: dict[str, Any] = {"mode": "lines+markers", "connectgaps": False, "hoverinfo": "name"}
        look |= {"name": lettered(name), "showlegend": bool(len(path))}
        shown.append(go.Scatter3d(x=x, y=y, z=z, line=line, marker=marker, **look))
    low, high = scene3d.bounding_box(scene.meshes)
    middle = (low + high) / 2
    right = ("<b>R</b>", np.array([high[0] + 8, *middle[1:]]))
    left = ("<b>L</b>", np.array([low[0] - 8, *middle[1:]]))
    captions = [(plain(words), place) for words, place in scene.captions]
    text, places = zip(*captions, right, left, strict=True)
    x, y, z = np.array(places).T
    look = {"mode": "text", "textfont": {"size": 17}, "showlegend": False, "hoverinfo": "skip"}
    shown.append(go.Scatter3d(x=x, y=y, z=z, text=text, **look))
    return shown


def layout(title: str | None) -> dict[str, Any]:
    return {
        "title": title and lettered(title),
        "height": 560,
        "font_size": 15,
        "legend": {"orientation": "h", "y": 0},
        "margin": {"l": 0, "r": 0, "b": 0, "t": 40},
        "uirevision": "kept",
        "scene": {f"{axis}axis_visible": False for axis in "xyz"},
        "scene_aspectmode": "data",
        "scene_camera_eye": {"x": 0.2, "y": 1.6, "z": 0.2},
    }


def plotly_widget(
    data: "Sequence[BaseTraceType]", layout: Mapping[str, Any], still: Picture | None = None
) -> "go.FigureWidget":
    """A plotly FigureWidget that carries ``still`` and is sent to the browser when it is complete.

    plotly's own is sent while it is empty; a browser that is quicker than the kernel loses what
    follows, and the plot stays empty.
    """
    import plotly.graph_objects as go

    class CompleteFigure(go.FigureWidget):
        _complete = False

        def open(self) -> None:
            """What a widget does on creation; here only when the figure is complete."""
            if self._complete:
                super().open()

    class IllustratedFigure(Illustrated, CompleteFigure):
        if still:
            illustration = still

    figure = (IllustratedFigure if still else CompleteFigure)(data, layout)
    figure._complete = True
    figure.open()
    return figure
