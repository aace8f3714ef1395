"""The four masked models against the others: train, choose, measure, on phantoms and real patients.

    python data_scripts/run_comparison.py                            # every row, days on a laptop
    python data_scripts/run_comparison.py --only dae ae --seeds 0    # some, about 45 minutes a row
    python data_scripts/run_comparison.py --real FOLDER              # real patients, too
    maskdiff-edu compare maskdiff_edu/results/test maskdiff_edu/results/others/phantoms --out table

Follows maskdiff_edu/results/PROTOCOL_OTHERS.md. What is there is not made again, so
an interrupted run goes on, and several machines can share the rows. Trained models lie in
runs/comparison, the numbers in maskdiff_edu/results/others.

FOLDER holds real patients, one sub-folder each with a T2 scan and its lesion mask; they are no part
of this repository, and only numbers of them are kept.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from maskdiff_edu import progress
from maskdiff_edu.brains.cohorts import COHORTS
from maskdiff_edu.detection import (
    Detection,
    IntensityDetector,
    MapSettings,
    Method,
    PostProcessing,
    build_method,
    metrics,
    postprocess,
)
from maskdiff_edu.detection.cards import Card
from maskdiff_edu.evaluation import Grid, measure, phantoms
from maskdiff_edu.evaluation.groups import Load
from maskdiff_edu.scans import Scan, Slices, load_scan, to_slices
from maskdiff_edu.training import available_models

ROOT = Path(__file__).resolve().parent.parent
TRAINED = ROOT / "runs" / "comparison"
RESULTS = ROOT / "maskdiff_edu" / "results" / "others"
FIRST = RESULTS.parent / "test"  # the first comparison: the same subjects, the same protocol
N, N_CHOICE, N_HEALTHY, FPR = 30, 10, 10, 0.01
SAME_PATIENT = "08"  # of the African gliomas, probably once more patient 07


@dataclass(frozen=True)
class Row:
    """A row of the table: a training, or a shipped model, and how its maps are made."""

    preset: str
    refine: str | None = None

    @property
    def name(self) -> str:
        return f"{self.preset}-{self.refine}" if self.refine else self.preset


#: What ships; the first comparison has measured them on phantoms.
SHIPPED = ("ddpm", "ipm", "fpm", "fpm-cm")
#: In the order in which they are run: what may win first.
TRAININGS = (
    *("dae", "disyre-lite", "itermask-lite", "ae", "vae", "svae", "riad"),
    *("ddpm-gaussian", "pddpm", "fpm-cm-released", "ipm-paper", "fpm-cm-paper"),
    *("ddpm-all-t", "fpm-cm-all-t"),
)
#: Ways to score with a model that ships.
SCORES = ("two-pass", "thor-lite", "andi-lite", "mahalanobis")
WITHOUT_NETWORK = ("ceiling", "intensity-tuned", "equalised-tuned")
ROWS = {
    row.name: row
    for row in (
        *(Row(model) for model in SHIPPED),
        *(Row("ddpm", refine) for refine in SCORES),
        *(Row(preset) for preset in TRAININGS),
        Row("ddpm-all-t", "chain"),  # AnoDDPM
    )
}


def edu(*words: object) -> None:
    """Run one command of the package, and stop where it fails."""
    print("maskdiff-edu", *map(str, words), flush=True)
    subprocess.run([sys.executable, "-m", "maskdiff_edu", *map(str, words)], check=True)


def prepare(row: Row, seed: int) -> Method:
    """Train and choose, unless that is done; a model that ships needs neither."""
    if row.preset in available_models() and seed == 0:
        return build_method(row.preset, precision="auto", refine=row.refine)
    model = TRAINED / f"{row.preset}-seed{seed}" / "model.safetensors"
    if not model.exists():
        words = ("train", "--preset", row.preset, "--seed", seed, "--out", model.parent, "--resume")
        edu(*words)
    if "chosen" not in json.loads(model.with_suffix(".json").read_text()):
        like = TRAINED / f"{row.preset}-seed0" / model.name
        edu("choose", "--model", model, *(() if seed == 0 else ("--like", like)))
    return build_method(model, precision="auto", refine=row.refine)


def tune_intensity(name: str) -> Method:
    """Brightness with the clean-up that suits it best, chosen as every method's is."""
    found: dict[PostProcessing, list[float]] = {}
    for load in progress.bar(phantoms("validation", "tumour", N_CHOICE), desc=name):
        slices = to_slices(load())
        for median_size, sigma in Grid().filters:
            settings = PostProcessing(median_size=median_size, gaussian_sigma=sigma)
            detector = IntensityDetector(
                name.startswith("equalised"), MapSettings(postprocessing=settings)
            )
            values = detector.detect(slices).anomaly_map
            score = metrics.auprc(values, slices.lesion_masks, slices.brain_masks).value
            found.setdefault(settings, []).append(score)
    best = max(found, key=lambda settings: np.mean(found[settings]))
    detector = IntensityDetector(name.startswith("equalised"), MapSettings(postprocessing=best))
    return Method(detector, card=Card(method=name))


