"""The denoiser: known parts against diffusers and plain formulas, shapes, sizes, refusals."""

import pytest
import torch
from diffusers.models.embeddings import get_timestep_embedding
from diffusers.models.resnet import ResnetBlock2D
from torch.nn import functional as F
from torch.testing import assert_close

from maskdiff_edu.diffusion import NETWORKS, UNet, UNetConfig
from maskdiff_edu.diffusion.unet import Attention, Block, add_coordinates, time_features

SMALL = UNetConfig((16, 32), 1, 2, True, True, 16, 8)


def awake(module, seed=0):
    """The same module with random weights throughout, also where it starts at zero."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        fan_in = max(1, parameter[0].numel()) if parameter.ndim > 1 else 4
        noise = torch.randn(parameter.shape, generator=generator) / fan_in**0.5
        parameter.data.copy_(noise)
    return module


def images(b=2, side=16, seed=1):
    return torch.randn(b, 1, side, side, generator=torch.Generator().manual_seed(seed))


def n_parameters(net):
    return sum(parameter.numel() for parameter in net.parameters())


def test_tiny_is_tiny_and_answers_zero_at_first():
    net = UNet(NETWORKS["tiny"])
    assert n_parameters(net) <= 1_400_000
    answer = net(images(2, 96), torch.tensor([50, 299]))
    assert_close(answer, torch.zeros(2, 1, 96, 96))


def test_the_papers_net_has_its_widths_and_one_attention():
    with torch.device("meta"):
        net = UNet(NETWORKS["paper"])
    assert NETWORKS["paper"].widths == (128, 256, 256)
    (attention,) = [layer for layer in net.modules() if isinstance(layer, Attention)]
    x_t = torch.empty(2, 1, 96, 96, device="meta")
    seen = []
    attention.register_forward_hook(lambda _, inputs, __: seen.append(tuple(inputs[0].shape)))
    assert net(x_t, torch.empty(2, device="meta")).shape == x_t.shape
    assert seen == [(2, 256, 24, 24)]  # the coarsest resolution


@pytest.mark.parametrize(
    "fold, coordinates, channels", [(1, False, 1), (2, False, 4), (2, True, 6)]
)
def test_folding_moves_pixels_into_channels(fold, coordinates, channels):
    net = awake(UNet(UNetConfig((16, 32), 1, fold, coordinates, False, 16, 8)))
    seen = []
    net.stem.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    x_t = images()
    assert net(x_t, torch.tensor([3, 4])).shape == x_t.shape
    assert seen[0].shape == (2, channels, 16 // fold, 16 // fold)
    assert_close(seen[0][:, :1], x_t[:, :, ::fold, ::fold])  # first of each square


def test_coordinates_run_from_minus_one_to_one():
    with_place = add_coordinates(torch.zeros(2, 3, 5, 4))
    assert with_place.shape == (2, 5, 5, 4)
    assert_close(with_place[1, 3, :, 2], torch.tensor([-1, -0.5, 0, 0.5, 1]))
    assert_close(with_place[1, 4, 2], torch.tensor([-1, -1 / 3, 1 / 3, 1]))


def test_time_features_are_those_of_diffusers():
    t = torch.tensor([0, 1, 50, 299, 999])
    expected = get_timestep_embedding(t, 64, downscale_freq_shift=0)
    assert_close(time_features(t, 64), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("c_in, c_out", [(16, 16), (24, 16)])
def test_a_block_is_diffusers_scale_shift_block(c_in, c_out):
    block = awake(Block(c_in, c_out, SMALL))
    theirs = ResnetBlock2D(
        in_channels=c_in, out_channels=c_out, temb_channels=16, groups=8, eps=1e-5,
        non_linearity="silu", time_embedding_norm="scale_shift",
    )  # fmt: skip
    pairs = {"norm1": block.norm_1, "conv1": block.conv_1, "time_emb_proj": block.scale_shift,
             "norm2": block.norm_2, "conv2": block.conv_2}  # fmt: skip
    if c_in != c_out:
        pairs["conv_shortcut"] = block.shortcut
    for name, layer in pairs.items():
        getattr(theirs, name).load_state_dict(layer.state_dict())
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, c_in, 8, 8, generator=generator)
    before_silu = torch.randn(2, 16, generator=generator)  # diffusers applies it inside
    ours = block(x, torch.nn.functional.silu(before_silu))
    assert_close(ours, theirs(x, before_silu), rtol=1e-4, atol=1e-4)


def test_attention_is_softmax_of_dot_products():
    layer = awake(Attention(128, 8))
    x = torch.randn(2, 128, 3, 4, generator=torch.Generator().manual_seed(0))
    qkv = layer.qkv(layer.norm(x)).flatten(2)  # (2, 384, 12)
    heads = []
    for head in range(2):
        q, k, v = (qkv[:, 128 * i + 64 * head : 128 * i + 64 * head + 64] for i in range(3))
        weights = torch.softmax(torch.einsum("bci,bcj->bij", q, k) / 8, dim=-1)
        heads.append(torch.einsum("bij,bcj->bci", weights, v))
    expected = x + layer.out(torch.cat(heads, dim=1).view(2, 128, 3, 4))
    assert_close(layer(x), expected, rtol=1e-4, atol=1e-4)


def test_each_answer_follows_its_own_slice_and_its_own_t():
    net = awake(UNet(SMALL))
    x_t, t = images(3), torch.tensor([50, 100, 200])
    together = net(x_t, t)
    alone = torch.cat([net(x_t[i : i + 1], t[i : i + 1]) for i in range(3)])
    assert_close(together, alone, rtol=1e-4, atol=1e-4)
    other_t = net(x_t, torch.tensor([50, 101, 200]))
    changed = (other_t - together).abs().amax(dim=(1, 2, 3)) > 1e-3
    assert changed.tolist() == [False, True, False]


def test_the_network_is_wired_as_a_unet():
    """Against the same layers in the order that the papers draw them."""
    net = awake(UNet(SMALL))
    x_t, t = images(), torch.tensor([50, 299])
    first, _, second, _ = net.time
    time = F.silu(second(F.silu(first(time_features(t, 16)))))
    stem = net.stem(add_coordinates(F.pixel_unshuffle(x_t, 2)))
    block, stride, coarse_block = net.down
    fine = block(stem, time)
    strided = stride(fine)
    coarse = coarse_block(strided, time)
    before, after = net.middle
    x = after(net.attention(before(coarse, time)), time)
    x = net.up[0](torch.cat([x, coarse], dim=1), time)
    x = net.up[1](torch.cat([x, strided], dim=1), time)
    x = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    x = net.up[3](torch.cat([x, fine], dim=1), time)
    x = net.up[4](torch.cat([x, stem], dim=1), time)
    expected = F.pixel_shuffle(net.head(F.silu(net.norm(x))), 2)
    assert_close(net(x_t, t), expected)


def test_every_weight_is_used_and_learns():
    net = awake(UNet(SMALL))
    net(images(), torch.tensor([5, 7])).square().mean().backward()
    idle = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert idle == []


def test_the_whole_slice_is_seen():
    """Every pixel of the answer may depend on the far corner of the input, through attention."""
    net = awake(UNet(SMALL))
    x_t = images(1).requires_grad_()
    net(x_t, torch.tensor([9]))[0, 0, 15, 15].backward()
    assert (x_t.grad[0, 0, :2, :2].abs() > 0).all()


def test_the_layout_in_memory_changes_no_answer():
    net, x_t, t = UNet(SMALL), torch.randn(2, 1, 16, 16), torch.tensor([3, 300])
    torch.nn.init.normal_(net.head.weight)  # a new network answers 0
    expected = net(x_t, t)
    assert_close(net.to(memory_format=torch.channels_last)(x_t, t), expected, rtol=1e-4, atol=1e-4)
    assert expected.abs().mean() > 0.1


@pytest.mark.parametrize("shape", [(1, 16, 16), (2, 3, 16, 16), (2, 1, 18, 16), (2, 1, 16, 17)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"multiples of 4, got \(.*pad"):
        UNet(SMALL)(torch.zeros(shape), torch.zeros(2))


@pytest.mark.parametrize("t", [torch.tensor(5), torch.zeros(3), torch.zeros(2, 1)])
def test_one_t_for_each_slice(t):
    with pytest.raises(ValueError, match="t: expected one step for each of the 2 slices"):
        UNet(SMALL)(images(), t)


def test_the_stated_multiple_is_enough():
    for levels, fold in [(1, 1), (2, 2), (3, 2), (4, 1)]:
        config = UNetConfig((8,) * levels, 1, fold, True, False, 8, 8)
        x_t = torch.zeros(1, 1, config.multiple, 3 * config.multiple)
        assert UNet(config)(x_t, torch.zeros(1)).shape == x_t.shape


@pytest.mark.parametrize(
    "settings",
    [
        {"widths": ()},
        {"widths": (32,) * 7},
        {"widths": (10**9,)},
        {"widths": (48, 33), "groups": 16},
        {"widths": (32.0,)},
        {"widths": "ab"},
        {"blocks": 0},
        {"blocks": 10**6},
        {"blocks": True},
        {"fold": 0},
        {"time_width": 15},
        {"time_width": 10**7},
        {"groups": 0},
    ],
)
def test_absurd_settings_are_refused(settings):
    with pytest.raises(ValueError, match=r"got|expected"):
        UNetConfig(**settings)
