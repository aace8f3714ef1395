"""What is read afterwards: a page for each student, and one about the class for the instructor."""

import base64
import io
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from maskdiff_edu.course.grading import Graded
from maskdiff_edu.course.kits import Kit
from maskdiff_edu.course.tasks import book_address

MOST = 15  #: messages in the table of what went wrong


def feedback_page(person: Graded, kit: Kit) -> str:
    """A student's page, as HTML that needs no other file: what was looked at, and what came."""
    return render("feedback.html", person=person, kit=kit, book=book_address())


def class_page(graded: Sequence[Graded], kit: Kit) -> str:
    """The instructor's page: how the points are spread, which tests fail, which ideas are wrong."""
    outcomes = [o for p in graded for os in p.result.outcomes.values() for o in os]
    tests = []
    for test in kit.tests:
        of_test = [o for o in outcomes if o.test == test.name]
        passed = sum(o.passed for o in of_test)
        tests.append((test, passed, len(of_test)))
    # Numbers differ from person to person; the idea before them is what people share.
    told = [{_idea(o.message) for os in p.result.outcomes.values() for o in os if not o.passed}
            for p in graded]  # fmt: skip
    ideas = Counter(idea for person in told for idea in person)
    seconds = sorted(p.result.seconds for p in graded)
    return render(
        "class.html",
        kit=kit,
        graded=sorted(graded, key=lambda p: p.name),
        tests=sorted(tests, key=lambda row: row[1]),
        # What names a wrong idea first; "expected 3, got 4" names none.
        ideas=sorted(ideas.items(), key=lambda row: ("expected" in row[0], -row[1]))[:MOST],
        histogram=_histogram([p.points for p in graded], kit.total),
        median_seconds=seconds[len(seconds) // 2],
        isolation=sorted({p.result.isolation for p in graded if p.result.isolation}),
    )


def _idea(message: str) -> str:
    return re.sub(r"-?\d+(\.\d+)?(e[-+]?\d+)?", "…", message)[:160]


def _histogram(points: Sequence[float], of: float) -> str:
    figure = Figure(figsize=(6, 2.4), layout="constrained")
    axes = figure.subplots()
    axes.hist(points, bins=20, range=(0, max(of, *points)), color="#0072b2", edgecolor="white")
    axes.set_xlabel("points")
    axes.set_ylabel("people")
    return as_image(figure)


def as_image(figure: Figure) -> str:
    """A figure as the address of a picture, which holds the picture itself."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=120)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def render(name: str, **values: Any) -> str:
    """One of the package's templates with values in it; what is text stays text."""
    templates = PackageLoader("maskdiff_edu", "data/templates")
    environment = Environment(
        loader=templates, autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["full_stop"] = _full_stop
    return environment.get_template(name).render(values)


def _full_stop(sentence: str) -> str:
    return sentence if sentence.endswith((".", "?", "!")) else f"{sentence}."
