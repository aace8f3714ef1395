"""Draw the picture of README.md: scan, pseudo-healthy brain, anomaly map, true lesion.

python data_scripts/draw_picture.py
"""

from pathlib import Path

import typer

from maskdiff_edu.brains import make_cohort
from maskdiff_edu.detection import build_detector
from maskdiff_edu.scans import to_slices
from maskdiff_edu.show import show_detection


def main(out: Path = Path("book/_static/overview.png")) -> None:
    """Score the first test patient with a tumour and write its largest slice to OUT."""
    slices = to_slices(next(make_cohort("test", "tumour")))
    detection = build_detector("fpm-cm").detect(slices)
    largest = int(slices.lesion_masks.sum(dim=(1, 2, 3)).argmax())
    figure = show_detection(slices, detection, [largest])
    figure.savefig(out, dpi=110)
    print(out)


if __name__ == "__main__":
    typer.run(main)
