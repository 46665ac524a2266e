"""ssltut: learn semi-supervised 3D segmentation by walking around inside it.

``import ssltut`` is cheap on purpose: what is used most can be had from here by name, and torch
and the viewers are imported when it is first asked for.
"""

from lazy_loader import attach

__version__ = "0.2.0"

NAMES = {
    "data.case": ["Case"],
    "data.cohort": ["Cohort"],
    "evaluation.compare": ["compare"],
    "io.cohort_folder": ["read_cohort"],
    "io.nifti": ["read_case"],
    "methods.registry": ["METHODS", "make_method"],
    "synthetic.cohorts": ["synthetic_cohort"],
    "training.config": ["profile_named"],
    "training.loop": ["cached_run", "train"],
    "training.run": ["load_run"],
}
__getattr__, __dir__, __all__ = attach(__name__, submod_attrs=NAMES)
__all__ += ["__version__"]
