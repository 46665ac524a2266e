"""A picture of a function's arguments, drawn anew as sliders move them."""

from collections.abc import Callable
from inspect import signature

from ssltut.errors import ConfigError
from ssltut.show.frontends import frontend
from ssltut.show.static.pictures import Picture, described


def interact(draw: Callable[..., Picture], *, alt: str, **limits: tuple[float, float]) -> object:
    """The picture ``draw`` returns, with a slider for each argument that has ``limits`` (low,
    high), a box for each that is True or False.

    All start at the function's defaults. Returns a widget that carries the first picture beside
    itself, or, in the static frontend, that picture alone.
    Raises ConfigError for limits of something that is no argument of ``draw`` with a default.
    """
    starts = {
        name: p.default
        for name, p in signature(draw).parameters.items()
        if p.default is not p.empty
    }
    if unknown := sorted(set(limits) - set(starts)):
        raise ConfigError(
            f"no argument {', '.join(unknown)} with a default",
            where=draw.__name__,
            fix=f"it has {', '.join(starts) or 'none'}",
        )
    still = Picture(draw(**starts).png, described(alt))
    if frontend() == "static":
        return still
    import ipywidgets

    from ssltut.show.live.slices import View, classed

    wide = {"style": {"description_width": "9em"}, "layout": {"width": "26em"}}
    controls = {
        name: ipywidgets.FloatSlider(
            starts[name], min=low, max=high, step=(high - low) / 20, description=name, **wide
        )
        for name, (low, high) in limits.items()
    }
    controls |= {
        name: ipywidgets.Checkbox(start, description=name, **wide)
        for name, start in starts.items()
        if isinstance(start, bool)
    }
    shown = classed(
        ipywidgets.Image(value=still.png, format="png", layout={"object_fit": "contain"}), "drawn"
    )
    for control in controls.values():
        control.observe(
            lambda _: shown.set_trait(
                "value", draw(**{name: c.value for name, c in controls.items()}).png
            ),
            names="value",
        )
    return View(
        [ipywidgets.VBox([classed(control, name) for name, control in controls.items()]), shown],
        still,
        "interact",
    )
