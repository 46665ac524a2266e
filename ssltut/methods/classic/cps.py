"""Cross pseudo supervision (Chen et al. 2021)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch.nn import functional as F

from ssltut.data.batch import Batch
from ssltut.errors import ConfigError
from ssltut.methods.contract import Consistency, Nets, Role, Term
from ssltut.nets.base import Out


@dataclass(frozen=True, kw_only=True)
class CPS(Consistency):
    """Two networks that differ in nothing but their first weights; each learns from the hard labels
    the other gives.

    Term "consistency": CE(z_1, argmax z_2) + CE(z_2, argmax z_1), labels detached, over labelled
    and unlabelled patches. Weight 0.1 ramp(t/T), the setting for 3D scans (SSL4MIS); the paper
    weighs 1.5 to 6 throughout on pre-trained 2D networks. The first network predicts. Departure:
    Adam. Started from one run (``init``) the two differ in their dropout alone.

    on  "all" patches (the paper), or the "unlabelled" ones alone (SSL4MIS)
    """

    name, title, year = "cps", "CPS", 2021
    paper = "Chen et al., CVPR 2021, arXiv:2106.01226"
    ideas = ("pseudo-labels",)
    roles: ClassVar = {"student": Role(), "second": Role()}

    on: str = "all"

    def __post_init__(self) -> None:
        if self.on not in ("all", "unlabelled"):
            raise ConfigError(f"on is {self.on!r}", where=self.name, fix="use all or unlabelled")

    def unlabelled(self, batch: Batch, nets: Nets, outs: Mapping[str, Out]) -> Term:
        start = 0 if self.on == "all" else len(batch.x_l)
        first, second = (out.logits[start:].float() for out in outs.values())
        return Term(
            F.cross_entropy(first, second.argmax(1)) + F.cross_entropy(second, first.argmax(1))
        )
