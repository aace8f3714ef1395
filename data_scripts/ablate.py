"""What makes the detector work: one factor changed at a time, scored on *validation* subjects.

    python data_scripts/ablate.py                    # all variants that have no result yet
    python data_scripts/ablate.py fpm-cm gaussian    # these

Each variant is trained for the same number of steps from the same seed and the same batches, then
scored at several t on the first validation subjects of three kinds. It writes NAME.json into
`maskdiff_edu/results/ablations`, which the book reads. Checkpoints lie in runs/ablations, so that
an interrupted training goes on. Test subjects are never touched.
"""

import argparse
import copy
import json
import time
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from maskdiff_edu.brains import cohort_seeds, make_cohort
from maskdiff_edu.detection import DetectorSettings, MaskedDDPM, anomaly, metrics
from maskdiff_edu.diffusion import (
    BROAD_PATCHES,
    FPM,
    IPM,
    MIXED_BANDS,
    RELEASED_PATCHES,
    BandSettings,
    Corruption,
    FPMCutMix,
    PatchSettings,
    Schedule,
    UNet,
    as_x_0,
    draw_patches,
)
from maskdiff_edu.files import write_atomic
from maskdiff_edu.scans import Slices, to_slices
from maskdiff_edu.training import (
    PRESETS,
    Saving,
    SlicePool,
    TrainConfig,
    load_pretrained,
    make_noise,
    make_schedule,
    train,
)
from maskdiff_edu.training.config import N_SUBJECTS
from maskdiff_edu.training.loop import CHECKPOINT

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "maskdiff_edu" / "results" / "ablations"
CHECKPOINTS = ROOT / "runs" / "ablations"
SUBJECTS = {"tumour": 6, "ms": 6, "stroke": 4}  # of each kind's validation cohort
HEALTHY = {"train": 4, "validation": 4}  # on whom the healthy error is measured
HEALTHY_AT = 200  # and at which of TIMES
TIMES = (150, 200, 250, 300)  # of the cosine schedule; other schedules at the same SNR
DRAWS = 2
# Before anything was chosen, but for the network, which "fold-2" shows.
START = {"unet": "folded", "steps": 1500, "batch_size": 16, "t_min": 100, "t_max": 349}
CURVE = (1000, 2000, 4000, 7000)
POSTPROCESSING = anomaly.PostProcessing()


@dataclass(frozen=True)
class Variant:
    """One training that differs from a preset in one thing."""

    name: str
    asks: str  # the question that it answers
    preset: str = "fpm-cm"
    changes: dict[str, Any] = field(default_factory=dict)  # of the preset's TrainConfig
    corrupt: Corruption | None = None  # in place of the preset's
    subjects: int = N_SUBJECTS  # made for the pool
    start: str = ""  # the variant whose network it goes on from; none: a new network
    score_at: tuple[int, ...] = ()  # steps after which it is scored, beside the last

    @property
    def config(self) -> TrainConfig:
        return replace(PRESETS[self.preset], **{**START, **self.changes})


def random_grey(images, brain_masks, generator):
    """Rectangles of one random grey each slice: a corruption that changes the intensity."""
    patch_mask = draw_patches(brain_masks, BROAD_PATCHES, generator)
    grey = torch.rand(len(images), 1, 1, 1, device=images.device, generator=generator) * 2 - 1
    return torch.where(patch_mask, grey, images)


LARGE_PATCHES = PatchSettings(count=(2, 12), sides=(0.1, 0.5))
LOW_PASS = BandSettings(low_pass=1, high_pass=0, off_centre=0)
HIGH_PASS = BandSettings(low_pass=0, high_pass=1, off_centre=0)

# What was chosen from these, and is now every preset's default.
LONG = {"batch_size": 8, "steps": 10_000, "t_min": 150, "t_max": 249}
FEW = 4  # subjects

