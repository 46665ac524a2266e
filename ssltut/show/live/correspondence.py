"""The correspondence explorer: pick a voxel, see where a labelled scan resembles it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import ipywidgets
import numpy as np
from PIL import Image, ImageDraw

from ssltut.data.labels import LabelTable
from ssltut.errors import ConfigError
from ssltut.methods.matching.primitives import KERNELS
from ssltut.show.frontends import frontend, takes_widgets
from ssltut.show.live import widgets
from ssltut.show.live.planes import SMALL, LinkedPlanes, crossed, framed, legend, position
from ssltut.show.live.scene3d import layout, lettered, plotly_widget, traces
from ssltut.show.static import matches
from ssltut.show.static.matches import EmbeddedScan, Match, MatchFinder, Question
from ssltut.show.static.pictures import Picture, picture
from ssltut.show.static.scene3d import MATCHES, matches_figure
from ssltut.show.static.slices import PLANES, Scene
from ssltut.text import markup

MOST = 30  # neighbours a slider reaches
PLOT = {"width": widgets.RIGHT, "height": 270, "font_size": 12, "margin": dict.fromkeys("lrtb", 0)}
PLOT |= {"showlegend": True, "scene_camera_eye": {"x": 0.2, "y": 2.2, "z": 0.2}}


def explore_matches(
    target: Mapping[str, Any],
    labelled: Mapping[str, Mapping[str, Any]],
    *,
    table: LabelTable,
    at: Sequence[int],
    alt: str,
    name: str = "unlabelled scan",
    question: Mapping[str, Any] | None = None,
    title: str | None = None,
) -> "Picture | MatchExplorer":
    """Correspondence explorer: pick a voxel, see its nearest references in a labelled scan.

    target      keywords of ``EmbeddedScan`` for the unlabelled scan;  name  what to call it
    labelled    {name: keywords of ``EmbeddedScan``}, each with a label
    at          the voxel to begin with
    question    keywords of ``Question``: kernel, k, band and draw to begin with
    Raises ConfigError for a voxel outside the scan, and as ``EmbeddedScan`` and ``MatchFinder`` do.
    """
    new, at = EmbeddedScan(name, table, **target), tuple(map(int, at))
    if len(at) != 3 or not all(0 <= v < n for v, n in zip(at, new.image.shape, strict=True)):
        fix = "give three indices inside it"
        raise ConfigError(f"voxel {at} is not in a scan of shape {new.image.shape}", fix=fix)
    scans = {scan: EmbeddedScan(scan, table, **keywords) for scan, keywords in labelled.items()}
    finder = MatchFinder(new, scans)
    match = finder(at, next(iter(scans)), Question(**(question or {})))
    still = picture(matches.correspondence_figure(match, title), alt)
    if frontend() == "static":
        return still
    return MatchExplorer(match, finder, still).titled(title)


class MatchExplorer(LinkedPlanes):
    """Pick a voxel, see which labelled voxels resemble it and what they say.

    reference  {plane: picture} of the labelled scan, cut at the reference of rank ``neighbour``
    plot       of the lines in 3D: a plotly FigureWidget; where there is none, an Image that the
               Button ``draw_plot`` fills
    """

    def __init__(self, match: Match, finder: MatchFinder, still: Picture) -> None:
        self.target_scene = matches.target_scene(match)
        question = match.question
        of = f" of {match.target.name}; a click picks a voxel"
        super().__init__(self.target_scene, still, "matches", SMALL, of=of)
        self.finder, self.match, self.lines = finder, match, matches.match_scene(match)
        reference = {plane: widgets.plane_image(plane, "", clickable=False) for plane in PLANES}
        self.reference = reference
        self.scan = widgets.dropdown("scan", list(finder.labelled), "labelled")
        self.kernel = widgets.dropdown("kernel", list(KERNELS), "kernel", value=question.kernel)
        self.k = widgets.int_slider("k", question.k, 1, max(MOST, question.k))
        self.band = widgets.int_slider("band", question.band, 1, max(4, question.band))
        self.draw = widgets.int_slider("draw", question.draw, 0, max(9, question.draw))
        self.neighbour = widgets.int_slider("neighbour", 1, 1, question.k)
        self.answer = widgets.classed(ipywidgets.HTML(), "answer")
        self.reference_key = widgets.classed(ipywidgets.HTML(), "reference-key")
        self.draw_plot = widgets.classed(ipywidgets.Button(description="draw in 3D"), "draw-plot")
        self.draw_plot.on_click(self.draw_picture)
        self.plotted_scan = match.source
        if takes_widgets():
            self.plot = plotly_widget(traces(self.lines), layout(None) | PLOT)
            plot = ipywidgets.VBox([self.plot])
        else:
            self.plot = ipywidgets.Image(format="png", layout={"width": f"{widgets.RIGHT}px"})
            plot = ipywidgets.VBox([self.draw_plot, self.plot])
        for control in (self.scan, self.kernel, self.k, self.band, self.draw):
            control.observe(self.changed, names="value")
        self.neighbour.observe(self.draw_reference, names="value")
        scans = [
            widgets.classed(self.columns, "target"),
            widgets.classed(ipywidgets.HTML(legend(self.target_scene)), "target-key"),
            widgets.classed(ipywidgets.HBox(list(reference.values())), "reference"),
            self.reference_key,
        ]
        controls = [self.scan, self.kernel, self.neighbour, self.k, self.band, self.draw]
        answers = [self.answer, widgets.classed(plot, "plot")]
        self.children = [widgets.beside(scans, answers), widgets.wrapped(controls)]
        self.redraw()

    @property
    def question(self) -> Question:
        return Question(self.kernel.value, self.k.value, self.band.value, self.draw.value)

    def go(self, at: Sequence[int]) -> None:
        if tuple(at) != self.at:  # a drag inside one voxel searches once
            super().go(at)

    def redraw(self) -> None:
        """Another voxel, scan or question: everything is looked up and drawn again."""
        self.match = self.finder(self.at, self.scan.value, self.question)
        self.lines = matches.match_scene(self.match)
        with self.hold():
            self.neighbour.value, self.neighbour.max = 1, self.k.value
        self.draw_planes(self.target_scene, 0.5)
        self.draw_reference()
        self.answer.value = self.answer_html()
        self.update_plot()

    def draw_reference(self, change: Mapping[str, Any] | None = None) -> None:
        """The labelled scan, cut at the neighbour of the rank asked for."""
        if self.held:
            return
        x, y, z = (int(v) for v in self.match.place[self.neighbour.value - 1])
        scene = matches.reference_scene(self.match, (x, y, z))
        high = self.match.alike.max()
        self.reference_key.value = (
            f"{legend(replace(scene, heat=None))}&emsp;marks: the {self.k.value} nearest, seen"
            f" through the slices<br>colour: the most similar quarter, {high - scene.top:.3f} to"
            f" {high:.3f}"
        )
        for plane, image in self.reference.items():
            frame = framed(scene, plane, (x, y, z), 0.5, side=SMALL)
            self.mark_neighbours(frame, scene, plane)
            image.value = crossed(frame, scene, plane, (x, y, z))

    def mark_neighbours(self, frame: Image.Image, scene: Scene, plane: str) -> None:
        """Neighbours as seen through the slices: circles where they agree, else squares."""
        pen = ImageDraw.Draw(frame)
        marks = zip(self.match.place[::-1], self.match.agree[::-1], strict=True)  # nearest on top
        for place, agreed in marks:
            x, y = position(frame, scene, plane, place)
            shape = pen.ellipse if agreed else pen.rectangle
            colour = MATCHES[0 if agreed else 1]["color"]
            shape([x - 5, y - 5, x + 5, y + 5], fill=colour, outline="white", width=2)

    def answer_html(self) -> str:
        """The class by each who has one, and the vote and the kernel of each class."""
        names = self.match.target.table.names
        rows = [("<b>class</b>", "<b>vote</b>", "<b>kernel</b>")]
        for name, share, score in zip(names, *self.match[-2:], strict=True):
            kernel = "absent" if np.isnan(score) else f"{score:.3f}"
            rows.append((markup(name), f"{share:.0%}", kernel))
        answers = widgets.answers_html(self.match.answers, names)
        text = f"<b>voxel {self.at}</b>{answers}{widgets.html_table(rows)}"
        return widgets.announced(text, size="14px")

    def draw_picture(self, _: ipywidgets.Button) -> None:
        self.plot.value = picture(matches_figure(self.lines), self.illustration.alt).png

    def update_plot(self) -> None:
        """The lines, and with another scan its bones too."""
        if isinstance(self.plot, ipywidgets.Image):
            self.plot.value = b""  # a picture takes a second: it waits for its button
            return
        with self.plot.batch_update():
            if self.plotted_scan is not self.match.source:
                self.plot.data = []
                self.plot.add_traces(traces(self.lines))
                self.plotted_scan = self.match.source
                return
            paths = self.plot.data[len(self.lines.meshes) :]
            for trace, (name, path) in zip(paths, self.lines.matches, strict=False):
                trace.x, trace.y, trace.z = path.astype(np.float32).T
                trace.name, trace.showlegend = lettered(name), bool(len(path))
