"""Cross pseudo supervision (Chen et al. 2021)."""

from typing import Literal

from torch.nn import functional as F

from ssltut.data.batch import Batch
from ssltut.methods.contract import Consistency, Nets, Network, Outs, Term
from ssltut.options import NotNegative


class CPS(Consistency):
    """Two networks, different in their first weights alone, learn from each other's hard labels.

    Term "consistency": CE(z_1, argmax z_2) + CE(z_2, argmax z_1), labels detached, over labelled
    and unlabelled patches. Weight 0.2 ramp(t/T), the setting for 3D scans (SSL4MIS: 0.1 beside half
    of L_S); the paper weighs 1.5 to 6 throughout on pre-trained 2D networks. The first network
    predicts. Departure: Adam. Started from one run (``init``) they differ in their dropout alone.

    on  "all" patches (the paper), or the "unlabelled" ones alone (SSL4MIS)
    """

    name, title, year = "cps", "CPS", 2021
    paper = "Chen et al., CVPR 2021, arXiv:2106.01226"
    ideas = ("pseudo-labels",)
    networks = {"student": Network(), "second": Network()}

    weight: NotNegative = 0.2
    on: Literal["all", "unlabelled"] = "all"

    def unlabelled(self, batch: Batch, nets: Nets, outs: Outs) -> Term:
        seen = [out.whole if self.on == "all" else out.unlabelled for out in outs.values()]
        first, second = (out.logits.float() for out in seen)
        return Term(
            F.cross_entropy(first, second.argmax(1)) + F.cross_entropy(second, first.argmax(1))
        )
