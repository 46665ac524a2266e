"""What this machine can do at most with one thread: memory bandwidth and arithmetic."""

import torch
from turns import Row, in_turns


def rows() -> list[Row]:
    large, other = torch.ones(2**26), torch.empty(2**26)
    a, b, c = torch.randn(1024, 1024), torch.randn(1024, 1024), torch.empty(1024, 1024)
    x = torch.randn(2, 16, 32, 32, 32).to(memory_format=torch.channels_last_3d)
    weight = torch.randn(16, 16, 3, 3, 3).to(memory_format=torch.channels_last_3d)
    copy = in_turns({"copy": lambda: other.copy_(large)}, 9)
    product = in_turns({"product": lambda: torch.mm(a, b, out=c)}, 9)
    convolution = in_turns({"convolution": lambda: torch.nn.functional.conv3d(x, weight)}, 9)
    bandwidth = 2 * large.nbytes / copy["copy"]["cpu"] / 1e6
    flops = 2 * 1024**3 / product["product"]["cpu"] / 1e6
    of_convolution = 2 * 2 * 30**3 * 16 * 16 * 27 / convolution["convolution"]["cpu"] / 1e6
    return [
        Row("limit: copy of 256 MiB", "-", copy, notes={"GB/s": round(bandwidth, 1)}),
        Row("limit: product of 1024² matrices", "-", product, notes={"GFLOP/s": round(flops)}),
        Row(
            "limit: convolution 3³, 16 channels, 2 x 32³",
            "-",
            convolution,
            notes={"GFLOP/s": round(of_convolution)},
        ),
    ]
