"""Interactive figures, the same in a kernel and on a page without one.

Each figure holds all its data, so a notebook that was stored with its outputs is alive wherever
its scripts run: on the book's pages, in Jupyter, in Colab. `label` is a figure's heading and `alt`
says in words what it shows. Sliders and buttons answer mouse and keyboard.
"""

from maskdiff_edu.widgets.browse import Swipe, VolumeBrowser
from maskdiff_edu.widgets.explorers import (
    BandExplorer,
    CutMixExplorer,
    PatchExplorer,
    SpectrumPainter,
)
from maskdiff_edu.widgets.frames import Frame, FrameFigure, Plot
from maskdiff_edu.widgets.live import LiveModel
from maskdiff_edu.widgets.own import OwnScan
from maskdiff_edu.widgets.pictures import Panel
from maskdiff_edu.widgets.questions import Choice, Predict, Question, Quiz, predict, quiz
from maskdiff_edu.widgets.scores import ScoreExplorer
from maskdiff_edu.widgets.waves import CosineSum

__all__ = [
    "BandExplorer",
    "Choice",
    "CosineSum",
    "CutMixExplorer",
    "Frame",
    "FrameFigure",
    "LiveModel",
    "OwnScan",
    "Panel",
    "PatchExplorer",
    "Plot",
    "Predict",
    "Question",
    "Quiz",
    "ScoreExplorer",
    "SpectrumPainter",
    "Swipe",
    "VolumeBrowser",
    "predict",
    "quiz",
]
