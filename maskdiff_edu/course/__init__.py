"""Assignments: made from one source, checked in the notebook, graded where no answer can cheat."""

from maskdiff_edu.course.classes import grade_class
from maskdiff_edu.course.kits import make_kit, read_kit
from maskdiff_edu.course.leaderboard import make_leaderboard
from maskdiff_edu.course.notebook import checks

__all__ = ["checks", "grade_class", "make_kit", "make_leaderboard", "read_kit"]