VARIANTS = [
    Variant("ddpm", "Nothing hidden: the plain DDPM.", "ddpm"),
    Variant("fpm-cm", "The starting point."),
    Variant("ddpm-low-t", "Less noise for the DDPM?", "ddpm", {"t_min": 50, "t_max": 249}),
    Variant("low-t", "Less noise?", changes={"t_min": 50, "t_max": 249}),
    Variant("narrow-t", "A narrower band?", changes={"t_min": 175, "t_max": 225}),
    Variant("all-t", "All t instead of the test's band?", changes={"t_min": 0, "t_max": 999}),
    Variant("gaussian", "White noise instead of fractal?", changes={"noise": "gaussian"}),
    Variant(
        "linear",
        "A linear schedule at the same SNR?",
        changes={"schedule": "linear", "t_min": 48, "t_max": 176},
    ),
    Variant("ipm", "Hide behind grey instead of pasting frequencies?", "ipm"),
    Variant("ipm-noise", "Holes of noise?", "ipm", corrupt=IPM(BROAD_PATCHES, "noise")),
    Variant("fpm", "Filter the whole slice instead of patches?", "fpm"),
    Variant("low-pass", "Only blurred patches?", corrupt=FPMCutMix(FPM(LOW_PASS))),
    Variant("high-pass", "Only edges pasted?", corrupt=FPMCutMix(FPM(HIGH_PASS))),
    Variant("mixed-bands", "Off-centre frequencies too?", corrupt=FPMCutMix(FPM(MIXED_BANDS))),
    Variant("keep-mean", "Paste with the slice's mean?", corrupt=FPMCutMix(FPM(keep_mean=True))),
    Variant("large-patches", "More and larger?", corrupt=FPMCutMix(patches=LARGE_PATCHES)),
    Variant("small-patches", "As released?", corrupt=FPMCutMix(patches=RELEASED_PATCHES)),
    Variant("random-grey", "Another method: patches of a random grey?", corrupt=random_grey),
    Variant("v", "Predict v?", changes={"prediction": "v"}),
    Variant("l2", "Squared error?", changes={"loss": "l2"}),
    Variant("high-lr", "A higher learning rate?", changes={"lr": 2e-3}),
    Variant(
        "fold-2",
        "Squares of 2 pixels folded, not 4: finer, but fewer steps in the same time?",
        changes={"unet": "tiny", "steps": 800},
    ),
    Variant(
        "no-coordinates",
        "A network that is not told where in the slice a pixel lies?",
        changes={"unet": "folded-no-coordinates"},
    ),
    Variant(
        "small-batches",
        "Half the slices, twice the steps?",
        changes={"batch_size": 8, "steps": 3000},
    ),
    Variant(
        "tiny-batches",
        "A quarter of the slices, four times the steps?",
        changes={"batch_size": 4, "steps": 6000},
    ),
    Variant(
        "small-batches-high-lr",
        "And a higher learning rate for these?",
        changes={"batch_size": 8, "steps": 3000, "lr": 2e-3},
    ),
    Variant(
        "ddpm-small-batches",
        "Half the slices, twice the steps, for the DDPM?",
        "ddpm",
        changes={"batch_size": 8, "steps": 3000},
    ),
    # A fork: the same DDPM goes on for equal steps, with and without something hidden.
    Variant("fork-ddpm", "More steps without a mask?", "ddpm", start="ddpm"),
    Variant("fork-fpm-cm", "More steps with a mask?", start="ddpm"),
    # Four people to learn from: if hiding keeps a network from learning them by heart, then here.
    Variant("ddpm-few", "Four people, nothing hidden?", "ddpm", subjects=FEW),
    Variant("ipm-few", "Four people, grey rectangles?", "ipm", subjects=FEW),
    Variant("fpm-cm-few", "Four people, frequencies pasted?", subjects=FEW),
    # Does a longer training make the DDPM worse at detecting?
    Variant("long-ddpm", "Longer, without a mask?", "ddpm", LONG, score_at=CURVE),
    Variant("long-fpm-cm", "Longer, with a mask?", changes=LONG, score_at=CURVE),
]


def validation_slices() -> dict[str, list[Slices]]:
    """The validation subjects of each kind, sliced."""
    return {
        kind: [to_slices(subject) for subject in make_cohort("validation", kind, n)]
        for kind, n in SUBJECTS.items()
    }


def healthy_slices() -> dict[str, list[Slices]]:
    """Healthy people whom every variant was trained on, and people whom none has seen."""
    return {
        split: [to_slices(subject) for subject in make_cohort(split, n=n)]
        for split, n in HEALTHY.items()
    }


