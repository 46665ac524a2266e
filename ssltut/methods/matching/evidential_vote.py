"""The scan vote beside mutual evidential deep learning (our variant)."""

import torch
from torch import Tensor

from ssltut.data.batch import Batch
from ssltut.methods.contract import PARTS, Nets, Network, Progress, Terms
from ssltut.methods.further.medl import MEDL
from ssltut.methods.matching.scan_vote import ScanVote


class EvidentialVote(ScanVote):
    """MEDL throughout; from ``start`` on the place vote beside it, in scans that stand out from the
    other unlabelled ones.

    Where nothing is new the scan vote is as good as the method it goes beside, and MEDL is better
    there than UA-MT; what MEDL lacks is a label from elsewhere for what neither of its two networks
    has seen. So MEDL is left as it is, with its own schedules over the whole training. Beside it
    stands a teacher, the average of the first network: it says which voxels are unsure, and its
    embeddings are the references. The match teaches both networks. The vote has the scan vote's
    options; ``weight`` is that of MEDL's three terms. The two networks predict.
    """

    name = "evidential_vote"
    title = "embedding matching, evidential vote"
    networks = MEDL.networks | {"teacher": Network(ema_of="student")}

    weight: float = 1.0

    @property
    def medl(self) -> MEDL:
        return MEDL(
            weight=self.weight,
            curriculum=self.weight,
            evidence=self.weight,
            sigma_student=self.sigma_student,
        )

    def terms(self, batch: Batch, nets: Nets, outs: None, progress: Progress) -> Terms:
        if batch.x_u is None or not self.voting(progress):
            return self.medl.losses(batch, nets, progress)
        seen = {role: self.see(batch, nets, PARTS, role) for role in MEDL.networks}
        student, second = (out.unlabelled for out in seen.values())
        terms = self.medl.terms(batch, nets, seen, progress)
        return terms | self.unlabelled(batch, nets, progress, student, second.logits)

    @torch.no_grad()
    def predict(self, nets: Nets, x: Tensor) -> Tensor:
        return self.medl.predict(nets, x)
