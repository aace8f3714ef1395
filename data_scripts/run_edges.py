"""What the shipped models owe to hard borders: the test patients with softer and softer lesions.

    python data_scripts/run_edges.py                # all, about an hour on two cores; resumes
    python data_scripts/run_edges.py --models ddpm  # one of them

Each patient is the one of the frozen test set, its lesions' borders blurred by 0, 0.5, 1 and 1.5
voxels more. Every model is used as its card says; nothing is chosen here. The numbers lie in
maskdiff_edu/results/edges, a run of `maskdiff-edu evaluate` a model, and their comparison beside.
"""

import argparse
import json
from functools import partial
from pathlib import Path

from maskdiff_edu.brains import cohort_seeds, make_subject
from maskdiff_edu.brains.phantom import Subject
from maskdiff_edu.brains.soft_lesions import add_soft_lesions
from maskdiff_edu.detection import build_method
from maskdiff_edu.detection.records import as_json
from maskdiff_edu.evaluation import load_runs, measure, runs
from maskdiff_edu.files import write_atomic

RESULTS = Path(__file__).resolve().parent.parent / "maskdiff_edu" / "results"
SPREADS = {"ms": (0.0, 0.5, 1.0, 1.5)}  # where the masks gained, in the first comparison
MODELS = ("ddpm", "ipm", "fpm-cm", "fpm")
N = 30  # patients of each kind


def patient(seed: int, kind: str, spread: float) -> Subject:
    """A test patient with softer borders."""
    return add_soft_lesions(make_subject(seed), kind, seed, spread)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    arguments = parser.parse_args()
    groups = {
        f"{kind}+{spread:g}": [
            partial(patient, seed, kind, spread) for seed in cohort_seeds("test", kind, N)
        ]
        for kind, spreads in SPREADS.items()
        for spread in spreads
    }
    for model in arguments.models:
        method = build_method(model, precision="auto")
        about = {"split": "test", "n": N, "contrast": "t2", "spread": "voxels of 2 mm, by group"}
        measure(RESULTS / "edges", method, groups, about=about)
    compared = runs.compare(load_runs(RESULTS / "edges"))
    folder = RESULTS / "edges_comparison"
    write_atomic(folder / "comparison.json", json.dumps(as_json(compared), indent=1).encode())
    write_atomic(folder / "comparison.md", runs.as_table(compared).encode())


if __name__ == "__main__":
    main()