def run(
    variant: Variant,
    out: Path,
    scans: dict[str, list[Slices]],
    healthy: dict[str, list[Slices]],
) -> None:
    """Train one variant and write what it reaches."""
    config = variant.config
    pool = SlicePool(cohort_seeds("train", n=variant.subjects))
    start = load_pretrained(CHECKPOINTS / variant.start / CHECKPOINT)[0] if variant.start else None
    folder = CHECKPOINTS / variant.name
    saving = Saving(folder, resume=True)
    steps = train(config, pool, corrupt=variant.corrupt, start=start, out=saving)
    began, losses, curve = time.perf_counter(), [], {}
    for step in tqdm(steps, total=config.steps, desc=variant.name, mininterval=30):
        losses.append(float(step.loss))
        if step.number in variant.score_at:
            curve[step.number] = score(copy.deepcopy(step.model), config, scans)
    result = {
        "name": variant.name,
        "asks": variant.asks,
        "command": f"python data_scripts/ablate.py {variant.name}",
        "version": version("maskdiff_edu"),
        "train": asdict(config),
        "data": getattr(pool, "description", None),
        "seconds": time.perf_counter() - began,
        "loss": float(np.mean(losses[-100:])) if losses else None,
        "draws": DRAWS,
        "postprocessing": asdict(POSTPROCESSING),
        "auprc": score(step.model, config, scans),
        "curve": curve,
        "healthy_error": healthy_error(step.model, config, healthy),
    }
    write_atomic(out / f"{variant.name}.json", json.dumps(result, indent=1).encode())


def score(model: UNet, config: TrainConfig, scans: dict[str, list[Slices]]) -> dict[str, Any]:
    """AUPRC of every subject: {kind: {residual: {t: [one a subject]}}}, by the cosine's t."""
    model = model.eval().to(memory_format=torch.channels_last)
    found: dict[str, Any] = {}
    for kind, subjects in scans.items():
        scored = [score_subject(model, config, slices) for slices in subjects]
        found[kind] = {
            residual: {t: [one[residual][t] for one in scored] for t in TIMES}
            for residual in anomaly.RESIDUAL_KINDS
        }
    return found


def healthy_error(
    model: UNet, config: TrainConfig, healthy: dict[str, list[Slices]]
) -> dict[str, list[float]]:
    """Mean absolute residual in the brain of each healthy subject: {split: [one a subject]}."""
    model = model.eval().to(memory_format=torch.channels_last)
    errors: dict[str, list[float]] = {}
    for split, subjects in healthy.items():
        for slices in subjects:
            x_0_hat = reconstruct_at(HEALTHY_AT, model, config, slices.images)
            error = metrics.l1(slices.images, x_0_hat, slices.brain_masks)
            errors.setdefault(split, []).append(error)
    return errors


def score_subject(model: UNet, config: TrainConfig, slices: Slices) -> dict[str, dict[int, float]]:
    """AUPRC of one subject for both residuals at each t."""
    brain_masks, lesion_masks = slices.brain_masks, slices.lesion_masks
    found: dict[str, dict[int, float]] = {kind: {} for kind in anomaly.RESIDUAL_KINDS}
    for t in TIMES:
        x_0_hat = reconstruct_at(t, model, config, slices.images)
        for kind in anomaly.RESIDUAL_KINDS:
            values = anomaly.residual(slices.images, x_0_hat, kind)
            values = anomaly.postprocess(values, brain_masks, POSTPROCESSING)
            found[kind][t] = metrics.auprc(values, lesion_masks, brain_masks).value
    return found


def reconstruct_at(t: int, model: UNet, config: TrainConfig, images: torch.Tensor) -> torch.Tensor:
    """The pseudo-healthy slices at the config's time of the SNR that the cosine has at t."""
    schedule = make_schedule(config)
    there = schedule.t_with_snr(Schedule.cosine().snr(t).item())
    detector = MaskedDDPM(
        as_x_0(model, config.prediction, schedule),
        schedule,
        DetectorSettings(t=there, draws=DRAWS),
        make_noise(config),
        seed=t,
        precision="auto",
    )
    return detector.reconstruct(images)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help="variants; default: all")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    known = {variant.name: variant for variant in VARIANTS}
    if unknown := set(arguments.names) - known.keys():
        parser.error(f"unknown {', '.join(sorted(unknown))}; expected some of {', '.join(known)}")
    wanted = [known[name] for name in arguments.names or known]
    missing = [v for v in wanted if not (arguments.out / f"{v.name}.json").exists()]
    if missing:
        scans, healthy = validation_slices(), healthy_slices()
    for variant in missing:
        run(variant, arguments.out, scans, healthy)


if __name__ == "__main__":
    main()
