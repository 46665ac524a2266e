"""Which kind of notebook, if any, shows our pictures."""

import os
import sys

from ssltut.errors import ConfigError

FRONTENDS = ("static", "colab", "lab")


def frontend() -> str:
    """ "lab", "colab" or "static" (papermill, a script, any other viewer: pictures only).

    The environment variable SSLTUT_FRONTEND decides; without it Colab is known by its module and
    JupyterLab by JPY_SESSION_NAME. Raises ConfigError when SSLTUT_FRONTEND names something else.
    """
    chosen = os.environ.get("SSLTUT_FRONTEND")
    if chosen and chosen not in FRONTENDS:
        fix = f"set it to one of {', '.join(FRONTENDS)}, or unset it"
        raise ConfigError(f"SSLTUT_FRONTEND is {chosen!r}", fix=fix)
    if chosen:
        return chosen
    if "google.colab" in sys.modules:
        return "colab"
    return "lab" if os.environ.get("JPY_SESSION_NAME") else "static"
