"""Curves that grow while a run trains: when they are drawn, and what their status says."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from toy import SMALL, toy_cohort
from toy_views import IMAGE, LABEL, SPACING

from ssltut import show
from ssltut.data.labels import HIP
from ssltut.errors import ConfigError
from ssltut.methods.registry import make_method
from ssltut.training.loop import train

pytestmark = pytest.mark.usefixtures("lab")


def steps(live: object, n: int) -> None:
    terms = {"supervised": SimpleNamespace(value=torch.tensor(1.0), weight=1.0, share=None)}
    for step in range(n):
        live.on_step(step, {"student": None}, "batch", terms)


def test_status_tells_step_rate_validation_and_time_left(monkeypatch):
    now = iter(range(0, 1000, 60))
    monkeypatch.setattr(
        "ssltut.show.live.training.time", SimpleNamespace(monotonic=lambda: next(now))
    )
    live = show.LiveCurves(alt="training", steps=5, learning_rate=0.001)
    live.live = False
    steps(live, 3)
    live.on_validation(2, {"dice": 0.81234, "hd95": 4.0})
    assert (
        live.status()
        == "step 3 of 5, learning rate 0.001, validation Dice 0.812 at step 3, 3.0 min left"
    )
    assert live.rows[-1]["validation hd95"] == 4.0
    assert show.LiveCurves(alt="training", steps=1).add({"step": 0, "total": 1.0}) is None


def test_slices_of_the_networks_are_looked_at_when_redrawn(monkeypatch):
    shown, asked = [], []
    monkeypatch.setattr(
        "IPython.display.display",
        lambda picture, display_id: shown.append(picture) or SimpleNamespace(update=shown.append),
    )

    def look(nets: object, batch: object) -> dict:
        asked.append((nets, batch))
        return {
            "pseudo-label": {
                "image": IMAGE,
                "spacing": SPACING,
                "overlay": LABEL * (len(asked) % 2),
                "table": HIP,
            }
        }

    with show.LiveCurves(alt="training", look=look, every=60) as live:
        steps(live, 4)
    assert asked == [({"student": None}, "batch")] * 2
    assert len(shown) == 2
    heights = [
        Image.open(io.BytesIO(picture.png)).height
        for picture in (shown[-1], show.curves(live.rows, alt="without slices"))
    ]
    assert heights[0] > heights[1] + 200
    assert shown[-1].alt == "training step 4"


def test_a_panel_waits_for_its_validation_score_and_for_nothing_else():
    live = show.LiveCurves(alt="training", groups={"loss": ["total"], "score": ["validation dice"]})
    live.rows.append({"step": 0, "total": 1.0})
    first = live.picture(quick=True).png
    live.on_validation(0, {"dice": 0.5})
    assert live.picture(quick=True).png != first
    live.groups = {"loss": ["totally"]}
    with pytest.raises(ConfigError, match="no column totally"):
        live.picture()


@pytest.mark.parametrize(("steps", "most"), [(2000, 14), (None, 14), (20, 2)])
def test_redraws_keep_to_their_share_of_the_time(monkeypatch, steps, most):
    monkeypatch.setattr(
        "IPython.display.display",
        lambda picture, display_id: SimpleNamespace(update=lambda now: None),
    )
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(
        "ssltut.show.live.training.time", SimpleNamespace(monotonic=lambda: clock.now)
    )
    live, drawn = show.LiveCurves(alt="training", steps=steps), []

    def picture(*, quick: bool) -> SimpleNamespace:
        clock.now += 0.2 if quick else 0.4  # what a redraw costs
        drawn.append(clock.now)
        return SimpleNamespace()

    live.picture = picture
    with live:
        for step in range(steps or 2000):
            clock.now += 0.1
            live.add({"step": step, "total": 1.0})
    assert drawn[0] < 1
    assert len(drawn) <= most
    if steps != 20:  # of a run of two seconds the first picture and the last are more than that
        assert live.spent <= 0.02 * clock.now
        assert len(drawn) >= 5
    if steps == 2000:
        assert max(np.diff(drawn)) < 30  # over the whole run


def test_live_curves_get_the_validation_scores_of_train(tmp_path, monkeypatch):
    monkeypatch.setenv("SSLTUT_FRONTEND", "static")
    live = show.LiveCurves(alt="training")
    run = train(
        make_method("labels_only"),
        toy_cohort(),
        SMALL,
        tmp_path / "run",
        callbacks=[live],
        log=lambda line: None,
    )
    told = {row["step"]: row["validation dice"] for row in live.rows if "validation dice" in row}
    assert told == {1: run.history["validation dice"][1], 3: run.history["validation dice"][3]}
