"""The teacher as an exponential moving average of the student."""

import torch
from torch import nn


@torch.no_grad()
def ema_update(teacher: nn.Module, student: nn.Module, decay: float) -> None:
    """teacher <- decay * teacher + (1 - decay) * student, for parameters and buffers.

    Buffers that are no floating-point numbers are copied. Much published code forgets the buffers,
    which leaves the teacher with the batch statistics of its first step.
    """
    source = student.state_dict()
    for name, value in teacher.state_dict().items():
        new = source[name]
        if value.dtype.is_floating_point:
            value.lerp_(new.to(value.dtype), 1.0 - decay)
        else:
            value.copy_(new)
