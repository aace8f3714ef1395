"""A class's trained models, ranked on people whom nobody has seen.

Patients and healthy people are made from the course's secret, so that no student can have trained
on them. A model's file holds numbers and its card, and nothing that runs; one that is damaged, too
large or hostile costs its own row.
"""

import functools
import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from maskdiff_edu.brains import make_member
from maskdiff_edu.course.source import Course
from maskdiff_edu.course.standings import FPR, Entry, as_page, as_table, ranked
from maskdiff_edu.course.submissions import (
    MAX_BYTES,
    Submission,
    by_student,
    content,
    find_submissions,
)
from maskdiff_edu.course.tasks import number_from, public_mark
from maskdiff_edu.detection import build_method
from maskdiff_edu.detection.cards import Card
from maskdiff_edu.diffusion.autoencoder import make_network
from maskdiff_edu.errors import CheckpointError, Error, ResultsError, SettingsError
from maskdiff_edu.evaluation import Run, measure
from maskdiff_edu.evaluation.results import load_run
from maskdiff_edu.files import locked, whole_folder, write_atomic
from maskdiff_edu.progress import bar
from maskdiff_edu.scans import Scan
from maskdiff_edu.scans.grids import IN_PLANE
from maskdiff_edu.training import load_pretrained

TABLE, PAGE = "leaderboard.csv", "leaderboard.html"  #: what is written, beside `runs`
N_PEOPLE = 6  #: patients of each kind, and healthy people
KINDS = ("tumour", "stroke")  #: of lesions; the others need longer trainings than a project has
FIRST_SEED = 1_000_000  #: no split of the book goes so far
REFERENCE = "ddpm"  #: what every model is compared with
# No card has a name with spaces, so nobody can take these.
PLAIN, BRIGHTNESS = "plain DDPM that ships", "brightness alone"
MOST_TIMES = 10  #: as much computing as the plain DDPM takes, a model may take
MOST_MEDIAN = 7  #: voxels, edge of a card's median filter; a larger one takes minutes
MAX_CARD = 2**20  #: bytes
_SECTIONS = ("method", "train", "detector", "unet")  #: of a card that count
_SETTINGS = ("t", "draws", "residual", "normalise", "postprocessing")  #: of its detector
_ENDINGS = (".safetensors", ".json", ".ipynb")  # a notebook alone is a row without a model


def make_leaderboard(
    place: Path,
    secret: str,
    out: Path,
    *,
    n: int = N_PEOPLE,
    names: bool = False,
    device: str = "auto",
) -> list[Entry]:
    """Measure everybody's model on the course's hidden people and write a table and a page.

    place: a folder, or a zip file of Moodle or Canvas; of several models by one person the last
    one counts. secret: the course's, from which the people follow. n: patients of each of two
    kinds, and healthy people. names: the page shows people's names instead of their models'. What
    is measured already, in `out`/runs, is not measured again.

    Returns: the rows, best first, the plain DDPM that ships and brightness alone among them.
    Raises: Error where nobody handed in anything, another process writes into `out`, or it cannot
    be written.

    >>> make_leaderboard(Path("nowhere.zip"), "secret", Path("out"))
    Traceback (most recent call last):
        ...
    maskdiff_edu.errors.Error: nowhere.zip: expected a folder or a zip file of submissions, found \
neither
    """
    if n < 2:
        raise SettingsError(f"n: expected 2 patients of each kind or more, got {n}")
    handed_in = by_student(find_submissions(place, _ENDINGS))
    own = Course(secret, "leaderboard").secret
    mark = public_mark(own, f"{n} {version('maskdiff_edu')}")  # other people, other runs
    measured = _Measuring(hidden_people(own, n), out / "runs" / mark, device)
    with locked(out / TABLE):
        plain = Entry(PLAIN, run=measured(REFERENCE, "plain"))
        entries = [plain, Entry(BRIGHTNESS, run=measured("intensity", "brightness"))]
        entries += _enter_all(handed_in, measured, own)
        entries = ranked(entries, plain)
        with whole_folder(out, (TABLE, PAGE), overwrite=True) as folder:
            write_atomic(folder / TABLE, as_table(entries, list(plain.kinds)))
            write_atomic(folder / PAGE, as_page(entries, list(plain.kinds), n, names).encode())
    return entries


def hidden_people(secret: str, n: int) -> dict[str, list[Callable[[], Scan]]]:
    """Who a model is measured on: "controls", for the threshold, "healthy", and `KINDS` of
    lesions, `n` people each.

    They are made when they are first called for and then kept. Their names tell no seed.
    """

    def person(group: str, i: int) -> Callable[[], Scan]:
        seed = FIRST_SEED + number_from(secret, f"{group} {i}") % 2**40
        cohort = group if group in KINDS else "healthy"

        @functools.cache
        def load() -> Scan:
            made = make_member(seed, cohort)
            lesions = made.lesion_mask if cohort in KINDS else None
            return Scan(made.image, made.brain_mask, made.affine, f"{group}-{i + 1}", lesions)

        return load

    groups = ("controls", "healthy", *KINDS)
    return {group: [person(group, i) for i in range(n)] for group in groups}


class _Measuring:
    """A model's weights or name to its run, which is read where it was measured already."""

    def __init__(self, people: Mapping[str, list], runs: Path, device: str) -> None:
        self._groups = {k: v for k, v in people.items() if k != "controls"}
        self._controls, self._runs, self._device = people["controls"], runs, device

    def __call__(self, model: str | Path, name: str) -> Run:
        """`name`: of the run's folder. Raises: Error."""
        method = build_method(model, device=self._device)
        about = {"split": "hidden", "n": len(self._controls)}
        path, _ = measure(
            self._runs / name, method, self._groups, self._controls, fpr=FPR, about=about
        )
        return load_run(path)  # with the digits that the next call will read


