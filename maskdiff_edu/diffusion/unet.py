"""The denoiser: a U-Net that sees a noised slice and its time, and answers with one image.

Down through a few resolutions, up again, with a skip connection at every block. What makes it
quick on an ordinary processor: the image is folded (pixel-unshuffle), so that every layer works on
a fraction of the positions.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskdiff_edu.errors import SettingsError, require_number

Code = Literal["none", "dense", "spatial"]


def heads(width: int) -> int:
    """How many heads attend over `width` channels: one for 64 of them."""
    return max(1, width // 64)


@dataclass(frozen=True)
class UNetConfig:
    """The shape of a `UNet`. Raises `SettingsError` for settings out of range.

    >>> UNetConfig((32, 64, 88), blocks=1, fold=2, groups=8).multiple
    8
    """

    widths: tuple[int, ...] = (128, 256, 256)  #: channels at each resolution, finest first
    blocks: int = 2  #: residual blocks at each resolution on the way down; one more going up
    fold: int = 1  #: side of the pixel squares folded into channels first; 1 leaves the image
    coordinates: bool = False  #: tell the network where it is, by a row and a column channel
    attention: bool = True  #: one self-attention, at the coarsest resolution
    time_width: int = 512  #: width of the vector that carries t to every block
    groups: int = 32  #: groups of each group norm; divides every width
    code: Code = "none"  #: what alone leads up, instead of skips
    code_size: int = 128  #: numbers of a dense code, channels of a spatial one
    code_is_random: bool = False  #: drawn from a normal distribution, as a VAE's
    side: int = 96  #: of the slices, which a dense code has to know

    def __post_init__(self) -> None:
        """Refuse what cannot be built, and sizes that only a damaged or hostile file would ask."""
        object.__setattr__(self, "widths", tuple(self.widths))
        if not 1 <= len(self.widths) <= 6:
            raise SettingsError(f"widths: expected 1 to 6 of them, got {len(self.widths)}")
        limits = {"blocks": (1, 8), "fold": (1, 8), "time_width": (2, 4096), "groups": (1, 128)}
        limits |= {"code_size": (1, 4096), "side": (1, 1024)}
        for name, (low, high) in limits.items():
            require_number(name, getattr(self, name), low, high, whole=True)
        for width in self.widths:
            require_number("width", width, 1, 2048, whole=True)
        if self.code not in get_args(Code):
            raise SettingsError(f"code: expected one of {get_args(Code)}, got {self.code!r}")
        for name in ("coordinates", "attention", "code_is_random"):
            if type(getattr(self, name)) is not bool:
                raise SettingsError(f"{name}: expected True or False, got {getattr(self, name)!r}")
        if any(width % self.groups for width in self.widths):
            raise SettingsError(
                f"widths: expected multiples of groups={self.groups}, got {self.widths}"
            )
        if self.attention and self.widths[-1] % heads(self.widths[-1]):
            raise SettingsError(
                "widths: with attention, expected the last to be a multiple of its "
                f"{heads(self.widths[-1])} heads, one for 64 channels, got {self.widths[-1]}"
            )
        if self.time_width % 2:
            raise SettingsError(f"time_width: expected an even number, got {self.time_width}")
        if self.code == "dense" and self.side % self.multiple:
            raise SettingsError(
                f"side: expected a multiple of {self.multiple} with a dense code, got {self.side}"
            )

    @property
    def multiple(self) -> int:
        """Height and width of the images must be multiples of this."""
        return self.fold * 2 ** (len(self.widths) - 1)


#: Shapes by name.
NETWORKS = {
    "tiny": UNetConfig((32, 64, 88), 1, 2, True, False, 64, 8),
    "folded": UNetConfig((64, 96), 1, 4, True, False, 64, 8),  # a tenth more weights, twice as fast
    "paper": UNetConfig(),
}
NETWORKS["folded-no-coordinates"] = replace(NETWORKS["folded"], coordinates=False)
# Autoencoders of as many weights: a code of 128 numbers, or one of 16 channels on a 6 x 6 grid.
NETWORKS["dense"] = UNetConfig((56, 72, 88), 1, 4, False, False, 64, 8, "dense")
NETWORKS["dense-random"] = replace(NETWORKS["dense"], code_is_random=True)
NETWORKS["spatial-random"] = replace(NETWORKS["dense-random"], code="spatial", code_size=16)


def time_features(t: Tensor, width: int) -> Tensor:
    """Sines and cosines of `t` at frequencies falling from 1 to 1/10000 (Vaswani 2017).

    t: (b,) steps, width even; returns (b, width) float32 in [-1, 1].

    >>> time_features(torch.tensor([0, 150]), 64).shape
    torch.Size([2, 64])
    """
    half = width // 2
    frequencies = torch.exp(-math.log(10_000) * torch.arange(half, device=t.device) / half)
    angles = torch.outer(t.float(), frequencies)  # (b, width / 2)
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def add_coordinates(x: Tensor) -> Tensor:
    """Append a row and a column channel, both from -1 to 1: (b, c, h, w) to (b, c + 2, h, w).

    >>> add_coordinates(torch.zeros(2, 4, 48, 48))[0, 4, :, 0][[0, -1]]
    tensor([-1.,  1.])
    """
    b, _, h, w = x.shape
    rows = torch.linspace(-1, 1, h, device=x.device, dtype=x.dtype).view(h, 1).expand(b, 1, h, w)
    columns = torch.linspace(-1, 1, w, device=x.device, dtype=x.dtype).expand(b, 1, h, w)
    return torch.cat([x, rows, columns], dim=1)


class Block(nn.Module):
    """Two convolutions and a shortcut; `t` scales and shifts the features between them.

    x: (b, c_in, h, w), time: (b, time_width); returns (b, c_out, h, w).
    """

    def __init__(self, c_in: int, c_out: int, config: UNetConfig) -> None:
        super().__init__()
        self.norm_1 = nn.GroupNorm(math.gcd(c_in, config.groups), c_in)
        self.conv_1 = nn.Conv2d(c_in, c_out, 3, padding=1)
        self.scale_shift = nn.Linear(config.time_width, 2 * c_out)
        self.norm_2 = nn.GroupNorm(config.groups, c_out)
        self.conv_2 = zeroed(nn.Conv2d(c_out, c_out, 3, padding=1))
        self.shortcut = nn.Conv2d(c_in, c_out, 1) if c_in != c_out else nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        h = self.conv_1(F.silu(self.norm_1(x)))
        scale_shift = self.scale_shift(time).view(len(x), -1, 1, 1)
        scale, shift = scale_shift.chunk(2, dim=1)  # each (b, c_out, 1, 1)
        h = torch.addcmul(shift, self.norm_2(h), 1 + scale)
        return self.shortcut(x) + self.conv_2(F.silu(h))


class Attention(nn.Module):
    """Self-attention of every position over all positions, one head for 64 channels.

    x: (b, width, h, w); returns the same shape. `width` is a multiple of the heads and of `groups`.
    Scaled dot products as in Vaswani 2017.
    """

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.heads = heads(width)
        self.norm = nn.GroupNorm(groups, width)
        self.qkv = nn.Conv2d(width, 3 * width, 1)
        self.out = zeroed(nn.Conv2d(width, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        qkv = self.qkv(self.norm(x)).view(b, 3, self.heads, c // self.heads, h * w)
        q, k, v = qkv.transpose(-1, -2).unbind(dim=1)  # each (b, heads, h*w, c / heads)
        y = F.scaled_dot_product_attention(q, k, v)
        return x + self.out(y.transpose(-1, -2).reshape(b, c, h, w))


def zeroed(layer: nn.Conv2d) -> nn.Conv2d:
    """Start a layer at zero, so that its branch begins as 'change nothing'."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


