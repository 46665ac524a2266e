"""Cross pseudo supervision (Chen et al. 2021)."""

from typing import Literal

from torch.nn import functional as F

from ssltut.data.batch import Batch
from ssltut.methods.contract import Consistency, Nets, Network, Outs, Term
from ssltut.options import NotNegative


class CPS(Consistency):
    """Two networks, different in their first weights alone, learn from each other's hard labels.

    L = Σ L_S + weight ramp(t/T) (CE(z_1, argmax z_2) + CE(z_2, argmax z_1)); the first network
    predicts. Between the paper and its 3D code (SSL4MIS): patches as in the one, the weight as in
    the other. Started from one run (``init``) the networks differ in their dropout alone.

    option  published  ours  why
    weight  1.5        0.2   1.5 to 6 suit pre-trained networks; SSL4MIS has 0.1 beside half of L_S
    rampup  0.0        1.0   SSL4MIS: 200 ramps of 150 steps, the whole run
    on      all        all   or the "unlabelled" patches alone (SSL4MIS)
    """

    name, title, year = "cps", "CPS", 2021
    paper = "Chen et al., CVPR 2021, arXiv:2106.01226"
    fidelity = "adapted"
    ideas = ("pseudo-labels",)
    networks = {"student": Network(), "second": Network()}

    weight: NotNegative = 0.2
    on: Literal["all", "unlabelled"] = "all"

    def unlabelled(self, batch: Batch, nets: Nets, outs: Outs) -> Term:
        seen = [out.whole if self.on == "all" else out.unlabelled for out in outs.values()]
        first, second = (out.logits.float() for out in seen)
        return Term(
            F.cross_entropy(first, second.max(1).indices)
            + F.cross_entropy(second, first.max(1).indices)
        )
