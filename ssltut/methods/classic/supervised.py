"""The two bounds: training on labels alone."""

from ssltut.data.batch import Batch
from ssltut.methods.contract import (
    Method,
    Nets,
    Outs,
    Plan,
    Progress,
    Supervision,
    Terms,
    supervised,
)


class LabelsOnly(Method):
    """Cross-entropy + Dice on the labelled scans; the lower bound, *labels only (n)*.

    Trained with every training scan labelled it is the upper bound, *all labels*.
    """

    name, title, year = "labels_only", "labels only", 2016
    paper = "Çiçek et al. 2016, 3D U-Net, arXiv:1606.06650"
    supervision = Supervision.LABELLED

    def plan(self, progress: Progress, default: Plan) -> Plan:
        return Plan(default.labelled, 0)

    def terms(self, batch: Batch, nets: Nets, outs: Outs, progress: Progress) -> Terms:
        return {"supervised": supervised(outs["student"], batch)}


class AllLabels(LabelsOnly):
    """Labels only with the labels of every training scan.

    The *upper bound*: no semi-supervised method is shown without it.
    """

    name, title = "all_labels", "all labels (upper bound)"
    supervision = Supervision.ALL
