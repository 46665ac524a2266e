"""A bone to turn and to ask: click its surface, and read what truth and network say there."""

from collections.abc import Callable
from typing import Any

import ipywidgets
import numpy as np

from ssltut.data.labels import LabelTable
from ssltut.show.frontends import takes_widgets
from ssltut.show.live import widgets
from ssltut.show.live.scene3d import layout, plotly_widget, traces
from ssltut.show.static.pictures import Picture, picture
from ssltut.show.static.scene3d import AnsweredSurface, answered_surface, matches_figure
from ssltut.show.static.slices import Spacing, check_shapes
from ssltut.text import markup

Describe = Callable[[tuple[int, ...], int], str]  # a voxel and the answer there, in HTML
LOOK = {"width": 580, "height": 480, "scene_camera_eye": {"x": 0.25, "y": 2.0, "z": 0.25}}


def explore_surface(
    label: np.ndarray,
    answer: np.ndarray,
    heat: np.ndarray,
    *,
    class_id: int,
    spacing: Spacing,
    table: LabelTable,
    alt: str,
    heat_label: str = "entropy (nats)",
    title: str | None = None,
) -> "Picture | SurfaceExplorer":
    """The true surface of one class in the colours of a network's answers, to turn and click.

    label, answer, heat  (X, Y, Z); answer and heat are read one voxel beneath the surface
    Where widgets run, a click or the slider asks for truth, teacher and heat; elsewhere there is
    the picture alone. Raises ConfigError when the grids differ, and as ``surface`` does.
    """
    check_shapes(label, {"answer": answer, "heat": heat})
    scene = answered_surface(label, answer, class_id, spacing, table)
    still = picture(matches_figure(scene.drawn), alt, title)
    if not takes_widgets():
        return still

    def describe(at: tuple[int, ...], said: int) -> str:
        answers = widgets.answers_html({"truth": label[at], "teacher": said}, table.names)
        text = f"{markup(heat_label)}: <b>{heat[at]:.2f}</b>, at most {heat.max():.2f} in this scan"
        return widgets.announced(f"<b>voxel {at}</b>{answers}{text}")

    return SurfaceExplorer(scene, still, describe).titled(title)


class SurfaceExplorer(widgets.LiveView):
    """``point`` chooses a vertex, ``plot`` shows it, ``answer`` says what is there."""

    def __init__(self, scene: AnsweredSurface, still: Picture, describe: Describe) -> None:
        super().__init__(still, "surface")
        self.scene, self.describe = scene, describe
        top = int(scene.vertices[:, 2].argmax())
        self.point = widgets.int_slider("point", top, 0, len(scene.vertices) - 1, **widgets.WIDE)
        self.answer = widgets.classed(ipywidgets.HTML(), "answer")
        marker = {"size": 7, "color": "black", "symbol": "diamond"}
        mark = {"type": "scatter3d", "mode": "markers", "marker": marker, "hoverinfo": "skip"}
        shown = [*traces(scene.drawn), mark | {"showlegend": False}]
        self.plot = plotly_widget(shown, layout(None) | LOOK)
        for trace in self.plot.data[: len(scene.drawn.meshes)]:
            trace.hoverinfo = "none"  # a click answers
            trace.on_click(self.clicked)
        self.point.observe(lambda _: self.redraw(), names="value")
        words = ipywidgets.HTML("<b>Turn it. Click it.</b>")
        plot = widgets.classed(ipywidgets.VBox([self.plot]), "plot")
        self.children = [widgets.beside([plot], [words, self.answer, self.point])]
        self.redraw()

    def clicked(self, trace: Any, points: Any, _: object) -> None:
        if points.point_inds:
            self.point.value = int(points.point_inds[0])

    def redraw(self) -> None:
        """The mark and the words follow the chosen vertex."""
        vertex, voxel, said = (array[self.point.value] for array in self.scene[:3])
        x, y, z = (vertex + 0.03 * (vertex - self.scene.vertices.mean(0)))[:, None]
        self.plot.data[-1].update(x=x, y=y, z=z)
        self.answer.value = self.describe(tuple(map(int, voxel)), int(said))
