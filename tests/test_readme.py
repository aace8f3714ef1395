"""README's first program, typed in by a newcomer: it runs, and finds the tumour."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from scope import EVERYTHING

from maskdiff_edu.evaluation import runs

LONGEST = 30  # lines, blank ones apart

# What the program does not print: how well its map finds the tumour, beside brightness alone.
LOOK = """
from maskdiff_edu.detection import IntensityDetector, auprc
naive = IntensityDetector().detect(patient)
for scores in (found, naive.anomaly_map):
    print(*auprc(scores, patient.lesion_masks, patient.brain_masks))
"""


@pytest.fixture(scope="module")
def program(root: Path) -> str:
    text = (root / "README.md").read_text(encoding="utf-8")
    return re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]


def test_it_fits_on_one_screen(program: str) -> None:
    lines = [line for line in program.splitlines() if line.strip()]
    assert len(lines) <= LONGEST
    assert max(map(len, lines)) <= 100


def test_its_answer_is_what_was_measured(root: Path) -> None:
    """The table of "Does masking help?", row by row, from the committed runs."""
    sources = [
        ("test", "ms"),
        ("edges", "ms+1"),
        ("test", "tumour"),
        ("others/real", "real-glioma"),
    ]
    text = (root / "README.md").read_text(encoding="utf-8")
    table = text.partition("## Does masking help?")[2].partition("##")[0]
    lines = [line for line in table.splitlines() if line.startswith("| ")][1:]
    for line, (folder, kind) in zip(lines, sources, strict=True):
        rows = runs.compare(runs.load_runs(runs.SHIPPED / folder), [kind])[kind]
        d = rows["fpm-cm"].difference
        numbers = f"| {rows['ddpm'].n} | {d.difference:+.3f} [{d.low:+.3f}, {d.high:+.3f}] |"
        trainings = {len(rows[name].seeds) for name in ("ddpm", "fpm-cm")}
        words = "three trainings each" if trainings == {3} else "one training"
        assert line.endswith(numbers) and f"({words})" in line


@pytest.mark.slow
@pytest.mark.alone
def test_it_runs_from_an_empty_cache_and_finds_the_tumour(program: str, tmp_path: Path) -> None:
    """With the user's own number of threads, as a script without a guard for other processes.

    All steps of its training take minutes: `make test` takes a tenth and sees that it runs.
    """
    assert program.count("trange(1100)") == 1
    if not EVERYTHING:
        program = program.replace("trange(1100)", "trange(110)")
    (tmp_path / "first.py").write_text(f"import torch\ntorch.manual_seed(0)\n{program}{LOOK}")
    environment = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    environment |= {"MASKDIFF_CACHE": str(tmp_path / "cache"), "TQDM_DISABLE": "1"}
    done = subprocess.run(
        [sys.executable, "first.py"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (model, prevalence), (naive, _) = (
        map(float, line.split()) for line in done.stdout.splitlines()
    )
    assert naive > 0
    assert not EVERYTHING or (model > 3 * naive and model > 10 * prevalence)
    assert (tmp_path / "lesion.png").stat().st_size > 20_000
