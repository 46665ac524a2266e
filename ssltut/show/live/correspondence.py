"""The correspondence explorer: pick a voxel, see where a labelled scan resembles it."""

import html
from collections.abc import Mapping, Sequence
from dataclasses import replace

import ipywidgets
import numpy as np

from ssltut.data.labels import LabelTable
from ssltut.errors import ConfigError
from ssltut.methods.matching.primitives import KERNELS
from ssltut.show.frontends import frontend
from ssltut.show.live.planes import crossed, framed, legend, pixels_per_mm
from ssltut.show.live.scene3d import layout, plotly_widget, traces
from ssltut.show.live.slices import View, classed, pane
from ssltut.show.static.correspondence import (
    PUBLISHED,
    EmbeddedScan,
    MatchFinder,
    Question,
    agrees,
    answers,
    correspondence_figure,
    known_surfaces,
    match_scene,
    reference_scene,
    target_scene,
)
from ssltut.show.static.pictures import Picture, described, picture
from ssltut.show.static.scene3d import MATCHES, MatchScene, matches_figure
from ssltut.show.static.slices import PLANES, Scene

AXES = {"xyz"[PLANES[plane][0]]: plane for plane in PLANES}
MOST = 30  # neighbours a slider reaches


class MatchExplorer(View):
    """Pick a voxel, see who vouches for it.

    sliders    {"x", "y", "z"} of the picked voxel;  target, reference {plane: picture}; a click on
               ``target`` picks
    scan, kernel   Dropdowns;  k, band, draw, neighbour   IntSliders; ``neighbour`` is the rank of
                   the reference that ``reference`` is cut at
    answer     HTML: the vote, the kernel, the teacher, the truth;  legends   HTML of both rows of
               pictures
    space      plotly FigureWidget; where there is none, an ipywidgets.Image that the Button
               ``redraw_space`` fills
    match      the ``Match`` that is shown;  ``pick(at)`` picks a voxel
    """

    def __init__(
        self,
        matcher: MatchFinder,
        table: LabelTable,
        at: Sequence[int],
        question: Question,
        still: Picture,
        *,
        name: str,
        title: str | None,
    ) -> None:
        self.matcher, self.table, self.name, self.still, self.busy = (
            matcher,
            table,
            name,
            still,
            False,
        )
        site, scans = matcher.target, list(matcher.labelled)
        self.target_bones, self.bones = known_surfaces(site, table), {}
        self.plain = target_scene(site, table, at)
        self.frames: dict[str, tuple[int, object]] = {}

        def slider(role: str, value: int, low: int, high: int, words: str) -> ipywidgets.IntSlider:
            return classed(ipywidgets.IntSlider(value, low, high, description=words), role)

        self.sliders = {
            a: slider(
                a, at["xyz".index(a)], 0, site.image.shape["xyz".index(a)] - 1, f"{plane} {a}"
            )
            for a, plane in AXES.items()
        }
        self.target = {
            plane: pane(plane, f"{plane} plane of {name}; a click picks a voxel. {still.alt}", True)
            for plane in PLANES
        }
        self.reference = {
            plane: pane(
                plane,
                f"{plane} plane of the labelled scan, with the similarity to the picked voxel.",
                False,
            )
            for plane in PLANES
        }
        self.scan = classed(ipywidgets.Dropdown(options=scans, description="labelled"), "scan")
        self.kernel = classed(
            ipywidgets.Dropdown(options=list(KERNELS), value=question.kernel, description="kernel"),
            "kernel",
        )
        self.k = slider("k", question.k, 1, max(MOST, question.k), "k")
        self.band = slider("band", question.band, 1, max(4, question.band), "band")
        self.draw = slider("draw", question.draw, 0, max(9, question.draw), "draw")
        self.neighbour = slider("neighbour", 1, 1, question.k, "neighbour")
        self.answer = classed(ipywidgets.HTML(layout={"width": "310px"}), "answer")
        self.legends = {
            side: classed(ipywidgets.HTML(), f"{side}-key") for side in ("target", "reference")
        }
        self.legends["target"].value = legend(self.plain)
        self.space = self.new_space(self.find())
        self.redraw_space = classed(ipywidgets.Button(description="draw in 3D"), "redraw-space")
        self.redraw_space.on_click(lambda _: self.show_space(now=True))
        room = [self.space] if hasattr(self.space, "data") else [self.redraw_space, self.space]
        super().__init__(
            [
                *([ipywidgets.HTML(f"<b>{html.escape(title)}</b>")] if title else []),
                classed(
                    ipywidgets.HBox(
                        [
                            ipywidgets.VBox([self.target[plane], self.sliders[a]])
                            for a, plane in AXES.items()
                        ]
                    ),
                    "target",
                ),
                self.legends["target"],
                classed(ipywidgets.HBox(list(self.reference.values())), "reference"),
                self.legends["reference"],
                ipywidgets.HBox([self.scan, self.kernel, self.neighbour]),
                ipywidgets.HBox([self.k, self.band, self.draw]),
                ipywidgets.HBox(
                    [
                        self.answer,
                        classed(ipywidgets.VBox(room, layout={"width": "720px"}), "space"),
                    ]
                ),
            ],
            still,
            "matches",
        )
        for control in (
            *self.sliders.values(),
            self.kernel,
            self.k,
            self.band,
            self.draw,
            self.scan,
        ):
            control.observe(self.changed, names="value")
        self.neighbour.observe(self.looked, names="value")
        for plane, shown in self.target.items():
            shown.on_msg(lambda _, message, __, plane=plane: self.touched(plane, message))
        self.changed()

    @property
    def at(self) -> tuple[int, int, int]:
        """The picked voxel."""
        return tuple(self.sliders[a].value for a in "xyz")

    @property
    def question(self) -> Question:
        return Question(self.kernel.value, self.k.value, self.band.value, self.draw.value)

    @property
    def site(self) -> object:
        """The labelled scan that is looked at."""
        return self.matcher.labelled[self.scan.value]

    def pick(self, at: Sequence[int]) -> None:
        """Pick voxel ``at`` and draw once; indices outside the scan go to its edge."""
        self.busy = True
        try:
            for a, index in zip("xyz", at, strict=False):
                self.sliders[a].value = int(index)
        finally:
            self.busy = False
        self.changed()

    def touched(self, plane: str, message: Mapping[str, object]) -> None:
        """A click picks; the wheel turns the slices; what only hovers changes nothing."""
        axis, across, up, _ = PLANES[plane]
        if message["kind"] == "wheel":
            self.sliders["xyz"[axis]].value += int(message["steps"])
        elif message["kind"] == "click":
            at, shape = list(self.at), self.matcher.target.image.shape
            for a, share in ((across, message["x"]), (up, message["y"])):
                at[a] = shape[a] - 1 - int(np.clip(share * shape[a], 0, shape[a] - 1))
            if tuple(at) != self.at:
                self.pick(at)

    def find(self) -> MatchScene:
        """Ask again; returns the lines in 3D."""
        self.match = self.matcher(self.at, self.scan.value, self.question)
        if self.scan.value not in self.bones:
            self.bones[self.scan.value] = known_surfaces(self.site, self.table)
        sides = (self.target_bones, self.bones[self.scan.value])
        return match_scene(
            self.matcher.target, self.site, self.at, self.match, sides, (self.name, self.scan.value)
        )

    def changed(self, change: Mapping[str, object] | None = None) -> None:
        """Another voxel, scan or question: everything is looked up and drawn again."""
        if self.busy:
            return
        self.room = self.find()
        self.busy = True
        try:
            self.neighbour.value, self.neighbour.max = 1, self.k.value
        finally:
            self.busy = False
        for plane, shown in self.target.items():
            index = self.at[PLANES[plane][0]]
            if self.frames.get(plane, (None,))[0] != index:
                self.frames[plane] = index, framed(self.plain, plane, self.at, 0.5)
            shown.value = crossed(self.frames[plane][1], self.plain, plane, self.at)
        self.looked()
        self.answer.value = self.words()
        self.show_space(now=False, anew=change is not None and change["owner"] is self.scan)

    def looked(self, change: object = None) -> None:
        """The labelled scan, cut at the neighbour of the rank asked for."""
        if self.busy:
            return
        place = tuple(int(v) for v in self.match.place[self.neighbour.value - 1])
        scene = reference_scene(self.site, self.table, self.match, place)
        marks = (
            f"{legend(replace(scene, heat=None))}&emsp;marks: the {self.k.value} nearest"
            " references, seen through the slices"
        )
        self.legends["reference"].value = (
            f"{marks}&emsp;in colour: the most similar quarter,"
            f" {self.match.alike.max() - scene.top:.3f} to {self.match.alike.max():.3f}"
        )
        for plane, shown in self.reference.items():
            shown.value = crossed(
                self.ringed(framed(scene, plane, place, 0.5), scene, plane), scene, plane, place
            )

    def ringed(self, shown: object, scene: Scene, plane: str) -> object:
        """A mark on each neighbour, as seen through the slices: a circle where it agrees, a square
        where not.
        """
        from PIL import ImageDraw

        _, across, up, _ = PLANES[plane]
        pen, scale = ImageDraw.Draw(shown), pixels_per_mm(scene)
        for place, agreed in zip(
            self.match.place[::-1],
            agrees(self.matcher.target, self.at, self.match)[::-1],
            strict=False,
        ):
            x, y = (
                (scene.image.shape[a] - place[a] - 0.5) * scene.spacing[a] * scale
                for a in (across, up)
            )
            draw = pen.ellipse if agreed else pen.rectangle
            draw(
                [x - 6, y - 6, x + 6, y + 6],
                fill=MATCHES[0 if agreed else 1]["color"],
                outline="white",
                width=2,
            )
        return shown

    def words(self) -> str:
        """Who says which class, and the vote and the kernel of each class."""
        says = answers(self.matcher.target, self.at, self.match, self.question)
        names = [html.escape(name) for name in self.table.names]
        mark = {True: " &#10003; right", False: " &#10007; wrong"}
        told = "".join(
            f"<tr><td>{who}</td><td><b>{names[c]}</b>{mark[c == says['truth']] if 'truth' in says and who != 'truth' else ''}</td></tr>"
            for who, c in says.items()
        )
        rows = "".join(
            f"<tr><td>{name}</td><td>{share:.0%}</td><td>{'absent' if np.isnan(score) else f'{score:.3f}'}</td></tr>"
            for name, share, score in zip(names, self.match.vote, self.match.score, strict=False)
        )
        place = ", ".join(map(str, self.at))
        return (
            '<div aria-live="polite" style="font-size:16px;line-height:1.5"><b>voxel'
            f' ({place})</b><table style="width:100%">{told}</table><table'
            ' style="width:100%"><tr><th align="left">class</th><th align="left">vote</th><th'
            f' align="left">kernel</th></tr>{rows}</table></div>'
        )

    def new_space(self, scene: MatchScene) -> object:
        """The room in 3D: plotly's where its widget runs, else a picture that a button draws."""
        if frontend() == "lab":
            try:
                return plotly_widget(traces(scene), layout(None))
            except ImportError:  # plotly's widget needs anywidget
                pass
        return ipywidgets.Image(format="png", layout={"width": "700px"})

    def show_space(self, *, now: bool, anew: bool = False) -> None:
        """The lines, and with another scan (``anew``) its bones too. A picture takes a second, so
        it waits for its button.
        """
        if isinstance(self.space, ipywidgets.Image):
            self.space.value = (
                picture(matches_figure(self.room, None), self.still.alt).png if now else b""
            )
            return
        with self.space.batch_update():
            if anew:
                self.space.data = []
                self.space.add_traces(traces(self.room))
                return
            for trace, (name, path) in zip(
                self.space.data[len(self.room.meshes) :], self.room.matches, strict=False
            ):
                trace.x, trace.y, trace.z = path.astype(np.float32).T
                trace.name = name


