"""A dynamic head, whose weights a prompt makes (DoDNet, Zhang et al. 2021, arXiv:2011.10217)."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ssltut.nets.base import Out, Perturb, SegNet, Twin
from ssltut.nets.heads import Head

FEATURES = 8
# Outputs and inputs of the 1x1x1 convolutions that are made for each prompt.
LAYERS = ((FEATURES, FEATURES), (FEATURES, FEATURES), (2, FEATURES))


class Prompted(SegNet):
    """``body`` (with FEATURES outputs) under a dynamic head with one prompt a class.

    Prompt 0 asks for any foreground, prompt c for class c. The mean of the bottleneck beside the
    one-hot of a prompt gives, by a 1x1x1 convolution, the weights of three layers 8 -> 8 -> 8 -> 2
    on the projected decoder map. The head ``name`` is (B, C, X, Y, Z): the log-odds of any
    foreground, then of class 1, 2 ...; ``logits`` are the same with 0 for the background.
    """

    def __init__(self, body: SegNet, n_classes: int, name: str) -> None:
        nn.Module.__init__(self)
        self.body = body
        self.n_classes = n_classes
        self.name = name
        self.sides = body.sides
        self.factor = body.factor
        width = body.classifier.in_channels * body.factor
        self.controller = nn.Conv3d(width + n_classes, sum(o * i + o for o, i in LAYERS), 1)

    @property
    def classifier(self) -> nn.Conv3d:  # type: ignore[override]  # saved with the body alone
        return self.body.classifier

    def add_heads(self, heads: Mapping[str, Head], n_classes: int, twin: Twin) -> None:
        others = {name: head for name, head in heads.items() if name != self.name}
        self.body.add_heads(others, n_classes, twin)

    def forward(self, x: Tensor, heads: bool = False, perturb: Perturb | None = None) -> Out:
        out = self.body(x, heads, perturb)
        answers = self.answer(out.logits, self.numbers(out.feats["bottleneck"]))
        logits = torch.cat([torch.zeros_like(answers[:, :1]), answers[:, 1:]], 1)
        return Out(logits, out.feats, out.heads | {self.name: answers} if heads else {})

    def numbers(self, bottleneck: Tensor) -> Tensor:
        """Weights and biases of all layers for each prompt (and slice), (B, C, numbers, Z or 1)."""
        c = self.n_classes
        seen = bottleneck.mean((2, 3, 4)[: self.sides], keepdim=True)  # (B, D, 1, 1, Z or 1)
        prompts = torch.eye(c, dtype=seen.dtype, device=seen.device).repeat(len(seen), 1)
        prompts = prompts[..., None, None, None].expand(-1, -1, 1, 1, seen.shape[-1])
        prompted = torch.cat([seen.repeat_interleave(c, 0), prompts], 1)
        return self.controller(prompted).flatten(2).unflatten(0, (-1, c))

    def answer(self, features: Tensor, numbers: Tensor) -> Tensor:
        """The log-odds (B, C, X, Y, Z) that each prompt's layers give for ``features``."""
        # Slices (k) have numbers of their own, or share the only ones (z).
        product = "bcoiz,bcixyk->bcoxyk" if numbers.shape[-1] == 1 else "bcoik,bcixyk->bcoxyk"
        h = features[:, None].expand(-1, self.n_classes, -1, -1, -1, -1)
        rest = numbers
        for layer, (o, i) in enumerate(LAYERS):
            weight, bias, rest = rest.tensor_split((o * i, o * i + o), 2)
            if layer:
                h = h.relu()
            h = torch.einsum(product, weight.unflatten(2, (o, i)), h) + bias[:, :, :, None, None]
        return h[:, :, 1] - h[:, :, 0]