def _enter_all(
    handed_in: Mapping[str, Sequence[Submission]], measured: _Measuring, secret: str
) -> Iterator[Entry]:
    """A row for everybody, in the order of students."""
    taken: set[str] = set()
    owners: dict[str, str] = {}  # of the weights so far
    for student, files in bar(handed_in.items(), desc="models", unit="model"):
        weights, card, notes = choose_files(files)
        data = (content(weights) if weights else b"", content(card) if card else b"")
        nickname = _untaken(_method(data[1]) or _number_name(secret, student), taken)
        taken.add(nickname)
        entry = Entry(nickname, student=student, name=files[-1].name, notes=tuple(notes))
        if weights is None:
            yield replace(entry, error="no model (.safetensors) was handed in")
            continue
        first = owners.setdefault(hashlib.sha256(data[0]).hexdigest(), student)
        if first != student:
            entry = replace(entry, notes=(*notes, f"the same weights as those of {first}"))
        run, error = _run_or_error(data, measured)
        yield replace(entry, path=weights.path, run=run, error=error)


def choose_files(
    files: Sequence[Submission],
) -> tuple[Submission | None, Submission | None, list[str]]:
    """The weights of a person that count, the card that belongs to them, and what is to be said.

    The last model counts; a training's checkpoint only where there is nothing else.
    """
    weights = [f for f in files if f.file.lower().endswith(".safetensors")]
    models = [f for f in weights if _stem(f) != "checkpoint"] or weights
    if not models:
        return None, None, []
    chosen = models[-1]
    notes = []
    if len(models) > 1:
        notes.append(f"{len(models)} models were handed in; measured: {chosen.path}")
    cards = [f for f in files if f.file.lower().endswith(".json")]
    fitting = [f for f in cards if _stem(f) == _stem(chosen)] or (cards if len(cards) == 1 else [])
    beside = [f for f in fitting if _folder(f) == _folder(chosen)] or fitting
    return chosen, beside[-1] if beside else None, notes


def _stem(file: Submission) -> str:
    return PurePosixPath(file.file).stem


def _folder(file: Submission) -> str:
    return file.path.rpartition("/")[0]


def _run_or_error(data: tuple[bytes, bytes], measured: _Measuring) -> tuple[Run | None, str]:
    """Measure weights and card; whatever is wrong with them becomes a sentence."""
    weights, card = data
    name = hashlib.sha256(len(weights).to_bytes(8, "big") + weights + card).hexdigest()[:16]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        try:
            stored = _what_counts(card)
            if len(weights) > MAX_BYTES:
                raise CheckpointError(f"expected at most {MAX_BYTES // 2**20} MB, got more")
            path.write_bytes(weights)
            path.with_suffix(".json").write_text(json.dumps(stored), encoding="utf-8")
            _require_light(path)
            return measured(path, name), ""
        except (OSError, ResultsError):
            raise  # the disk, or a file of ours: nothing of the model
        except Exception as error:
            kind = "" if isinstance(error, Error) else f"{type(error).__name__}: "
            told = " ".join(str(error).replace(f"{folder}/", "").split())
            return None, f"could not be read: {kind}{told[:300]}"


def _what_counts(card: bytes) -> dict[str, Any]:
    """Of a card, how the model was trained and how it is used, in one look at each slice.

    Raises: CheckpointError for what is no card.
    """
    if not card:
        raise CheckpointError("expected the model's card (.json) beside its weights, got none")
    try:
        stored = json.loads(card) if len(card) <= MAX_CARD else None
    except (ValueError, RecursionError):
        stored = None
    if not isinstance(stored, dict):
        raise CheckpointError("expected a card (.json) as `fit` writes it, got another file")
    kept = {name: stored[name] for name in _SECTIONS if name in stored}
    if isinstance(kept.get("detector"), dict):
        kept["detector"] = {k: v for k, v in kept["detector"].items() if k in _SETTINGS}
    return kept


def _require_light(path: Path) -> None:
    """Raise CheckpointError where a network and its card ask for hours."""
    times = _work(path) / _work(REFERENCE)
    if times > MOST_TIMES:
        raise CheckpointError(
            f"expected at most {MOST_TIMES} times as much computing as the plain DDPM takes, got "
            f"{times:.0f} times as much: take a smaller network, or fewer draws"
        )


def _work(model: str | Path) -> float:
    """Operations for one slice, counted on tensors that hold nothing."""
    network, stored = load_pretrained(model)
    settings = Card.from_json(stored, str(model)).detector
    if settings.postprocessing.median_size > MOST_MEDIAN:
        raise CheckpointError(f"expected a median of at most {MOST_MEDIAN} voxels, got more")
    box = stored.get("train", {}).get("box", 0)
    boxes = (-(-IN_PLANE // box)) ** 2 if box else 1
    with torch.device("meta"), FlopCounterMode(display=False) as counted:
        make_network(network.config)(torch.zeros(1, 1, IN_PLANE, IN_PLANE), torch.zeros(1))
    return counted.get_total_flops() * len(settings.times) * settings.draws * boxes


def _method(card: bytes) -> str:
    """What a card calls its method; nothing where that cannot be told."""
    try:
        return Card.from_json(_what_counts(card), "card").method
    except CheckpointError:
        return ""


def _number_name(secret: str, student: str) -> str:
    return f"model {100 + number_from(secret, f'name of {student}') % 900}"


def _untaken(name: str, taken: set[str]) -> str:
    """The name, with a number behind it where others have it already."""
    numbered = (f"{name}-{i}" for i in range(2, len(taken) + 3))
    return next(each for each in (name, *numbered) if each not in taken)
