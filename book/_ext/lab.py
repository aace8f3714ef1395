"""Puts the files that run networks in the page into the site, from where the package keeps them."""

from pathlib import Path
from typing import Any

from maskdiff_edu.widgets.lab import copy_lab


def setup(app: Any) -> dict[str, bool]:
    """Called by Sphinx; the files are copied once the pages are there."""
    app.connect("build-finished", copy_into_site)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def copy_into_site(app: Any, exception: Exception | None) -> None:
    """Only into a site of pages: other builders, such as that of links, have no such folder."""
    if exception is None and app.builder.format == "html":
        copy_lab(Path(app.outdir))
