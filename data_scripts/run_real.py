"""The trained models on real scans; only numbers are kept, never a picture.

    python data_scripts/run_real.py patient FOLDER     # a patient: T2 and a lesion mask, NIfTI
    python data_scripts/run_real.py people FOLDER      # healthy people: T1 slices and index.csv

`patient` scores every model of runs/evidence once, with the settings in its card.

`people` asks whether masking helps where nothing about the brains is made: it trains a DDPM and a
masked one on the "train" slices (registered to MNI152, 1 mm, 8 bit), paints lesions into the
others, chooses t and filter on "val" and compares the two on "test". On T1 lesions are dark, so
the residual is what is *darker* than the reconstruction. The lesions of "test" are painted with
hard borders, which are those of the patches that the masked one learned from, and with softer ones.
Results: maskdiff_edu/results/real; groups that a file there lacks are measured and added.
"""

import argparse
import csv
import json
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy import ndimage
from tqdm import tqdm

from maskdiff_edu.brains import atlas, fields
from maskdiff_edu.brains.stacks import encode_slices
from maskdiff_edu.detection import MaskedDDPM, PostProcessing, anomaly, build_method, metrics
from maskdiff_edu.detection.records import Record
from maskdiff_edu.detection.scoring import LesionMetrics
from maskdiff_edu.evaluation import Grid, measure
from maskdiff_edu.evaluation.results import GroupScores, SubjectScores, load_run
from maskdiff_edu.evaluation.runs import write_numbers
from maskdiff_edu.scans import Slices, find_scans, intensity
from maskdiff_edu.training import PRESETS, Saving, fit
from maskdiff_edu.training.loop import MODEL
from maskdiff_edu.training.pool import vary_slices

ROOT = Path(__file__).resolve().parent.parent
TRAINED = ROOT / "runs"
RESULTS = ROOT / "maskdiff_edu" / "results" / "real"
HEIGHT = 48  # of the slices in the atlas, where the ventricles' bodies are seen
FIRST_ROW, FIRST_COLUMN = 20, 2  # of a 1 mm slice, that lie in the atlas's voxel (0, 0)
METHODS = ("ddpm", "fpm-cm")
KINDS = ("tumour", "ms")
SPREADS = (0.0, 0.5, 1.0, 1.5)  # blur of the painted borders, standard deviation in pixels of 2 mm
LESION_SEED = 20_000  # plus the person's number in the list


def score_patient(folder: Path) -> None:
    """Every trained model on the scans in `folder`; one run file a model."""
    loads = [files.load for files in find_scans(folder, "t2")]
    for model in sorted((TRAINED / "evidence").glob(f"*/{MODEL}")):
        method = build_method(model, precision="auto")
        about = {"data": folder.name}
        path, run = measure(RESULTS / "patient", method, {"patient": loads}, about=about)
        found = run.groups["patient"].mean
        print(path.stem, {name: round(means.auprc.value, 4) for name, means in found.items()})


