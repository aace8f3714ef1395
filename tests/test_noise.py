import numpy as np
import pytest
import torch
from torch.testing import assert_close

from maskdiff_edu.diffusion import Octaves, fractal_noise, gaussian_noise

KINDS = pytest.mark.parametrize("noise", [gaussian_noise, fractal_noise])


def draw(noise, shape, seed=0, **options):
    return noise(shape, generator=torch.Generator().manual_seed(seed), **options)


def power_spectrum(fields):
    """Mean |FFT|^2 over fields (n, h, w), divided so that its mean is the pixel variance."""
    spectra = np.abs(np.fft.fft2(fields.numpy().astype(np.float64))) ** 2
    return spectra.mean(0) / fields[0].numel()


@KINDS
def test_every_pixel_has_unit_variance_in_expectation(noise):
    fields = draw(noise, (3000, 1, 24, 32))[:, 0]
    variance = fields.square().mean(0)  # (h, w)
    assert_close(variance, torch.ones(24, 32), atol=0.14, rtol=0)  # 5 sigma of 3000 draws
    assert_close(variance.mean(), torch.tensor(1.0), atol=0.02, rtol=0)
    assert_close(fields.mean(0), torch.zeros(24, 32), atol=0.1, rtol=0)


def test_fractal_fields_are_not_scaled_one_by_one():
    spread = draw(fractal_noise, (500, 1, 96, 96)).var(dim=(1, 2, 3))
    assert spread.std() > 0.05 and spread.min() < 0.85 and spread.max() > 1.2


@KINDS
def test_samples_and_channels_are_independent(noise):
    fields = draw(noise, (100, 2, 64, 64)).flatten(2)
    product = (fields[:-1, 0] * fields[1:, 0]).mean()  # neighbours in the batch
    across = (fields[:, 0] * fields[:, 1]).mean()  # channels of one sample
    assert abs(product) < 0.05 and abs(across) < 0.05
    assert fields.flatten(0, 1).unique(dim=0).shape[0] == 200


@pytest.mark.parametrize("h, w", [(48, 64), (45, 33)])
def test_fractal_spectrum_is_the_sum_of_its_octaves(h, w):
    fields = draw(
        fractal_noise,
        (2000, 1, h, w),
        octaves=Octaves(count=3, persistence=0.5, base_period=32),
        dtype=torch.double,
    )
    rows, columns = np.meshgrid(np.fft.fftfreq(h), np.fft.fftfreq(w), indexing="ij")
    expected = np.zeros((h, w))
    for period, amplitude in ((32, 1), (16, 0.5), (8, 0.25)):
        r = 2 * np.hypot(rows, columns) * period
        ring = r**2 * np.exp(-(r**2))
        expected += amplitude**2 * ring / ring.sum()
    expected *= h * w / expected.sum()
    measured = power_spectrum(fields[:, 0])
    loud = expected > 0.05
    ratio = measured[loud] / expected[loud]
    assert abs(ratio.mean() - 1) < 0.01 and np.abs(ratio - 1).max() < 0.2  # 1/sqrt(2000) a bin
    assert measured[0, 0] < 1e-20  # no mean


def test_default_fractal_noise_has_the_power_of_simplex_noise_where_it_matters():
    spectrum = power_spectrum(draw(fractal_noise, (200, 1, 96, 96))[:, 0])
    cycles = np.hypot(*np.meshgrid(*2 * [np.fft.fftfreq(96, 1 / 96)]))
    share = spectrum[cycles < 8].sum() / spectrum.sum()
    assert 0.82 < share < 0.87  # simplex noise: .84


def test_gaussian_noise_is_white():
    spectrum = power_spectrum(draw(gaussian_noise, (3000, 1, 16, 16))[:, 0])
    assert np.abs(spectrum - 1).max() < 0.15


@KINDS
def test_the_generator_decides(noise):
    shape = (2, 1, 32, 32)
    assert_close(draw(noise, shape, seed=3), draw(noise, shape, seed=3), rtol=0, atol=0)
    assert (draw(noise, shape, seed=3) - draw(noise, shape, seed=4)).abs().max() > 0.1


@KINDS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_dtype_and_device_are_kept(noise, dtype):
    on_cpu = draw(noise, (2, 1, 32, 33), dtype=dtype)
    assert (on_cpu.dtype, on_cpu.device.type) == (dtype, "cpu")
    elsewhere = noise((2, 1, 32, 33), device="meta", dtype=dtype)
    assert (elsewhere.dtype, elsewhere.device.type) == (dtype, "meta")


def test_blobs_larger_than_the_image_are_refused():
    with pytest.raises(ValueError, match="base_period: expected at most"):
        fractal_noise((1, 1, 15, 96))
    assert fractal_noise((1, 1, 16, 16)).isfinite().all()
