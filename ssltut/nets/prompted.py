"""A dynamic head, as in DoDNet (Zhang et al., CVPR 2021, arXiv:2011.10217): told what to segment, a
network makes its last layers.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from ssltut.nets.base import Head, Out, SegNet

FEATURES = 8
LAYERS = (
    (FEATURES, FEATURES),
    (FEATURES, FEATURES),
    (2, FEATURES),
)  # outputs and inputs of the 1x1x1 convolutions made for each prompt


class Prompted(SegNet):
    """``body`` (with FEATURES outputs) under a dynamic head that answers one prompt a foreground
    class, and one for any of them.

    The mean of the bottleneck beside the one-hot of a prompt gives, by a 1x1x1 convolution, the
    weights of three layers 8 -> 8 -> 8 -> 2 on the projected decoder map. The head ``name`` is (B,
    C, X, Y, Z): the log-odds of any foreground, then of class 1, 2 ...; ``logits`` are 0 for the
    background and the log-odds of every class, so that one prediction can be made of all answers.
    """

    def __init__(self, body: SegNet, n_classes: int, name: str) -> None:
        super().__init__()
        self.body, self.n_classes, self.name, self.sides, self.factor = (
            body,
            n_classes,
            name,
            body.sides,
            body.factor,
        )
        width = body.classifier.in_channels * body.factor
        self.controller = nn.Conv3d(width + n_classes, sum(o * i + o for o, i in LAYERS), 1)

    @property
    def classifier(self) -> nn.Module:
        return self.body.classifier

    def add_heads(
        self, heads: Mapping[str, Head], n_classes: int, twin: Callable[..., SegNet]
    ) -> None:
        self.body.add_heads(
            {name: head for name, head in heads.items() if name != self.name}, n_classes, twin
        )

    def forward(
        self,
        x: Tensor,
        heads: bool = False,
        perturb: Callable[[str, Tensor, Tensor], Tensor] | None = None,
    ) -> Out:
        out, c = self.body(x, heads, perturb), self.n_classes
        seen = out.feats["bottleneck"].mean(
            (2, 3) if self.sides == 2 else (2, 3, 4), keepdim=True
        )  # (B, D, 1, 1, Z or 1)
        prompts = torch.eye(c, dtype=seen.dtype, device=x.device).repeat(len(x), 1)[
            ..., None, None, None
        ]
        told = torch.cat(
            [seen.repeat_interleave(c, 0), prompts.expand(-1, -1, 1, 1, seen.shape[-1])], 1
        )
        made = self.controller(told).flatten(2).unflatten(0, (-1, c))  # (B, C, numbers, Z or 1)
        h, start = out.logits[:, None].expand(-1, c, -1, -1, -1, -1), 0
        for layer, (o, i) in enumerate(LAYERS):
            weight, bias = (
                made[:, :, start : start + o * i].unflatten(2, (o, i)),
                made[:, :, start + o * i : start + o * i + o],
            )
            h = torch.einsum(
                "bcoiz,bcixyk->bcoxyk" if weight.shape[-1] == 1 else "bcoik,bcixyk->bcoxyk",
                weight,
                h.relu() if layer else h,
            )
            h, start = h + bias[:, :, :, None, None], start + o * i + o
        answers = h[:, :, 1] - h[:, :, 0]
        logits = torch.cat([torch.zeros_like(answers[:, :1]), answers[:, 1:]], 1)
        return Out(logits, out.feats, out.heads | {self.name: answers} if heads else {})