@dataclass(frozen=True, eq=False)
class People:
    """Healthy slices of one split; also the pool that a training draws from."""

    images: torch.Tensor  # (n, 1, 96, 96) in [-1, 1]
    brain_masks: torch.Tensor  # (n, 1, 96, 96) bool

    @property
    def description(self) -> str:
        return f"{len(self.images)} people, mean {self.images.mean():.5f}"

    def batch(self, seed: int, n: int, batch_size: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Batch n, flipped and varied as `SlicePool` does."""
        rng = np.random.default_rng([seed, n])
        chosen = rng.integers(len(self.images), size=batch_size)
        coded = encode_slices(self.images[chosen], self.brain_masks[chosen])
        return vary_slices(torch.from_numpy(coded)[:, None], rng)


def load_people(folder: Path, split: str) -> People:
    """The slices of one split on the 2 mm grid, cut out with the atlas's brain mask."""
    with (folder / "index.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == split]
    brain = atlas.load_atlas().brain[:, :, HEIGHT].T > 0.5
    images = []
    for row in rows:
        if (row["rows"], row["cols"]) != ("233", "197"):
            continue  # not on the common grid
        fine = np.asarray(Image.open(folder / row["file"]), np.float32)
        fine = fine[FIRST_ROW:, FIRST_COLUMN:][:192, :192]
        images.append(fine.reshape(96, 2, 96, 2).mean(axis=(1, 3)))
    stack = np.stack([intensity.normalise_image(image, brain) for image in images])[:, None]
    return People(torch.from_numpy(stack), torch.from_numpy(brain).expand(stack.shape))


def add_lesions(people: People, kind: str, spread: float = 0.0) -> list[Slices]:
    """One patient a person: a slice with lesions between grey matter and fluid in brightness.

    "tumour": one of 9 to 20 mm radius; "ms": two to seven of 3 to 7 mm in the white matter. Their
    borders are blurred by `spread` pixels; places, shapes, brightness and masks stay the same.
    """
    maps = atlas.load_atlas()
    grey, white, fluid = (m[:, :, HEIGHT].T for m in (maps.gm, maps.wm, maps.csf))
    rows, columns = np.mgrid[:96, :96]
    patients = []
    for person, (image, brain_mask) in enumerate(
        zip(people.images[:, 0].numpy(), people.brain_masks[:, 0].numpy(), strict=True)
    ):
        rng = np.random.default_rng([LESION_SEED + person, KINDS.index(kind)])
        level_grey, level_fluid = image[grey > 0.8].mean(), image[fluid > 0.6].mean()
        places = np.argwhere((white > 0.7) & brain_mask)
        count, low, high = (1, 9, 20) if kind == "tumour" else (rng.integers(2, 8), 3, 7)
        lesion = np.zeros_like(brain_mask)
        for _ in range(count):
            row, column = places[rng.integers(len(places))]
            radii = rng.uniform(low, high) * rng.uniform(0.75, 1.25, 2) / 2  # voxels of 2 mm
            distance = np.hypot((rows - row) / radii[0], (columns - column) / radii[1])
            rough = 0.25 * fields.smooth_field(rng, image.shape, 5)
            core = (distance + rough < 1) & brain_mask
            texture = 0.1 * fields.smooth_field(rng, image.shape, 3)
            level = level_grey + rng.uniform(0.3, 0.75) * (level_fluid - level_grey)
            painted = level + texture * (level_grey - level_fluid)
            share = np.where(brain_mask, ndimage.gaussian_filter(core.astype(float), spread), 0)
            image = np.where(share > 0, image + share * (painted - image), image)
            lesion |= core
        image = intensity.normalise_image(image, brain_mask)
        image, inside, lesion = (
            torch.from_numpy(array)[None, None] for array in (image, brain_mask, lesion)
        )
        patients.append(Slices(image, inside, np.eye(4), -1.0, 1.0, lesion))
    return patients


def compare_people(folder: Path, seeds: list[int]) -> None:
    """Train both methods for each seed, choose on "val", compare on "test"."""
    pool, grid = load_people(folder, "train"), Grid()
    unseen = load_people(folder, "test")
    chosen_on = add_lesions(load_people(folder, "val"), "tumour")
    tested = {
        f"{kind}+{spread:g}" if spread else kind: (kind, spread)
        for kind, spread in product(KINDS, SPREADS)
    }
    for seed, name in product(seeds, METHODS):
        path = RESULTS / "people" / f"{name}-seed{seed}.json"
        measured = json.loads(path.read_text())["groups"] if path.exists() else {}
        if measured.keys() == tested.keys():
            continue
        config = replace(PRESETS[name], seed=seed)
        out = TRAINED / "people" / f"{name}-seed{seed}"
        if not (out / MODEL).exists():
            about = {"method": name, "command": "python data_scripts/run_real.py people FOLDER"}
            fit(config, pool, out=Saving(out, resume=True), about=about)
        detector = build_method(out / MODEL, precision="auto").detector
        first = RESULTS / "people" / f"{name}-seed0.json"
        if seed or measured:  # as chosen for the first seed
            chosen = Used.from_json(load_run(first).about["chosen"], f"{first}: chosen")
        else:
            chosen = choose(detector, chosen_on, grid)
        used = with_settings(detector, chosen)
        result = {
            "method": name,
            "seed": seed,
            "n_train": len(pool.images),
            "train": asdict(config),
            "chosen": chosen.as_json(),
            "groups": {
                group: measured.get(group)
                or measure_all(detector, add_lesions(unseen, *how), chosen).as_json()
                for group, how in tested.items()
            },
            "healthy_error": {
                "train": healthy_error(used, pool, len(unseen.images)),
                "test": healthy_error(used, unseen, len(unseen.images)),
            },
        }
        write_numbers(path, result)


@dataclass(frozen=True)
class Used(Record):
    """How a network is used on these slices, and what it reached with that on "val"."""

    t: tuple[int, ...]  # several are averaged
    median_size: int
    gaussian_sigma: float
    auprc: float | None = None


def choose(detector: MaskedDDPM, patients: list[Slices], grid: Grid) -> Used:
    """The t and filter with the highest mean AUPRC over these patients."""
    scored = []
    tried = list(product(grid.times, grid.filters))
    for times, (size, sigma) in tqdm(tried, desc="choosing"):
        used = Used(times, size, sigma)
        values = [auprc_of(detector, patient, used) for patient in patients]
        scored.append(replace(used, auprc=float(np.mean(values))))
    return max(scored, key=lambda used: used.auprc)


def measure_all(detector: MaskedDDPM, patients: list[Slices], used: Used) -> GroupScores:
    """Each patient's AUPRC, as in a run of `maskdiff-edu evaluate`."""
    subjects = []
    for number, patient in enumerate(tqdm(patients, desc="measuring")):
        scores = {
            "method": auprc_of(detector, patient, used),
            "intensity": clean_auprc(1 - patient.images, patient, used),  # the darker, the higher
        }
        prevalence = float(patient.lesion_masks.numpy()[patient.brain_masks.numpy()].mean())
        maps = {name: LesionMetrics(auprc) for name, auprc in scores.items()}
        subjects.append(SubjectScores(str(number), prevalence, maps=maps))
    return GroupScores(tuple(subjects))


def healthy_error(detector: MaskedDDPM, people: People, n: int) -> list[float]:
    """Mean absolute residual in the brain of each of the first n people, without a lesion."""
    images, brain_masks = people.images[:n], people.brain_masks[:n]
    each = zip(images, detector.reconstruct(images), brain_masks, strict=True)
    return [metrics.l1(*person) for person in each]


def with_settings(detector: MaskedDDPM, used: Used) -> MaskedDDPM:
    return detector.with_settings(t=used.t, draws=Grid().noisings // len(used.t))


def auprc_of(detector: MaskedDDPM, patient: Slices, used: Used) -> float:
    """AUPRC of one patient, with what is darker than the reconstruction as the score."""
    x_0_hat = with_settings(detector, used).reconstruct(patient.images)
    return clean_auprc(anomaly.residual(x_0_hat, patient.images), patient, used)


def clean_auprc(values: torch.Tensor, patient: Slices, used: Used) -> float:
    filters = PostProcessing(1, used.median_size, used.gaussian_sigma)
    cleaned = anomaly.postprocess(values, patient.brain_masks, filters)
    return metrics.auprc(cleaned, patient.lesion_masks, patient.brain_masks).value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("patient", "people"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    arguments = parser.parse_args()
    if arguments.what == "patient":
        score_patient(arguments.folder)
    else:
        compare_people(arguments.folder, arguments.seeds)


if __name__ == "__main__":
    main()
