"""Networks: shapes, published widths, initialisation, refusals."""

import pytest
import torch

from ssltut.errors import ConfigError
from ssltut.nets import build_net

DEFAULTS = {"width": 4, "depth": 3, "dropout": 0.15, "norm": "instance", "seed": 0}


@pytest.mark.parametrize("arch", ["unet", "vnet"])
@pytest.mark.parametrize("norm", ["instance", "batch", "group"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_shapes(arch, norm, n_classes):
    net = build_net(arch, 1, n_classes, **DEFAULTS | {"norm": norm})
    out = net(torch.randn(2, 1, 8, 12, 16))
    assert out.logits.shape == (2, n_classes, 8, 12, 16)
    assert out.feats["embedding"].shape == (2, net.classifier.in_channels, 8, 12, 16)
    assert out.feats["bottleneck"].shape[2:] == (2, 3, 4)
    assert torch.allclose(net.classifier(out.feats["embedding"]), out.logits)


def test_the_half_width_unet_has_the_channels_of_the_paper():
    net = build_net("unet", 1, 2, **DEFAULTS | {"width": 16, "depth": 4})
    convs = [m for m in net.down.modules() if isinstance(m, torch.nn.Conv3d)]
    assert [c.out_channels for c in convs] == [16, 32, 32, 64, 64, 128, 128, 256]
    assert net.classifier.in_channels == 32
    drops = [m for m in net.modules() if isinstance(m, torch.nn.Dropout)]
    assert len(drops) == 14 and all(d.p == 0.15 for d in drops)  # after every convolution but the output


def test_he_initialisation_keeps_the_spread():
    net = build_net("unet", 1, 2, **DEFAULTS | {"width": 16})
    conv = net.down[1][1][0]
    assert conv.weight.std().item() == pytest.approx((2 / (conv.in_channels * 27)) ** 0.5, rel=0.05)
    assert conv.bias.abs().max() == 0


def test_the_seed_decides_the_weights_and_nothing_else_is_drawn():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    a = build_net("unet", 1, 2, **DEFAULTS)
    assert torch.equal(torch.rand(1), expected)
    b, c = build_net("unet", 1, 2, **DEFAULTS), build_net("unet", 1, 2, **DEFAULTS | {"seed": 1})
    assert torch.equal(a.classifier.weight, b.classifier.weight) and not torch.equal(a.classifier.weight, c.classifier.weight)


def test_gradients_reach_every_parameter():
    for arch in ("unet", "vnet"):
        net = build_net(arch, 1, 2, **DEFAULTS)
        net(torch.randn(1, 1, 8, 8, 8)).logits.square().mean().backward()
        assert all(p.grad is not None for p in net.parameters())


@pytest.mark.parametrize("arch", ["unet", "vnet"])
def test_a_patch_that_cannot_be_halved_is_refused(arch):
    with pytest.raises(ConfigError, match="multiples of 4"):
        build_net(arch, 1, 2, **DEFAULTS)(torch.zeros(1, 1, 8, 8, 10))


def test_unknown_names_are_refused():
    with pytest.raises(ConfigError, match="unet, vnet"):
        build_net("resnet", 1, 2, **DEFAULTS)
    with pytest.raises(ConfigError, match="instance, batch or group"):
        build_net("unet", 1, 2, **DEFAULTS | {"norm": "layer"})
