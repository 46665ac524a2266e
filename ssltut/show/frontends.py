"""Which kind of notebook, if any, shows our pictures."""

import os
import sys
from collections.abc import Sequence

from ssltut.errors import ConfigError


def chosen_by(variable: str, names: Sequence[str]) -> str:
    """What a variable of the environment chooses of ``names``, or "". Raises ConfigError else."""
    chosen = os.environ.get(variable, "")
    if chosen and chosen not in names:
        fix = f"set it to one of {', '.join(names)}, or unset it"
        raise ConfigError(f"{variable} is {chosen!r}", fix=fix)
    return chosen


def frontend() -> str:
    """ "lab", "colab" or "static" (papermill, a script, any other viewer: pictures only).

    The environment variable SSLTUT_FRONTEND decides; without it Colab is known by its module and
    JupyterLab by JPY_SESSION_NAME. Raises ConfigError when SSLTUT_FRONTEND names something else.
    """
    if chosen := chosen_by("SSLTUT_FRONTEND", ("static", "colab", "lab")):
        return chosen
    if "google.colab" in sys.modules:
        return "colab"
    return "lab" if os.environ.get("JPY_SESSION_NAME") else "static"
