"""Who is trained on, who is chosen by, who is tested on: seeds that never meet."""

from collections.abc import Iterator

from maskdiff_edu.brains.lesions import LESION_KINDS, add_lesions
from maskdiff_edu.brains.phantom import Subject, make_subject
from maskdiff_edu.errors import SettingsError

#: Seeds of the healthy subjects, and of the lesions added to them. They never meet.
SPLITS = {
    "train": range(0, 100_000),
    "validation": range(100_000, 200_000),
    "test": range(200_000, 300_000),
}
COHORTS = ("healthy", *LESION_KINDS)
COHORT_SIZE = 30  #: subjects of each cohort that the reported numbers rest on
_STRIDE = 10_000  # seeds between the cohorts of a split


def cohort_seeds(split: str, cohort: str = "healthy", n: int = COHORT_SIZE) -> range:
    """The seeds of a cohort's first `n` subjects.

    split: `"train"`, `"validation"` or `"test"`; cohort: `"healthy"` or a lesion kind.
    Raises: SettingsError for an unknown name, or more subjects than there are seeds.

    >>> cohort_seeds("test", "tumour", 3)
    range(210000, 210003)
    """
    if split not in SPLITS:
        raise SettingsError(f"split: expected one of {tuple(SPLITS)}, got {split!r}")
    if cohort not in COHORTS:
        raise SettingsError(f"cohort: expected one of {COHORTS}, got {cohort!r}")
    if not 0 <= n <= _STRIDE:
        raise SettingsError(f"n: expected 0 to {_STRIDE} subjects, got {n}")
    start = SPLITS[split].start + _STRIDE * COHORTS.index(cohort)
    return range(start, start + n)


def make_cohort(
    split: str, cohort: str = "healthy", n: int = COHORT_SIZE, contrast: str = "t2"
) -> Iterator[Subject]:
    """The cohort's subjects, one at a time; a patient's lesions have the subject's seed."""
    for seed in cohort_seeds(split, cohort, n):
        yield make_member(seed, cohort, contrast)


def make_member(seed: int, cohort: str, contrast: str = "t2") -> Subject:
    """One subject of a cohort by its seed."""
    subject = make_subject(seed, contrast)
    return subject if cohort == "healthy" else add_lesions(subject, cohort, seed)
