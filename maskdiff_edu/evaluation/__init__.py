"""Methods on many subjects: chosen on some, measured on others, compared with intervals."""

from maskdiff_edu.evaluation.groups import evaluate_group, healthy_threshold, phantoms
from maskdiff_edu.evaluation.results import GroupScores, Row, Run, SubjectScores, load_run
from maskdiff_edu.evaluation.runs import compare, load_runs, measure
from maskdiff_edu.evaluation.selection import Grid, choose_settings

__all__ = [
    "Grid",
    "GroupScores",
    "Row",
    "Run",
    "SubjectScores",
    "choose_settings",
    "compare",
    "evaluate_group",
    "healthy_threshold",
    "load_run",
    "load_runs",
    "measure",
    "phantoms",
]