class UNet(nn.Module):
    """A time-conditioned U-Net (Ronneberger 2015; Ho 2020; scale-and-shift as in Dhariwal 2021).

    x_t: (b, 1, h, w), h and w multiples of `config.multiple`; t: (b,). Returns (b, 1, h, w), whose
    meaning (x_0, eps or v) is the training's choice. A new network answers 0 everywhere.
    Raises `SettingsError` for another shape.

    >>> net = UNet(NETWORKS["tiny"])
    >>> net(torch.zeros(2, 1, 96, 96), torch.tensor([150, 150])).shape
    torch.Size([2, 1, 96, 96])
    """

    has_skips = True  # what leads up is joined by what led down

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        if self.has_skips != (config.code == "none"):
            raise SettingsError(f"code: expected make_network for {config.code!r}, got a class")
        self.config = config
        widths, pixels = config.widths, config.fold**2
        self.time = nn.Sequential(
            nn.Linear(config.time_width, config.time_width),
            nn.SiLU(),
            nn.Linear(config.time_width, config.time_width),
            nn.SiLU(),
        )
        self.stem = nn.Conv2d(pixels + 2 * config.coordinates, widths[0], 3, padding=1)

        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        c, skips = widths[0], [widths[0]]  # channels now, and of every feature map kept
        for level, width in enumerate(widths):
            if level > 0:
                self.down.append(nn.Conv2d(c, c, 3, stride=2, padding=1))
                skips.append(c)
            for _ in range(config.blocks):
                self.down.append(Block(c, width, config))
                skips.append(c := width)

        middle = [Block(c, c, config), Block(c, c, config)]
        self.middle = nn.ModuleList(middle)
        self.attention = Attention(c, config.groups) if config.attention else nn.Identity()

        for level, width in reversed(list(enumerate(widths))):
            for _ in range(config.blocks + 1):
                skip = skips.pop() if self.has_skips else 0
                self.up.append(Block(c + skip, width, config))
                c = width
            if level > 0:
                self.up.append(nn.Upsample(scale_factor=2, mode="nearest"))

        self.norm = nn.GroupNorm(config.groups, c)
        self.head = zeroed(nn.Conv2d(c, pixels, 3, padding=1))

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        self._check(x_t, t)
        time = self.time(time_features(t, self.config.time_width).to(x_t.dtype))
        x = F.pixel_unshuffle(x_t, self.config.fold)  # (b, fold^2, h / fold, w / fold)
        x = add_coordinates(x) if self.config.coordinates else x
        x = self.stem(x)

        kept = [x]
        for layer in self.down:
            x = layer(x, time) if isinstance(layer, Block) else layer(x)
            kept.append(x)
        first, last = self.middle
        x = last(self.attention(first(x, time)), time)
        for layer in self.up:
            if isinstance(layer, Block):
                x = layer(torch.cat([x, kept.pop()], dim=1), time)
            else:
                x = layer(x)
        x = self.head(F.silu(self.norm(x)))
        return F.pixel_shuffle(x, self.config.fold)  # (b, 1, h, w)

    def _check(self, x_t: Tensor, t: Tensor) -> None:
        multiple = self.config.multiple
        if x_t.ndim != 4 or x_t.shape[1] != 1 or any(n % multiple for n in x_t.shape[2:]):
            raise SettingsError(
                f"x_t: expected (b, 1, h, w) with h and w multiples of {multiple}, got "
                f"{tuple(x_t.shape)}; pad the slices"
            )
        if t.shape != x_t.shape[:1]:
            raise SettingsError(
                f"t: expected one step for each of the {len(x_t)} slices, got {tuple(t.shape)}"
            )
