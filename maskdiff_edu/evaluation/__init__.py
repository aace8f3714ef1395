"""Methods on many subjects: chosen on some, measured on others, compared with intervals."""

from maskdiff_edu.evaluation.groups import evaluate_group, healthy_threshold, phantoms
from maskdiff_edu.evaluation.results import Run
from maskdiff_edu.evaluation.runs import compare, load_runs, measure
from maskdiff_edu.evaluation.selection import Grid, choose_settings

__all__ = [
    "Grid",
    "Run",
    "choose_settings",
    "compare",
    "evaluate_group",
    "healthy_threshold",
    "load_runs",
    "measure",
    "phantoms",
]
