"""Everything behind "Does masking help?": train, choose, measure, compare. Takes hours, resumes.

    python data_scripts/run_evidence.py                       # all methods and seeds
    python data_scripts/run_evidence.py --only ddpm-seed0     # one of them, as on many machines
    python data_scripts/run_evidence.py --until train         # no test subject is scored yet

Follows maskdiff_edu/results/PROTOCOL.md. Trained models lie in runs/evidence, the numbers in
maskdiff_edu/results/test. Every step is a command of `maskdiff-edu` that can be typed by hand.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TRAINED = ROOT / "runs" / "evidence"
RESULTS = ROOT / "maskdiff_edu" / "results"
SEEDS = {"ddpm": (0, 1, 2), "fpm-cm": (0, 1, 2), "ipm": (0, 1, 2), "fpm": (0,)}
STAGES = ("train", "choose", "evaluate")


def edu(*arguments: object) -> None:
    """Run one command of the package, and stop where it fails."""
    command = [sys.executable, "-m", "maskdiff_edu", *map(str, arguments)]
    print("maskdiff-edu", *map(str, arguments), flush=True)
    subprocess.run(command, check=True)


def run(method: str, seed: int, stages: tuple[str, ...]) -> None:
    """One training and what follows from it; finished stages are not repeated."""
    folder = TRAINED / f"{method}-seed{seed}"
    model = folder / "model.safetensors"
    if "train" in stages and not model.exists():
        edu("train", "--preset", method, "--seed", seed, "--out", folder, "--resume")
    if "choose" in stages and "chosen" not in json.loads(model.with_suffix(".json").read_text()):
        first = TRAINED / f"{method}-seed0" / "model.safetensors"
        like = () if seed == 0 else ("--like", first)
        edu("choose", "--model", model, *like)
    if "evaluate" in stages:
        edu("evaluate", "--model", model, "--card", "--out", RESULTS / "test")


def main() -> None:
    names = [f"{method}-seed{seed}" for seed in range(3) for method in SEEDS
             if seed in SEEDS[method]]  # fmt: skip
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--until", choices=STAGES, default=STAGES[-1])
    arguments = parser.parse_args()
    stages = STAGES[: STAGES.index(arguments.until) + 1]
    for stage in stages:  # all are trained and chosen before any test subject is scored
        for name in arguments.only:
            method, _, seed = name.rpartition("-seed")
            run(method, int(seed), (stage,))
    if arguments.until == STAGES[-1]:
        edu("compare", RESULTS / "test", "--out", RESULTS / "comparison")


if __name__ == "__main__":
    main()
