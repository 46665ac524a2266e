"""Cohorts whose labelled scans lack bones, as scans from several sources would."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from ssltut.data.case import LABELLED, Case
from ssltut.data.cohort import Cohort
from ssltut.errors import ConfigError


def partially_labelled(cohort: Cohort, *kept: Sequence[str]) -> Cohort:
    """The labelled training scans in turn keep the classes that ``kept`` names for them.

    The others become background; ``meta["labelled classes"]`` lists what is left. Validation and
    test keep all. Raises ConfigError for an unknown class, or where a scan would keep none.
    """
    names = cohort.table.names
    unknown = {name for part in kept for name in part} - set(names[1:])
    if unknown or not kept or not all(kept):
        problem = f"there is no class {', '.join(sorted(unknown)) or 'given'}"
        fix = f"name some of {', '.join(names[1:])} for every source"
        raise ConfigError(problem, where=cohort.name, fix=fix)
    sources = dict(cohort.sources)
    for i, case_id in enumerate(cohort.split.labelled):
        classes = tuple(names.index(name) for name in kept[i % len(kept)])
        keep = partial(keep_classes, classes=classes)
        sources[case_id] = sources[case_id].changed(keep, f"classes {classes}")
    return replace(cohort, sources=sources, _loaded={})


def keep_classes(case: Case, classes: tuple[int, ...]) -> Case:
    """The case with all but ``classes`` as background, which its meta says."""
    label = np.asarray(case.label)
    label = np.where(np.isin(label, classes), label, np.uint8(0))
    return replace(case, label=label, meta={**case.meta, LABELLED: classes})
