"""Other ways to score with the same trained network: what has been proposed beside one residual.

Each takes a `MaskedDDPM`'s settings and network and needs no training. "-lite": the idea in its
smallest form, not the authors' program.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from maskdiff_edu.detection import anomaly
from maskdiff_edu.detection.anomaly import PostProcessing
from maskdiff_edu.detection.detectors import Detection, MaskedDDPM
from maskdiff_edu.diffusion import Schedule, Walk, reconstruct_by_chain
from maskdiff_edu.diffusion.sampling import Model, Noise
from maskdiff_edu.errors import SettingsError, require_number
from maskdiff_edu.scans import Slices

SMOOTH = PostProcessing(erosions=0, median_size=1, gaussian_sigma=1.5)  #: of an interim map


@dataclass(frozen=True, eq=False)
class MahalanobisDDPM(MaskedDDPM):
    """How unlikely a small patch of the scan is among the network's drawings of it.

    Every noising gives a drawing. Their mean and their covariance over a patch say what is usual
    there: an edge that every drawing puts elsewhere weighs less than a flat region in which all
    agree. After Behrendt et al. 2024, arXiv 2407.12474; covariances are estimated from the drawings
    within a small window, since there are fewer drawings than pixels in a patch.
    """

    patch: int = 3  #: side of a patch, pixels, odd

    def __post_init__(self) -> None:
        super().__post_init__()
        require_number("patch", self.patch, 1, 9, whole=True)

    def detect(self, slices: Slices) -> Detection:
        """Draw some times, and score how far the scan is from the drawings."""
        if self.noisings < 2:
            raise SettingsError(f"{self.name}: expected two drawings or more, got {self.noisings}")
        drawings = _drawings(self, slices, self.settings.times * self.settings.draws)
        x_0_hat, images = drawings.mean(0), slices.images
        rows = torch.arange(len(images)).split(8)  # a few slices at a time, to bound the memory
        distance = torch.cat([mahalanobis(images[i], drawings[:, i], self.patch) for i in rows])
        if self.settings.residual == "positive":
            distance = distance * (images > x_0_hat)
        return _finish(self, slices, distance, x_0_hat)


@dataclass(frozen=True, eq=False)
class GeometricDDPM(MaskedDDPM):
    """The geometric mean of the residuals at several t: high only where all of them are.

    ANDi (Frotscher et al. 2024, arXiv 2312.01904) compares the means of the predicted and of the
    true step from t to t - 1. They differ by a factor of t times the residual of x_0, which a
    geometric mean over t turns into one factor for the whole map.
    """

    times: Sequence[int] = (150, 175, 200, 225, 249)  #: within the band that networks learned

    def detect(self, slices: Slices) -> Detection:
        """One drawing at each t."""
        drawings = _drawings(self, slices, self.times)
        residuals = torch.stack(
            [anomaly.residual(slices.images, drawn, self.settings.residual) for drawn in drawings]
        )
        return _finish(self, slices, geometric_mean(residuals), drawings.mean(0))


@dataclass(frozen=True, eq=False)
class BlendedDDPM(MaskedDDPM):
    """From much noise to little: in between, the scan comes back where it seemed healthy.

    THOR (Bercea et al. 2024, arXiv 2403.08464). So a healthy region is drawn from less and less
    noise, and what seemed ill from the drawing that has replaced it.
    """

    times: Sequence[int] = (249, 200, 150)  #: falling
    level: float = 0.25  #: of the smoothed interim map, from which on the drawing is kept whole

    def detect(self, slices: Slices) -> Detection:
        """A drawing at each t, of a mixture of the scan and the drawing before."""
        x = slices.images
        for t in self.times:
            x_0_hat = self.with_settings(t=t).redraw(slices, x)
            found = self.clean(slices, x_0_hat, SMOOTH)
            x = torch.lerp(slices.images, x_0_hat, (found / self.level).clamp(max=1))
        return Detection(self.clean(slices, x_0_hat), x_0_hat.masked_fill(~slices.brain_masks, -1))


@dataclass(frozen=True, eq=False)
class ChainDDPM(MaskedDDPM):
    """The noise is taken away in some steps instead of one, as AnoDDPM does it.

    Wyatt et al. 2022 (CVPR workshops). A sample is as sharp as a real image and twice as far from
    the scan as the best single answer. The network has to know every t down to 0, as one trained
    on all of them does.
    """

    stops: int = 5  #: of the chain, at equal distances from t down

    def answer(self, model: Model, images: Tensor, schedule: Schedule, noise: Noise) -> Tensor:
        """The mean of as many samples as there are draws."""
        walks = [self._walk(t) for t in self.settings.times for _ in range(self.settings.draws)]
        samples = [reconstruct_by_chain(model, images, w, schedule, noise=noise) for w in walks]
        return torch.stack(samples).mean(0)

    @property
    def noisings(self) -> int:
        """Noise fields for one slice: one to start a walk, one at each stop but the last."""
        walks = (self._walk(t) for t in self.settings.times)
        return self.settings.draws * sum(len(walk.times) for walk in walks)

    def _walk(self, t: int) -> Walk:
        stops = {-(-t * i // self.stops) for i in range(1, self.stops + 1)}
        return Walk(sorted(stops, reverse=True))


#: Ways to score, by name.
RIVALS = {
    "mahalanobis": MahalanobisDDPM,
    "andi-lite": GeometricDDPM,
    "thor-lite": BlendedDDPM,
    "chain": ChainDDPM,
}


def mahalanobis(x: Tensor, drawings: Tensor, patch: int, window: int = 5) -> Tensor:
    """How many standard deviations each pixel's patch lies from the drawings: (n, 1, h, w).

    x: (n, 1, h, w); drawings: (k, n, 1, h, w). The covariance of a patch's p x p pixels is taken
    over the drawings and over the patches within `window` pixels, plus a hundredth of its mean
    variance on the diagonal. 1 is usual: the distance is divided by p.
    """
    k, (n, _, h, w), p = len(drawings), x.shape, patch
    mean = drawings.mean(0)

    def patches(image: Tensor) -> Tensor:
        return F.unfold(image, p, padding=p // 2).view(len(image), p * p, h, w)

    spread = patches((drawings - mean).flatten(0, 1)).view(k, n, p * p, h, w)
    products = torch.einsum("knihw,knjhw->nijhw", spread, spread) / (k - 1)
    covariance = F.avg_pool2d(
        products.view(n, p**4, h, w), window, 1, window // 2, count_include_pad=False
    )
    covariance = covariance.view(n, p * p, p * p, h, w).permute(0, 3, 4, 1, 2)
    variance = covariance.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None]
    ridge = (0.01 * variance + 1e-6) * torch.eye(p * p)
    away = patches(x - mean).permute(0, 2, 3, 1)[..., None]  # (n, h, w, p * p, 1)
    squared = (away * torch.linalg.solve(covariance + ridge, away)).sum((-2, -1))
    return squared.clamp(min=0).sqrt()[:, None] / p


def geometric_mean(values: Tensor, floor: float = 1e-3) -> Tensor:
    """Over the first axis, of values >= 0; the floor keeps a single 0 from deciding alone."""
    return (values + floor).log().mean(0).exp() - floor


def _drawings(detector: MaskedDDPM, slices: Slices, times: Sequence[int]) -> Tensor:
    """One drawing at each t, each from noise of its own: (k, n, 1, h, w)."""
    plain = MaskedDDPM(**{f.name: getattr(detector, f.name) for f in fields(MaskedDDPM)})
    once = [plain.with_settings(t=t, draws=1) for t in times]
    seeded = [replace(one, seed=detector.seed + i) for i, one in enumerate(once)]
    return torch.stack([one.redraw(slices, slices.images) for one in seeded])


def _finish(detector: MaskedDDPM, slices: Slices, values: Tensor, x_0_hat: Tensor) -> Detection:
    """The map of scores other than a residual, cleaned up as every map is."""
    settings = detector.settings.postprocessing
    cleaned = anomaly.postprocess(values, slices.brain_masks, settings, slices.images)
    return Detection(cleaned, x_0_hat.masked_fill(~slices.brain_masks, -1))
