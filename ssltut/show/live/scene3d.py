"""Two scans side by side with their matches, to be turned by hand: plotly's half of scene3d."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ssltut.errors import ConfigError
from ssltut.show.frontends import frontend
from ssltut.show.static.pictures import Illustrated, Picture, described, picture
from ssltut.show.static.scene3d import MATCHES, MatchScene, Mesh, arranged, drawn


def correspondences(
    surface_a: Mesh | Sequence[Mesh],
    surface_b: Mesh | Sequence[Mesh],
    points_a: ArrayLike,
    points_b: ArrayLike,
    agree: ArrayLike,
    *,
    alt: str,
    title: str | None = None,
    scans: tuple[str, str] = ("unlabelled scan", "labelled scan"),
    names: tuple[str, str] = ("match of the right class", "match of a wrong class"),
) -> object:
    """Two scans side by side, and a line from each voxel to its match.

    surface_a, surface_b   meshes of each scan, as ``surface`` makes them
    points_a, points_b     (N, 3) mm, in the frame of each scan's meshes: voxels times spacing, or
                           through the affine
    agree                  (N,) bool; agreeing matches are thin solid blue lines, others thick
                           dashed orange ones
    Returns a plotly FigureWidget that carries its picture, a page with its own script in Colab, or,
    in the static frontend, the picture alone. Raises ConfigError when the points do not pair up.
    """
    alt, agree = described(alt), np.asarray(agree, bool)
    a, b = np.asarray(points_a, float).reshape(-1, 3), np.asarray(points_b, float).reshape(-1, 3)
    if not len(a) == len(b) == len(agree):
        raise ConfigError(
            f"{len(a)} points, {len(b)} matches and {len(agree)} marks of agreement",
            where="correspondences",
            fix="give one of each",
        )
    sides = [[s] if isinstance(s, Mesh) else list(s) for s in (surface_a, surface_b)]
    scene = arranged(sides, a, b, agree, scans, names)
    still = picture(drawn(scene, title), alt)
    return still if frontend() == "static" else live_view(scene, title, still)


def traces(scene: MatchScene) -> list[object]:
    """A room as plotly draws it: the meshes, the two paths, the captions."""
    import plotly.graph_objects as go

    found = [
        go.Mesh3d(
            **dict(zip("xyz", m.vertices.astype(np.float32).T, strict=False)),
            **dict(zip("ijk", m.faces.astype(np.int32).T, strict=False)),
            color=m.colour,
            opacity=0.25,
            name=m.name,
            hoverinfo="name",
            flatshading=False,
        )
        for m in scene.meshes
    ]
    found += [
        go.Scatter3d(
            **dict(zip("xyz", path.astype(np.float32).T, strict=False)),
            mode="lines+markers",
            name=name,
            connectgaps=False,
            hoverinfo="name",
            line={"color": s["color"], "width": s["width"]},
            marker={"size": 3, "symbol": s["symbol"]},
        )
        for (name, path), s in zip(scene.matches, MATCHES, strict=False)
    ]
    every = np.concatenate([m.vertices for m in scene.meshes])
    low, middle, high = every.min(0), (every.min(0) + every.max(0)) / 2, every.max(0)
    captions = [
        *scene.captions,
        ("<b>R</b>", np.array([high[0] + 8, *middle[1:]])),
        ("<b>L</b>", np.array([low[0] - 8, *middle[1:]])),
    ]
    found.append(
        go.Scatter3d(
            **dict(zip("xyz", np.array([place for _, place in captions]).T, strict=False)),
            mode="text",
            text=[text for text, _ in captions],
            textfont={"size": 17},
            showlegend=False,
            hoverinfo="skip",
        )
    )
    return found


def layout(title: str | None) -> dict[str, object]:
    axis = {"visible": False}
    return {
        "title": title,
        "height": 560,
        "font": {"size": 15},
        "legend": {"orientation": "h", "y": 0},
        "margin": dict.fromkeys("lrb", 0) | {"t": 40},
        "uirevision": "kept",
        "scene": {
            "xaxis": axis,
            "yaxis": axis,
            "zaxis": axis,
            "aspectmode": "data",
            "camera": {"eye": {"x": 0.2, "y": 1.6, "z": 0.2}},
        },
    }


def plotly_widget(data: Sequence[object], layout: dict[str, object], *mixins: type) -> object:
    """A plotly FigureWidget that is sent to the browser only once it is complete.

    plotly's own is sent while it is empty; a browser that is quicker than the kernel loses what
    follows, and the plot stays empty.
    """
    import plotly.graph_objects as go

    class CompleteFigure(*mixins, go.FigureWidget):
        _complete = False

        def open(self) -> None:
            """What a widget does on creation; here only when the figure is complete."""
            if self._complete:
                super().open()

    figure = CompleteFigure(data, layout)
    figure._complete = True
    figure.open()
    return figure


def live_view(scene: MatchScene, title: str | None, still: Picture) -> object:
    """The live half of ``correspondences``."""
    import plotly.graph_objects as go

    if frontend() == "colab":
        return ColabPage(
            still.png,
            still.alt,
            go.Figure(traces(scene), layout(title)).to_html(
                full_html=False, include_plotlyjs="cdn"
            ),
        )

    figure = plotly_widget(traces(scene), layout(title), Illustrated)
    figure.illustration = still
    return figure


@dataclass(frozen=True, repr=False)
class ColabPage(Picture):
    """A picture with a page that shows the same thing live where scripts run, as Colab's outputs
    do.
    """

    page: str = ""

    def _repr_mimebundle_(
        self, include: object = None, exclude: object = None
    ) -> tuple[dict[str, str], dict[str, object]]:
        data, metadata = super()._repr_mimebundle_()
        return (
            data
            | {
                "text/html": (
                    f"{self.page}<details><summary>still"
                    f" picture</summary>{data['text/html']}</details>"
                )
            },
            metadata,
        )
