"""The bounds: training on labels alone."""

from ssltut.methods.contract import Method, Plan, Progress, Supervision


class LabelsOnly(Method):
    """Cross-entropy + Dice on the labelled scans; the lower bound, *labels only (n)*.

    A step has as many patches as that of any other method, all of them labelled.
    """

    name, title, year = "labels_only", "labels only", 2016
    paper = "Çiçek et al. 2016, 3D U-Net, arXiv:1606.06650"
    supervision = Supervision.LABELLED

    def plan(self, progress: Progress, default: Plan) -> Plan:
        return default.all_labelled


class SameBatch(Method):
    """Labels only, with the unlabelled patches in the pass and in no loss: the control.

    Batch norm sees them, and that alone can gain as much as a published method. What a method has
    more than this, its unlabelled loss gains; with its weights at 0 it is this one, bit for bit.
    """

    name, title, year = "same_batch", "labels only, same batch", 2016
    paper = "Çiçek et al. 2016, 3D U-Net, arXiv:1606.06650; the control is ours"
    fidelity = "adapted"


class AllLabels(LabelsOnly):
    """Labels only with the labels of every training scan: the *upper bound* of every table."""

    name, title = "all_labels", "all labels (upper bound)"
    supervision = Supervision.ALL
