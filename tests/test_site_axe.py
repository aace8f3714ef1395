"""Every page of the rendered site, light and dark, under the eyes of axe-core.

A file of its own beside test_site.py, so that two processes share the pages.
"""

from pathlib import Path

import pytest
from site_visits import Visit

pytestmark = pytest.mark.slow

# Serious findings of axe-core about elements that the theme, MyST-NB and docutils write; no page
# or figure of ours may add to them. Rule -> what those elements contain.
KNOWN_FINDINGS = {
    "label-content-name-mismatch": ('data-bs-toggle="tooltip"', "<summary aria-label="),
    "aria-required-children": ('<div role="list" class="citation-list">',),
}


# The dark scheme differs in its colours alone.
@pytest.mark.parametrize(
    "scheme, rules", [("light", None), ("dark", ["color-contrast"])], ids=["light", "dark"]
)
def test_axe_has_no_serious_finding(
    visit: Visit, root: Path, scheme: str, rules: list[str] | None
) -> None:
    page = visit.page
    page.emulate_media(color_scheme=scheme)
    page.wait_for_selector(f'html[data-theme="{scheme}"]')
    page.wait_for_function("document.getAnimations().length === 0", polling=100)  # colours fade
    page.add_script_tag(path=root / "tests" / "axe" / "axe.min.js")
    options = {"resultTypes": ["violations"]} | ({"runOnly": rules} if rules else {})
    found = page.evaluate("options => axe.run(options).then(r => r.violations)", options)
    serious = [
        (finding["id"], node["html"])
        for finding in found
        if finding["impact"] in ("serious", "critical")
        for node in finding["nodes"]
        if not any(part in node["html"] for part in KNOWN_FINDINGS.get(finding["id"], ()))
    ]
    assert serious == []
