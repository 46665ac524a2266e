"""A picture of a function's arguments, drawn anew as sliders move them."""

from collections.abc import Callable
from inspect import signature

import ipywidgets

from ssltut.errors import ConfigError
from ssltut.show.frontends import frontend
from ssltut.show.live.widgets import LiveView, classed
from ssltut.show.static.pictures import Picture


def interact(
    draw: Callable[..., Picture], *, alt: str, **limits: tuple[float, float]
) -> Picture | LiveView:
    """The picture ``draw`` returns, with a control for its arguments.

    That is a slider for each argument with ``limits`` (low, high), and a box for each that is True
    or False. Returns a widget that carries the first picture, or, in the static frontend, that
    picture alone. Raises ConfigError for limits of what is no argument of ``draw`` with a default.
    """
    arguments = signature(draw).parameters.values()
    starts = {a.name: a.default for a in arguments if a.default is not a.empty}
    if unknown := sorted(set(limits) - set(starts)):
        fix = f"it has {', '.join(starts) or 'none'}"
        problem = f"no argument {', '.join(unknown)} with a default"
        raise ConfigError(problem, where=draw.__name__, fix=fix)
    still = Picture(draw(**starts).png, alt)
    if frontend() == "static":
        return still
    wide = {"style": {"description_width": "9em"}, "layout": {"width": "26em"}}
    controls: dict[str, ipywidgets.DOMWidget] = {}
    for name, (low, high) in limits.items():
        scale = {"min": low, "max": high, "step": (high - low) / 20}
        controls[name] = ipywidgets.FloatSlider(starts[name], description=name, **scale, **wide)
    for name, start in starts.items():
        if isinstance(start, bool):
            controls[name] = ipywidgets.Checkbox(start, description=name, **wide)
    image = ipywidgets.Image(value=still.png, format="png", layout={"object_fit": "contain"})

    def redraw(_: object) -> None:
        image.value = draw(**{name: control.value for name, control in controls.items()}).png

    for name, control in controls.items():
        classed(control, name).observe(redraw, names="value")
    view = LiveView(still, "interact")
    view.children = [ipywidgets.VBox(list(controls.values())), classed(image, "picture")]
    return view
