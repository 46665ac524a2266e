"""ssltut: learn semi-supervised 3D segmentation by walking around inside it.

``import ssltut`` is cheap on purpose: what is used most can be had from here by name, and torch,
MONAI and the viewers are imported when it is first asked for.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

HOMES = {
    "Case": "data.case",
    "Cohort": "data.cohort",
    "METHODS": "methods.registry",
    "cached_run": "training.loop",
    "compare": "evaluation.compare",
    "load_run": "training.run",
    "make_method": "methods.registry",
    "profile_named": "training.config",
    "read_case": "io.nifti",
    "read_cohort": "io.cohort_folder",
    "synthetic_cohort": "synthetic.cohorts",
    "train": "training.loop",
}
__all__ = [*HOMES, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"ssltut has no {name!r}")
    return getattr(import_module(f"ssltut.{HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
