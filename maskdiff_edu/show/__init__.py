"""Pictures of slices, maps and scores, and the report about one scan."""

from maskdiff_edu.show.plots import (
    plot_comparison,
    plot_slice_scores,
    show_detection,
    show_panel,
    show_slices,
)
from maskdiff_edu.show.report import write_scored

__all__ = [
    "plot_comparison",
    "plot_slice_scores",
    "show_detection",
    "show_panel",
    "show_slices",
    "write_scored",
]
