"""Networks: shapes, published widths, initialisation, refusals."""

import pytest
import torch

from ssltut.errors import ConfigError
from ssltut.nets.base import Dropout, norm_layer
from ssltut.nets.build import build_net
from ssltut.nets.heads import Head

DEFAULTS = {"width": 4, "depth": 3, "dropout": 0.15, "norm": "instance", "seed": 0}


@pytest.mark.parametrize("arch", ["unet", "vnet", "resnet"])
@pytest.mark.parametrize("norm", ["instance", "batch", "group"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_shapes(arch, norm, n_classes):
    net = build_net(arch, 1, n_classes, **DEFAULTS | {"norm": norm})
    out = net(torch.randn(2, 1, 8, 12, 16))
    assert out.logits.shape == (2, n_classes, 8, 12, 16)
    assert out.feats["embedding"].shape == (2, net.classifier.in_channels, 8, 12, 16)
    assert out.feats["bottleneck"].shape[2:] == (2, 3, 4)
    assert torch.allclose(net.classifier(out.feats["embedding"]), out.logits)


@pytest.mark.parametrize("arch", ["unet", "vnet", "resnet", "unet2d"])
def test_the_undropped_map_is_the_embedding_before_the_last_dropout(arch):
    net = build_net(arch, 1, 2, **DEFAULTS | {"dropout": 0.5}, heads={"decoder": Head()})
    calls, of_head = [], []
    net.last_dropout.register_forward_hook(lambda net, seen, out: calls.append((seen[0], out)))
    net.heads["decoder"].last_dropout.register_forward_hook(lambda *call: of_head.append(call))
    feats = net(torch.randn(1, 1, 8, 8, 8), heads=True).feats
    assert len(of_head) == 1
    assert [(a is feats["undropped"], b is feats["embedding"]) for a, b in calls] == [(True, True)]
    kept = feats["embedding"] != 0
    assert torch.allclose(feats["embedding"][kept], 2 * feats["undropped"][kept])
    lost = (feats["undropped"] != 0) & ~kept
    assert 0.4 < lost.sum() / (feats["undropped"] != 0).sum() < 0.6
    feats = net.eval()(torch.randn(1, 1, 8, 8, 8)).feats
    assert torch.equal(feats["embedding"], feats["undropped"])


def test_the_half_width_unet_has_the_channels_of_the_paper():
    net = build_net("unet", 1, 2, **DEFAULTS | {"width": 16, "depth": 4})
    convs = [m for m in net.down.modules() if isinstance(m, torch.nn.Conv3d)]
    assert [c.out_channels for c in convs] == [16, 32, 32, 64, 64, 128, 128, 256]
    assert net.classifier.in_channels == 32
    drops = [m for m in net.modules() if isinstance(m, torch.nn.Dropout)]
    assert len(drops) == 14
    assert all(d.p == 0.15 for d in drops)


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
    assert torch.equal(a.classifier.weight, b.classifier.weight)
    assert not torch.equal(a.classifier.weight, c.classifier.weight)


def test_gradients_reach_every_parameter():
    for arch in ("unet", "vnet", "resnet", "vnet2d", "resnet2d"):
        net = build_net(arch, 1, 2, **DEFAULTS)
        net(torch.randn(1, 1, 8, 8, 8)).logits.square().mean().backward()
        assert all(p.grad is not None for p in net.parameters())


@pytest.mark.parametrize("arch", ["unet", "vnet"])
def test_a_patch_that_cannot_be_halved_is_refused(arch):
    with pytest.raises(ConfigError, match="multiples of 4"):
        build_net(arch, 1, 2, **DEFAULTS)(torch.zeros(1, 1, 8, 8, 10))


def test_unknown_names_are_refused():
    with pytest.raises(ConfigError, match="unet, vnet"):
        build_net("densenet", 1, 2, **DEFAULTS)
    with pytest.raises(ConfigError, match="instance, batch or group"):
        build_net("unet", 1, 2, **DEFAULTS | {"norm": "layer"})


def test_the_encoder_of_the_resnet_has_the_blocks_of_a_resnet_34():
    from ssltut.nets.resnet import Residual

    net = build_net("resnet", 1, 2, **DEFAULTS | {"width": 2, "depth": 5})
    encoder = [
        m
        for part in (net.downs, net.down_stages)
        for m in part.modules()
        if isinstance(m, Residual)
    ]
    assert len(encoder) == 3 + 4 + 6 + 3
    assert [d.body[0].in_channels for d in net.downs] == [
        2,
        4,
        8,
        16,
    ]
    assert [type(b.shortcut).__name__ for b in encoder].count(
        "Identity"
    ) == 12  # one shortcut a stage halves, the others are as they are


def test_a_residual_block_adds_what_came_in():
    from ssltut.nets.resnet import Residual

    block, x = Residual(3, 3, "instance", (3, 3, 3)), torch.randn(1, 3, 4, 4, 4)
    torch.nn.init.zeros_(block.body[-1].weight)
    assert torch.equal(block(x), x.relu())


@pytest.mark.parametrize("arch", ["vnet2d", "resnet2d"])
def test_flat_networks_see_every_slice_by_itself(arch):
    net = build_net(arch, 1, 2, **DEFAULTS | {"norm": "batch"}).eval()
    x = torch.randn(1, 1, 8, 8, 5)
    slices = torch.cat([net(x[..., z : z + 1]).logits for z in range(5)], -1)
    assert torch.allclose(net(x).logits, slices, atol=1e-5)


def test_a_projection_of_the_embedding_and_of_the_deepest_map():
    heads = {"near": Head(level=0, project=6), "deep": Head(level=-1, project=5)}
    for arch in ("unet", "vnet", "resnet", "unet2d"):
        net = build_net(arch, 1, 2, **DEFAULTS, heads=heads)
        out = net(torch.randn(1, 1, 8, 8, 8), heads=True)
        assert out.heads["near"].shape == (1, 6, 8, 8, 8)
        assert out.heads["deep"].shape == (
            1,
            5,
            8,
            8,
            8,
        )
        assert net.heads["deep"](out.feats["bottleneck"]).shape[:3] == (1, 5, 2)
        assert torch.equal(net.heads["near"](out.feats["embedding"]), out.heads["near"])


@pytest.mark.parametrize("norm", ["batch", "instance", "group"])
@pytest.mark.parametrize("arch", ["unet", "vnet", "resnet", "unet2d", "vnet2d"])
def test_every_map_between_layers_has_its_channels_innermost(arch, norm):
    heads = {"decoder": Head(), "coarse": Head(level=1)}
    net = build_net(arch, 1, 2, **DEFAULTS | {"norm": norm}, heads=heads)
    layouts = {}

    def look(name, layer, inputs):
        if inputs[0].ndim == 5:
            layouts[name] = inputs[0].is_contiguous(memory_format=torch.channels_last_3d)

    for name, layer in net.named_modules():
        layer.register_forward_pre_hook(lambda *seen, name=name: look(name, *seen))
    net(torch.randn(2, 1, 8, 8, 8), heads=True)
    assert len(layouts) > 20
    assert [name for name, innermost in layouts.items() if not innermost] == []


def test_instance_normalisation_is_that_of_torch():
    torch.manual_seed(0)
    ours, theirs = norm_layer("instance", 5), torch.nn.InstanceNorm3d(5, affine=True)
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 5, 4, 6, 3)
    assert torch.allclose(ours(x), theirs(x), atol=1e-6)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
@pytest.mark.parametrize("p", [0.15, 0.5, 0.9999])
def test_dropout_leaves_out_the_share_it_is_told_voxel_by_voxel(p, layout):
    torch.manual_seed(0)
    x = torch.randn(5, 6, 31, 33, 35).contiguous(memory_format=layout).requires_grad_()
    y = Dropout(p)(x)
    assert y.stride() == x.stride()
    left_out = (y == 0).double()
    n = x.numel()
    assert abs(left_out.sum().item() - p * n) < 4 * (p * (1 - p) * n) ** 0.5
    torch.testing.assert_close(y, (1 - left_out.float()) * x / (1 - p))
    y.sum().backward()
    torch.testing.assert_close(x.grad, (1 - left_out.float()) / (1 - p))
    # neighbours along any axis, and a second draw, are independent
    pairs = [(left_out, (Dropout(p)(x) == 0).double())]
    for axis in range(5):
        size = x.shape[axis] - 1
        pairs.append((left_out.narrow(axis, 0, size), left_out.narrow(axis, 1, size)))
    for a, b in pairs:
        both = (a * b).mean().item()
        assert abs(both - p * p) < 4 * p * (1 - p**2) ** 0.5 * (2 / a.numel()) ** 0.5


def test_the_rate_of_dropout_is_exact_although_16_bits_decide(monkeypatch):
    """65536 x 0.15 = 9830.4: in four of ten calls one value more leaves a voxel out."""
    values = torch.arange(-32768, 32768).to(torch.int16)  # every draw there can be, once

    def each(words, *bounds):
        words.view(torch.int16)[:65536] = values
        return words

    monkeypatch.setattr(torch.Tensor, "random_", each)
    torch.manual_seed(0)
    layer, x = Dropout(0.15), torch.ones(1, 1, 16, 64, 64)
    left_out = torch.tensor([(layer(x) == 0).sum().item() for _ in range(1000)])
    assert left_out.unique().tolist() == [9830, 9831]
    assert (left_out == 9831).double().mean().item() == pytest.approx(0.4, abs=0.06)


def test_dropout_is_torchs_where_nothing_is_drawn_by_us():
    x = torch.randn(2, 3, 4, 4, 4)
    assert torch.equal(Dropout(0.5).eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)
    assert torch.equal(Dropout(1.0)(x), torch.zeros_like(x))
