"""Which kind of notebook, if any, shows our pictures."""

import os
from collections.abc import Sequence

from ssltut.errors import ConfigError
from ssltut.progress import open_notebook


def chosen_by(variable: str, names: Sequence[str]) -> str:
    """What a variable of the environment chooses of ``names``, or "". Raises ConfigError else."""
    chosen = os.environ.get(variable, "")
    if chosen and chosen not in names:
        fix = f"set it to one of {', '.join(names)}, or unset it"
        raise ConfigError(f"{variable} is {chosen!r}", fix=fix)
    return chosen


def frontend() -> str:
    """ "lab", "vscode", "colab" or "static" (papermill, a script, any other: pictures only).

    The environment variable SSLTUT_FRONTEND decides, else what ``open_notebook`` finds. Raises
    ConfigError when SSLTUT_FRONTEND names something else.
    """
    chosen = chosen_by("SSLTUT_FRONTEND", ("static", "colab", "vscode", "lab"))
    return chosen or open_notebook() or "static"


def takes_widgets() -> bool:
    """Whether widgets with scripts of their own run here, as those of anywidget, plotly and k3d."""
    return frontend() in ("lab", "vscode")
