"""Which second look helps: the steps of `refinement`, one by one, on validation subjects.

    python data_scripts/ablate_refinement.py --real FOLDER --model ddpm

FOLDER holds real patients, one sub-folder each with a T2 scan and its lesion mask; they are no part
of this repository. Beside them stand validation phantoms. No test subject is touched. One file a
subject is kept in runs/refinement, so that an interrupted run goes on, and all of them are written
to maskdiff_edu/results/refinement/MODEL.json, which the book reads.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from maskdiff_edu.brains import make_cohort
from maskdiff_edu.detection import Detection, build_method, metrics
from maskdiff_edu.detection.refinement import FINE, GUIDED, RefinedDDPM, Refinement
from maskdiff_edu.detection.scoring import on_scan_grid
from maskdiff_edu.evaluation.runs import write_numbers
from maskdiff_edu.scans import Scan, Slices, load_scan, to_slices

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "maskdiff_edu" / "results" / "refinement"
FINER = replace(FINE, gaussian_sigma=0.7)  # beside the guided map, where two are compared
PHANTOMS = {"tumour": 4, "ms": 4}  # validation patients of each kind
N_HEALTHY = 4
STEPS = 400
SAME_PATIENT = {"08"}  # of the African gliomas, probably once more patient 07


class Looks:
    """Every way to look at a scan, with one model; drawings are shared between ways."""

    def __init__(self, model: str) -> None:
        self.once = build_method(model, precision="auto").detector
        self.again = build_method(model, device="cpu", precision="auto", refine="adapt").detector

    def refined(self, adapt_steps: int = 0) -> RefinedDDPM:
        return replace(self.again, refinement=Refinement(adapt_steps=adapt_steps))

    @cached_property
    def units(self) -> list[float]:
        """What 99 of 100 healthy voxels do not exceed, of the guided and of the fine map."""
        scores: list[list[np.ndarray]] = [[], []]
        detector = self.refined()
        for scan in make_cohort("validation", "healthy", N_HEALTHY):
            slices = to_slices(scan)
            drawn = detector.draw(slices)
            for settings, found in zip((GUIDED, FINER), scores, strict=True):
                found.append(detector.clean(slices, drawn, settings)[slices.brain_masks].numpy())
        return [float(np.quantile(np.concatenate(found), 0.99)) for found in scores]

    def maps(self, slices: Slices) -> Iterator[tuple[str, Tensor]]:
        """Every map of one scan, by the name of the way."""
        drawn = self.once.reconstruct(slices.images)
        yield "once, as shipped", self.once.clean(slices, drawn)
        yield "sigma 1, rim", self.once.clean(slices, drawn, FINE)
        yield "guided", self.once.clean(slices, drawn, GUIDED)
        for name, steps in (("two passes", 0), (f"{STEPS} steps on the scan", STEPS)):
            detector = self.refined(adapt_steps=steps)
            drawn = detector.draw(slices)
            yield f"{name}, sigma 1, rim", detector.clean(slices, drawn, FINE)
            guided, finer = (detector.clean(slices, drawn, way) for way in (GUIDED, FINER))
            yield f"{name}, guided", guided
            larger = torch.maximum(guided / self.units[0], finer / self.units[1])
            yield f"{name}, larger of two maps", larger


def subjects(real: Path) -> Iterator[tuple[str, str, Callable[[], Scan]]]:
    """Group, name and how to get the scan."""
    for mask in sorted(real.glob("**/lesion_mask.nii.gz")):
        if mask.parent.name in SAME_PATIENT:
            continue
        brain = mask.with_name("brain_mask.nii.gz")
        scan = mask.with_name("T2.nii.gz")
        name = "-".join(mask.parent.relative_to(real).parts)
        group = "real glioma" if "glioma" in name else "real ms"
        yield group, name, partial(load_scan, scan, brain if brain.exists() else None, mask)
    for kind, n in {**PHANTOMS, "healthy": N_HEALTHY}.items():
        for scan in make_cohort("validation", kind, n):
            yield f"phantom {kind}", scan.name, lambda scan=scan: scan


def measure(looks: Looks, scan: Scan) -> dict[str, float]:
    """AUPRC of every way on the scan's own grid; of a healthy brain its 99th percentile."""
    slices, found = to_slices(scan), {}
    for way, values in looks.maps(slices):
        if scan.lesion_mask is None or not scan.lesion_mask.any():
            found[way] = float(np.quantile(values[slices.brain_masks].numpy(), 0.99))
        else:
            volume = on_scan_grid(Detection(values), slices, scan)
            found[way] = metrics.auprc(volume, scan.lesion_mask, scan.brain_mask).value
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="ddpm")
    parser.add_argument("--real", type=Path, required=True)
    words = parser.parse_args()
    looks = Looks(words.model)
    rows = []
    for group, name, load in tqdm(list(subjects(words.real)), unit="subject"):
        kept = ROOT / "runs" / "refinement" / words.model / f"{name}.json"
        if not kept.exists():
            write_numbers(kept, measure(looks, load()))
        rows.append({"group": group, "subject": name, "scores": json.loads(kept.read_text())})
    command = f"python data_scripts/ablate_refinement.py --real FOLDER --model {words.model}"
    settings = looks.once.settings.as_json()
    about = {"command": command, "model": words.model, "settings": settings, "units": looks.units}
    write_numbers(RESULTS / f"{words.model}.json", {**about, "subjects": rows})


if __name__ == "__main__":
    main()
