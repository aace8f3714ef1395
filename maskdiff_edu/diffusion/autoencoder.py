"""Autoencoders: the denoiser's blocks, but all of the slice has to pass through a code."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskdiff_edu.diffusion.unet import Block, UNet, UNetConfig, add_coordinates, time_features
from maskdiff_edu.errors import SettingsError


class Bottleneck(nn.Module):
    """All that an autoencoder may keep of a slice: a code.

    Features (b, width, h, w) to a code and back, and how far the code's distribution is from the
    standard normal one, in nats a slice; 0 for a code that is not random. In training a random
    code is drawn, else it is the mean. Variational autoencoders: arXiv 1312.6114, equation 10.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        width, size = config.widths[-1], config.code_size
        self.is_random = config.code_is_random
        numbers = size * (1 + self.is_random)  # a mean, and the logarithm of a variance
        if config.code == "spatial":
            self.encode: nn.Module = nn.Conv2d(width, numbers, 1)
            self.decode: nn.Module = nn.Conv2d(size, width, 1)
            return
        side, narrow = config.side // config.multiple, 16
        self.encode = nn.Sequential(
            nn.Conv2d(width, narrow, 1), nn.Flatten(), nn.Linear(narrow * side**2, numbers)
        )
        self.decode = nn.Sequential(
            nn.Linear(size, narrow * side**2),
            nn.Unflatten(1, (narrow, side, side)),
            nn.Conv2d(narrow, width, 1),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        code = self.encode(x)
        if not self.is_random:
            return self.decode(code), x.new_zeros(())
        mean, log_variance = code.float().chunk(2, dim=1)
        log_variance = log_variance.clamp(-10, 10)  # a first step too far would overflow
        apart = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)
        if self.training:
            mean = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        return self.decode(mean.to(x.dtype)), apart.flatten(1).sum(1).mean()


class AutoEncoder(UNet):
    """A `UNet` without skip connections: what leads up is drawn from the code alone.

    x_t, t and the answer as `UNet`'s. Where the code is random it returns, in training, also how
    far the code is from a standard normal one, (): see `Bottleneck`. It then draws from torch's own
    generators.
    """

    has_skips = False

    def __init__(self, config: UNetConfig) -> None:
        super().__init__(config)
        self.bottleneck = Bottleneck(config)

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor | tuple[Tensor, Tensor]:  # type: ignore[override]
        self._check(x_t, t)
        time = self.time(time_features(t, self.config.time_width).to(x_t.dtype))
        x = F.pixel_unshuffle(x_t, self.config.fold)
        x = self.stem(add_coordinates(x) if self.config.coordinates else x)
        for layer in self.down:
            x = layer(x, time) if isinstance(layer, Block) else layer(x)
        first, last = self.middle
        x, apart = self.bottleneck(first(x, time))
        x = last(self.attention(x), time)
        for layer in self.up:
            x = layer(x, time) if isinstance(layer, Block) else layer(x)
        x = F.pixel_shuffle(self.head(F.silu(self.norm(x))), self.config.fold)  # (b, 1, h, w)
        return (x, apart) if self.training and self.config.code_is_random else x

    def _check(self, x_t: Tensor, t: Tensor) -> None:
        super()._check(x_t, t)
        side = self.config.side
        if self.config.code == "dense" and x_t.shape[2:] != (side, side):
            raise SettingsError(
                f"x_t: expected slices of {side} by {side} pixels, which the code was made for, "
                f"got {tuple(x_t.shape)}"
            )


def make_network(config: UNetConfig) -> UNet:
    """The network of that shape, with new weights: a `UNet`, or with a code an `AutoEncoder`."""
    return UNet(config) if config.code == "none" else AutoEncoder(config)


def draws_a_code(network: nn.Module) -> bool:
    """Whether a network draws at random itself, in training."""
    return isinstance(network, AutoEncoder) and network.config.code_is_random
