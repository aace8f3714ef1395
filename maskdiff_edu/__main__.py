"""`python -m maskdiff_edu` is `maskdiff-edu`."""

from maskdiff_edu.cli import app

app()
