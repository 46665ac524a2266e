"""Scores of the validation scans while a method trains."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from torch import nn

from ssltut.data.case import Case
from ssltut.data.labels import LabelTable
from ssltut.data.patches import Intensity
from ssltut.methods.contract import Method
from ssltut.metrics import score_case
from ssltut.training.config import TrainConfig
from ssltut.training.windows import predict_probabilities


def validation_scores(
    method: Method,
    nets: Mapping[str, nn.Module],
    cases: Sequence[Case],
    intensity: Intensity,
    config: TrainConfig,
    table: LabelTable,
) -> dict[str, float]:
    """Mean Dice and HD95 (mm) over the foreground classes of the validation scans."""
    rows = []
    for case in cases:
        assert case.label is not None, "validation scans have labels"
        p = predict_probabilities(method, nets, case, intensity, config.patch)
        label = p.argmax(0).numpy().astype(np.uint8)
        rows += score_case(label, case.label, case.spacing, table.names)
    frame = pd.DataFrame(rows, columns=["class", "metric", "value", "status"])
    of_metric = {name: frame.loc[frame.metric == name, "value"] for name in ("dice", "hd95")}
    return {name: float(values.mean()) for name, values in of_metric.items()}