def explore_matches(
    target: Mapping[str, object],
    labelled: Mapping[str, Mapping[str, object]],
    *,
    table: LabelTable,
    at: Sequence[int],
    alt: str,
    name: str = "unlabelled scan",
    question: Question | Mapping[str, object] = PUBLISHED,
    references: int = 120,
    title: str | None = None,
) -> object:
    """Correspondence explorer: pick a voxel, see where a labelled scan resembles it, its nearest
    references, and whom they agree with.

    target      keywords of ``EmbeddedScan`` for the unlabelled scan, ``name`` its name
    labelled    {name: keywords of ``EmbeddedScan``}, each with a label
    at          the voxel to begin with;  question the kernel, k, band and draw to begin with, as in
                ``Question``
    references  of each class in each of five redraws
    Returns a ``MatchExplorer`` that carries its picture beside itself, or, in the static
    frontend, the picture alone. Raises ConfigError for a voxel outside the scan, and as
    ``EmbeddedScan`` and ``MatchFinder`` do.
    """
    alt, site = described(alt), EmbeddedScan(**target)
    at = tuple(int(v) for v in at)
    if len(at) != 3 or not all(0 <= v < n for v, n in zip(at, site.image.shape, strict=False)):
        raise ConfigError(
            f"voxel {at} is not in a scan of shape {site.image.shape}",
            fix="give three indices inside it",
        )
    matcher = MatchFinder(
        site,
        {scan: EmbeddedScan(**values) for scan, values in labelled.items()},
        table.n_classes,
        references,
    )
    asked = question if isinstance(question, Question) else Question(**question)
    scan, other = next(iter(matcher.labelled.items()))
    match, sides = (
        matcher(at, scan, asked),
        (known_surfaces(site, table), known_surfaces(other, table)),
    )
    scene = match_scene(site, other, at, match, sides, (name, scan))
    still = picture(
        correspondence_figure(site, other, table, at, match, asked, scene, (name, scan), title), alt
    )
    if frontend() == "static":
        return still
    return MatchExplorer(matcher, table, at, asked, still, name=name, title=title)
