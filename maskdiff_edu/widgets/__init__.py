"""Interactive figures, the same in a kernel and on a page without one.

from maskdiff_edu.widgets import Frame, FrameFigure, quiz, Question, Choice, predict
"""

from maskdiff_edu.widgets.frames import Frame, FrameFigure, Plot
from maskdiff_edu.widgets.pictures import Panel
from maskdiff_edu.widgets.questions import Choice, Predict, Question, Quiz, predict, quiz

__all__ = [
    "Choice",
    "Frame",
    "FrameFigure",
    "Panel",
    "Plot",
    "Predict",
    "Question",
    "Quiz",
    "predict",
    "quiz",
]
