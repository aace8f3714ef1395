"""Brains that ship: an average one, healthy subjects made from it, lesions with exact masks."""

from maskdiff_edu.brains.atlas import load_atlas, load_template
from maskdiff_edu.brains.cohorts import SPLITS, cohort_seeds, make_cohort, make_member
from maskdiff_edu.brains.lesions import LESION_KINDS, add_lesions, draw_lesions
from maskdiff_edu.brains.phantom import (
    Subject,
    SubjectParams,
    draw_subject,
    make_subject,
    render_subject,
)

__all__ = [
    "LESION_KINDS",
    "SPLITS",
    "Subject",
    "SubjectParams",
    "add_lesions",
    "cohort_seeds",
    "draw_lesions",
    "draw_subject",
    "load_atlas",
    "load_template",
    "make_cohort",
    "make_member",
    "make_subject",
    "render_subject",
]
