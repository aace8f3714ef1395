"""Every page of the rendered site, light and dark, under the eyes of axe-core.

A file of its own beside test_site.py, so that two processes share the pages.
"""

from pathlib import Path
from typing import Any

import pytest
from site_build import pages_in_toc

ROOT = Path(__file__).resolve().parent.parent
PAGES = pages_in_toc(ROOT)

pytestmark = pytest.mark.slow

# Serious findings of axe-core about elements that the theme, MyST-NB and docutils write; no page
# or figure of ours may add to them. Rule -> what those elements contain.
KNOWN_FINDINGS = {
    "label-content-name-mismatch": ('data-bs-toggle="tooltip"', "<summary aria-label="),
    "aria-required-children": ('<div role="list" class="citation-list">',),
}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_axe_has_no_serious_finding(visit: Any, root: Path, name: str, scheme: str) -> None:
    seen = visit(name, scheme=scheme)
    assert seen.page.locator("html").get_attribute("data-theme") == scheme
    seen.page.add_script_tag(path=root / "tests" / "axe" / "axe.min.js")
    found = seen.page.evaluate("axe.run()")["violations"]
    serious = [
        (finding["id"], node["html"])
        for finding in found
        if finding["impact"] in ("serious", "critical")
        for node in finding["nodes"]
        if not any(part in node["html"] for part in KNOWN_FINDINGS.get(finding["id"], ()))
    ]
    assert serious == []
