"""A shipped model that goes on learning from healthy scans of one's own scanner.

Every scanner has its own contrast, blur and noise, which the network has never seen and takes for
unusual. Some healthy scans teach it; others, kept aside, say which threshold holds there.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from scipy import stats

from maskdiff_edu import progress
from maskdiff_edu.detection import anomaly
from maskdiff_edu.detection.adaptation import SharedPool, go_on, other_people, own_slices
from maskdiff_edu.detection.detectors import MaskedDDPM
from maskdiff_edu.detection.models import Method, build_method, write_card
from maskdiff_edu.detection.refinement import GUIDED
from maskdiff_edu.errors import ScanError, SettingsError
from maskdiff_edu.scans import Scan, Slices, to_slices
from maskdiff_edu.training import Saving, TrainConfig, fit, load_pretrained
from maskdiff_edu.training.loop import MODEL

SHARE = 0.35  #: of each batch that is one's own, so that the network forgets nobody else
FLAG, MOST_FLAGGED = 0.25, 0.02  #: of the guided map, and the share of a healthy brain above it
MOST_SCANS = 20


@dataclass(frozen=True)
class AdaptSettings:
    """How long a model learns from one's own scans, and which threshold it gets."""

    steps: int = 2500  #: of training
    seed: int = 0  #: of the training, and of which scans are kept aside
    fpr: float = 0.01  #: share of healthy voxels that the threshold lets pass


def adapt_to_scanner(
    model: str | Path,
    scans: Sequence[Scan],
    out: str | Path,
    settings: AdaptSettings | None = None,
    device: str = "auto",
) -> Method:
    """Teach a model 1 to 20 healthy scans and write it, with its card, as out/model.safetensors.

    A quarter of the scans, at least one of two, teaches nothing and sets the threshold. From one
    scan alone the model has no threshold.

    Raises: ScanError for a scan that looks ill or is of another contrast, SettingsError for more
    scans or none, CheckpointError for a model that cannot be used.
    """
    chosen = settings or AdaptSettings()
    if not 1 <= len(scans) <= MOST_SCANS:
        raise SettingsError(f"expected 1 to {MOST_SCANS} healthy scans, got {len(scans)}")
    method = build_method(model, device=device, precision="auto")
    if not isinstance(method.detector, MaskedDDPM):
        raise SettingsError(f"{model}: expected a network, got none")
    each = progress.bar(scans, desc="looking at the scans", unit="scan")
    slices = [checked(scan, method.detector) for scan in each]
    kept = kept_aside(len(scans), chosen.seed)
    learnt = [one for i, one in enumerate(slices) if i not in kept]
    adapted = _train(model, method, learnt, Path(out), chosen)
    threshold = None
    if kept:
        found = [(adapted.detector.detect(slices[i]), slices[i]) for i in kept]
        maps, brains = zip(*((f.anomaly_map, s.brain_masks) for f, s in found), strict=True)
        threshold = anomaly.threshold_from_healthy(maps, brains, chosen.fpr)
    about = {"from": str(model), "scans": len(learnt), "kept_aside": len(kept), **asdict(chosen)}
    write_card(adapted, threshold, adapted=about)
    return replace(adapted, threshold=threshold)


def kept_aside(n: int, seed: int) -> list[int]:
    """Which of n scans set the threshold: a quarter, at least one of two, none of one.

    >>> [len(kept_aside(n, seed=0)) for n in (1, 2, 4, 8, 20)]
    [0, 1, 1, 2, 5]
    """
    count = max(1, n // 4) if n > 1 else 0
    return sorted(np.random.default_rng([seed, n]).permutation(n)[:count].tolist())


def checked(scan: Scan, detector: MaskedDDPM) -> Slices:
    """The slices of a scan that looks healthy and T2-weighted.

    On a T2-weighted scan little is bright, the fluid; on T1-weighted and FLAIR scans little is
    dark. So the skewness of the brain's brightness tells them apart.
    Raises: ScanError for another one.
    """
    slices = to_slices(scan, detector.settings.normalise)
    skewness = float(stats.skew(slices.images[slices.brain_masks].numpy()))
    if skewness < 0:
        raise ScanError(
            f"{scan.name}: expected a T2-weighted scan, whose fluid is bright (skewness of the "
            f"brain's brightness above 0), got one of {skewness:.2f}, as T1 or FLAIR have it"
        )
    drawn = detector.reconstruct(slices.images)
    high = detector.clean(slices, drawn, GUIDED)[slices.brain_masks] > FLAG
    if (share := float(high.float().mean())) > MOST_FLAGGED:
        raise ScanError(
            f"{scan.name}: expected a healthy brain, with at most {MOST_FLAGGED:.0%} of it flagged "
            f"by {detector.name}, got {share:.1%}: what is learnt as healthy is not found any more"
        )
    return slices


def _train(
    model: str | Path, method: Method, learnt: list[Slices], out: Path, chosen: AdaptSettings
) -> Method:
    """The taught model, from its file."""
    network, card = load_pretrained(model)
    config = go_on(replace(TrainConfig.from_json(card["train"]), seed=chosen.seed), chosen.steps)
    own = own_slices([(one.images, one.brain_masks) for one in learnt])
    device = str(method.used["device"])
    about = {"method": f"{method.name}-adapted"}
    fit(config, SharedPool(own, other_people(), SHARE), start=network, device=device,
        out=Saving(out), about=about)  # fmt: skip
    adapted = build_method(out / MODEL, device=device, precision="auto")
    return adapted.with_settings(method.settings)
