"""What turns reconstructions into a good map: many ways to score the same ones, on *validation*.

    python data_scripts/ablate_scoring.py --model runs/evidence/fpm-cm-seed0/model.safetensors

One reconstruction at each t and draw, then every score and every filter. Nothing is trained, no
test subject is touched. Writes maskdiff_edu/results/scoring.json, which the book reads.
"""

import argparse
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from ablate import SUBJECTS, validation_slices
from scipy import ndimage
from tqdm import tqdm

from maskdiff_edu.brains import make_cohort
from maskdiff_edu.detection import MaskedDDPM, PostProcessing, anomaly, build_method, metrics
from maskdiff_edu.evaluation.runs import write_numbers
from maskdiff_edu.scans import Slices, to_slices

RESULT = Path(__file__).resolve().parent.parent / "maskdiff_edu" / "results" / "scoring.json"
TIMES, DRAWS = (150, 200, 250), 4
N_HEALTHY = 6  # whose error at each place makes the map of what is hard to reconstruct
FILTERS = {
    "none": PostProcessing(median_size=1),
    "median 3": PostProcessing(median_size=3),
    "median 5": PostProcessing(median_size=5),
    "Gaussian 1.5": PostProcessing(median_size=1, gaussian_sigma=1.5),
    "median 3, no erosion": PostProcessing(erosions=0, median_size=3),
    "median 5, 3 erosions (paper)": PostProcessing(erosions=3, median_size=5),
}
GRID = (120, 120, 110)  # voxels of 2 mm, larger than any brain: where healthy errors are averaged


def reconstruct_all(detector: MaskedDDPM, slices: Slices) -> np.ndarray:
    """Single-noising reconstructions, (times, draws, n, 1, h, w)."""
    once = [detector.with_settings(t=t, draws=1) for t in TIMES]
    return np.stack([
        [replace(way, seed=draw).reconstruct(slices.images) for draw in range(DRAWS)]
        for way in once
    ])  # fmt: skip


def ssim(x: np.ndarray, y: np.ndarray, sigma: float = 1.5) -> np.ndarray:
    """Structural similarity of slices (n, 1, h, w) in [-1, 1] at every pixel (Wang 2004).

    Taken on the scale 0..1: where means are negative the formula makes no sense.
    """

    def blur(a: np.ndarray) -> np.ndarray:
        return ndimage.gaussian_filter(a, (0, 0, sigma, sigma))

    x, y, c_1, c_2 = (x + 1) / 2, (y + 1) / 2, 0.01**2, 0.03**2
    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
    covariance = blur(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + c_1) / (mean_x**2 + mean_y**2 + c_1)
    return luminance * (2 * covariance + c_2) / (var_x + var_y + c_2)


def healthy_error(detector: MaskedDDPM) -> np.ndarray:
    """Mean absolute error of healthy validation subjects at every place of the world, on GRID."""
    total, count = np.zeros(GRID), np.zeros(GRID)
    for subject in make_cohort("validation", "healthy", N_HEALTHY):
        slices = to_slices(subject)
        x_0_hat = detector.with_settings(t=TIMES, draws=1).reconstruct(slices.images)
        error = abs(slices.images - x_0_hat).numpy()
        inside, at = slices.brain_masks.numpy(), place(slices)
        np.add.at(total, tuple(a[inside] for a in at), error[inside])
        np.add.at(count, tuple(a[inside] for a in at), 1)
    blur = 1.5  # voxels: subjects differ in shape
    return ndimage.gaussian_filter(total, blur) / ndimage.gaussian_filter(count, blur).clip(0.1)


def place(slices: Slices) -> tuple[np.ndarray, ...]:
    """Where on GRID each voxel (n, 1, h, w) lies, by its place in the world."""
    z, _, y, x = np.indices(slices.images.shape)
    world = np.einsum("ij,jnchw->inchw", slices.affine[:3, :3], np.stack([x, y, z]))
    world = world + slices.affine[:3, 3][:, None, None, None, None]
    middle = np.array(GRID)[:, None, None, None, None] // 2
    return tuple(np.rint(world / 2).astype(int) + middle)


def scores_of(slices: Slices, drawn: np.ndarray, expected_error: np.ndarray) -> dict:
    """Raw maps (n, 1, h, w) by name; all but the first two use every t and draw."""
    x = slices.images.numpy()
    mean = drawn.mean(axis=(0, 1))
    residual = anomaly.residual(x, mean)
    spread = drawn.std(axis=(0, 1))
    usual = expected_error[place(slices)]
    return {
        "t = 200, 1 draw": anomaly.residual(x, drawn[1, 0]),
        "t = 200, 4 draws": anomaly.residual(x, drawn[1].mean(axis=0)),
        "mean over t": residual,
        "absolute": anomaly.residual(x, mean, "absolute"),
        "divided by the spread over draws": residual / np.hypot(spread, 0.1),
        "divided by the healthy error there": residual / (usual + 0.05),
        "times 1 - SSIM": residual * (1 - ssim(x, mean)),
        "brighter than 9 of 10 draws": anomaly.residual(x, np.quantile(drawn, 0.9, axis=(0, 1))),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    method = build_method(arguments.model, precision="auto")
    expected_error = healthy_error(method.detector)
    rows: dict[tuple[str, str], dict[str, list[float]]] = {}
    for kind, subjects in validation_slices().items():
        for slices in tqdm(subjects, desc=kind):
            drawn = reconstruct_all(method.detector, slices)
            for score, values in scores_of(slices, drawn, expected_error).items():
                for name, settings in FILTERS.items():
                    raw = values.astype(np.float32)
                    cleaned = anomaly.postprocess(raw, slices.brain_masks, settings)
                    auprc = metrics.auprc(cleaned, slices.lesion_masks, slices.brain_masks).value
                    rows.setdefault((score, name), {}).setdefault(kind, []).append(auprc)
    result = {
        "command": f"python data_scripts/ablate_scoring.py --model {arguments.model.name}",
        "train": method.card.train,
        "subjects": SUBJECTS,
        "t": TIMES,
        "draws": DRAWS,
        "filters": {name: asdict(settings) for name, settings in FILTERS.items()},
        "rows": [{"score": s, "filter": f, "auprc": found} for (s, f), found in rows.items()],
    }
    write_numbers(arguments.out, result)


if __name__ == "__main__":
    main()
