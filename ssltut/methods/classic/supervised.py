"""The two bounds: training on labels alone."""

from dataclasses import dataclass
from typing import ClassVar

from ssltut.data.batch import Batch
from ssltut.methods.contract import Method, Nets, Plan, Progress, Term


@dataclass(frozen=True, kw_only=True)
class LabelsOnly(Method):
    """Cross-entropy + Dice on the labelled scans; the lower bound, *labels only (n)*.

    Trained with every training scan labelled it is the upper bound, *all labels*.
    """

    name: ClassVar[str] = "labels_only"
    title: ClassVar[str] = "labels only"
    paper: ClassVar[str] = "Çiçek et al. 2016, 3D U-Net, arXiv:1606.06650"
    year: ClassVar[int] = 2016
    uses: ClassVar[str] = "labelled"

    def plan(self, progress: Progress, default: Plan) -> Plan:
        return Plan(default.labelled, 0)

    def losses(self, batch: Batch, nets: Nets, progress: Progress) -> dict[str, Term]:
        return {"supervised": self.supervised(batch, nets)}


@dataclass(frozen=True, kw_only=True)
class AllLabels(LabelsOnly):
    """Labels only with the labels of every training scan: the *upper bound* no semi-supervised
    method is shown beside without.
    """

    name: ClassVar[str] = "all_labels"
    title: ClassVar[str] = "all labels (upper bound)"
    uses: ClassVar[str] = "all labels"
