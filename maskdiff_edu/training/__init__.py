"""Learning to give the clean slice back: settings, slices, the loop, weights in files."""

from maskdiff_edu.training.checkpoints import available_models, load_pretrained
from maskdiff_edu.training.config import (
    N_SUBJECTS,
    PRESETS,
    TrainConfig,
    make_corruption,
    make_noise,
    make_schedule,
)
from maskdiff_edu.training.cost import dry_run
from maskdiff_edu.training.denoising import Noised, denoising_loss, hide_and_noise
from maskdiff_edu.training.loop import Saving, Step, fit, train
from maskdiff_edu.training.pool import Pool, SlicePool

__all__ = [
    "N_SUBJECTS",
    "PRESETS",
    "Noised",
    "Pool",
    "Saving",
    "SlicePool",
    "Step",
    "TrainConfig",
    "available_models",
    "denoising_loss",
    "dry_run",
    "fit",
    "hide_and_noise",
    "load_pretrained",
    "make_corruption",
    "make_noise",
    "make_schedule",
    "train",
]