@dataclass(frozen=True)
class KnowsTheLesion:
    """What nothing can beat: the lesion mask itself, on the 2 mm grid and cleaned up as any map."""

    name: str = "ceiling"
    settings: MapSettings = field(
        default_factory=lambda: MapSettings(
            postprocessing=PostProcessing(median_size=1, gaussian_sigma=1.5)
        )
    )

    def detect(self, slices: Slices) -> Detection:
        """The mask as a map; nothing for a healthy person."""
        lesions = slices.lesion_masks
        values = torch.zeros_like(slices.images) if lesions is None else lesions.float()
        used = self.settings.postprocessing
        return Detection(postprocess(values, slices.brain_masks, used, slices.images))


def without_network(name: str) -> Method:
    """Tuned brightness, or what nothing can beat."""
    if name == "ceiling":
        return Method(KnowsTheLesion(), card=Card(method=name))
    return tune_intensity(name)


def real_patients(folder: Path) -> dict[str, list[Load]]:
    """Gliomas and MS, by name."""
    groups: dict[str, list[Load]] = {"real-glioma": [], "real-ms": []}
    for mask in sorted(folder.glob("**/lesion_mask.nii.gz")):
        if mask.parent.name == SAME_PATIENT:
            continue
        brain = mask.with_name("brain_mask.nii.gz")
        name = "-".join(mask.parent.relative_to(folder).parts)
        files = (mask.with_name("T2.nii.gz"), brain if brain.exists() else None, mask)
        kind = "real-glioma" if "glioma" in name else "real-ms"
        groups[kind].append(partial(load_as, name, files))
    return groups


def load_as(name: str, files: tuple[Path, Path | None, Path]) -> Scan:
    """A scan under its patient's name instead of its file's."""
    return replace(load_scan(*files), name=name)


def measure_row(get: Callable[[], Method], name: str, seed: int, real: Path | None) -> None:
    """Both worlds, unless they are measured."""
    worlds: Mapping[str, tuple[Mapping[str, Sequence[Load]], str]] = {
        "phantoms": ({kind: phantoms("test", kind, N) for kind in COHORTS}, "test"),
        **({"real": (real_patients(real), "real patients")} if real else {}),
    }
    method = None
    for world, (groups, split) in worlds.items():
        path = RESULTS / world / f"{name}-seed{seed}.json"
        if world == "phantoms" and (FIRST / path.name).exists():
            continue
        if path.exists() and set(json.loads(path.read_text())["groups"]) == set(groups):
            continue
        method = method or get()
        controls = phantoms("validation", "healthy", N_HEALTHY)
        about = {"split": split, "n": max(map(len, groups.values()))}
        written, _ = measure(path.parent, method, groups, controls, fpr=FPR, about=about)
        if written != path:
            raise SystemExit(f"expected a run called {path.name}, got {written.name}")


def main() -> None:
    names = [*WITHOUT_NETWORK, *ROWS]
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--real", type=Path)
    words = parser.parse_args()
    for seed in words.seeds:
        for name in words.only:
            if name in WITHOUT_NETWORK:
                if seed == 0:  # nothing in it is random
                    measure_row(partial(without_network, name), name, 0, words.real)
            elif not (seed and ROWS[name].preset in available_models()):
                measure_row(partial(prepare, ROWS[name], seed), name, seed, words.real)


if __name__ == "__main__":
    main()
