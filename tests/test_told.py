"""Conventions: told in words, resolved in code, and other than those of other courses."""

import ast
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from test_assignments import FOLDER, NAMES, cell_of, seeded_answer
from test_grading import CELLS, submission, write_source

from maskdiff_edu.course.conventions import every_told, resolve
from maskdiff_edu.course.grading import grade
from maskdiff_edu.course.kits import Kit, make_kit
from maskdiff_edu.course.source import (
    PUBLIC,
    Course,
    as_python,
    read_source,
)
from maskdiff_edu.course.tasks import run_test
from maskdiff_edu.course.workshop import Workshop
from maskdiff_edu.errors import SettingsError

SECRETS = ("one year", "the year after")
TOLD = ("code", '# COURSE\nN = course.choice(\'N\', 3, 4, 5)\ntold = course.told(END=("a", "b"))')
BLOCKS = (
    "code",
    "# EXERCISE q1 double\ndef double(x):\n    ### BEGIN SOLUTION\n"
    '    with END == "a":\n        return 2 * x  # this is what doubling means\n'
    '    with END == "b":\n        return x + x  # and so is this\n    ### END SOLUTION',
)


def names_for_answers(notebook: dict) -> dict:
    """The numbers of a course and all imports: what an answer may use, without the pictures."""
    names: dict = {}
    for cell in notebook["cells"]:
        text = as_python("".join(cell["source"]))
        if cell["cell_type"] == "code" and "maskdiff" not in cell["metadata"]:
            if not text.startswith("# The numbers"):
                tree = ast.parse(text).body
                kept = [node for node in tree if isinstance(node, (ast.Import, ast.ImportFrom))]
                text = "\n".join(map(ast.unparse, kept))
            exec(text, names)
    return names


def earned(kit: Kit, texts: dict[str, str], before: str = "") -> dict[str, float]:
    """The points that texts in the place of the answers earn, by exercise."""
    student = json.loads((kit.folder / f"{kit.name}.ipynb").read_text(encoding="utf-8"))
    names, points = names_for_answers(student), {}
    exec(before, names)
    for exercise, text in texts.items():
        own = dict(names)
        exec(text, own)
        outcomes = [run_test(t, seeded_answer(own), kit.given) for t in kit.tests_of(exercise)]
        points[exercise] = sum(outcome.points for outcome in outcomes)
    return points


@pytest.fixture(scope="module", params=NAMES)
def kits(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Kit]:
    """The edition for self-study, then courses with secrets."""
    source = FOLDER / f"{request.param}.ipynb"
    folder = tmp_path_factory.mktemp(request.param)
    return [make_kit(source, secret, folder / secret) for secret in (PUBLIC, *SECRETS)]


def coded(kit: Kit) -> list[str]:
    return [exercise.name for exercise in kit.exercises if not exercise.written]


def test_the_solution_of_the_self_study_edition_is_no_answer_elsewhere(kits: list[Kit]) -> None:
    public, *courses = kits
    texts = {q: cell_of(public.solution, q) for q in coded(public)}
    assert sum(earned(public, texts).values()) == public.points
    for kit in courses:
        assert sum(earned(kit, texts).values()) < kit.points


def test_the_source_itself_is_no_answer_anywhere(kits: list[Kit]) -> None:
    """Not even below lines that give its names a value."""
    source = read_source(FOLDER / f"{kits[0].name}.ipynb")
    for kit in kits:
        texts = {e.name: source.cells[e.index]["source"] for e in kit.exercises if not e.written}
        named = "\n".join(f"{name} = {kit.numbers[name]!r}" for name in kit.told)
        for before in ("", named):
            points = earned(kit, texts, before)
            for exercise, text in texts.items():
                if any(f"with {name} " in text or f"{{{{{name}}}}}" in text for name in kit.told):
                    full = sum(test.points for test in kit.tests_of(exercise))
                    assert points[exercise] < full, exercise
            assert sum(points.values()) < kit.points


def test_students_are_told_in_words_only(kits: list[Kit]) -> None:
    for kit in kits:
        student = json.loads((kit.folder / f"{kit.name}.ipynb").read_text(encoding="utf-8"))
        for cell in student["cells"]:
            text = "".join(cell["source"])
            assert "{{" not in text or cell["cell_type"] == "code"
            if cell["cell_type"] == "code":
                assert "with " not in text or not any(f"with {name} " in text for name in kit.told)
                read = {n.id for n in ast.walk(ast.parse(as_python(text))) if type(n) is ast.Name}
                assert read & set(kit.told) == set()
        words = "\n".join(
            "".join(c["source"]) for c in student["cells"] if "code" not in c.values()
        )
        assert [name for name in kit.told if str(kit.numbers[name]) not in words] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_page_says_what_public_solutions_earn(name: str, tmp_path: Path) -> None:
    """The table of the instructor's page, over 20 courses."""
    source = read_source(FOLDER / f"{name}.ipynb")
    public = make_kit(FOLDER / f"{name}.ipynb", PUBLIC, tmp_path / PUBLIC)
    solved = {q: cell_of(public.solution, q) for q in coded(public)}
    raw = {e.name: source.cells[e.index]["source"] for e in source.exercises if not e.written}
    totals = []
    for i in range(20):
        kit = make_kit(FOLDER / f"{name}.ipynb", f"measured {i}", tmp_path / f"{i}")
        totals.append([sum(earned(kit, texts).values()) for texts in (solved, raw)])
    (mean, own), least, most = np.mean(totals, 0), *(f(t[0] for t in totals) for f in (min, max))
    row = f"| `{name}` | {len(source.told)} | {mean:.1f} ({least:g} to {most:g}) | {own:g} |"
    assert row in (FOLDER.parent / "assignments.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_courses_differ_from_the_self_study_edition_in_half_of_their_conventions(name: str) -> None:
    told = read_source(FOLDER / f"{name}.ipynb").told
    public = Course(PUBLIC, name).told(**told)
    drawn = [Course(f"secret {i}", name).told(**told) for i in range(60)]
    assert all(2 * sum(one[n] != public[n] for n in told) >= len(told) for one in drawn)
    assert {(n, one[n]) for one in drawn for n in told} == {(n, o) for n in told for o in told[n]}
    assert len({tuple(one.values()) for one in drawn}) > 2  # last year's course is another, too


@pytest.mark.skipif(sys.platform == "win32", reason="grading needs Linux or macOS")
def test_the_class_page_knows_the_published_code_of_every_course(no_public_tests, tmp_path: Path):
    cells = [TOLD, CELLS[1], BLOCKS, *CELLS[3:]]
    kit = make_kit(write_source(tmp_path, cells), "secret", tmp_path / "kit", course="spring")
    raw = BLOCKS[1]
    of_each = [resolve(raw, told, kit.told, "q1") for told in every_told(kit.told)]
    with Workshop() as workshop:
        for text in (raw, *of_each, f"{of_each[0]}\n\nprint(double(1))"):
            assert grade(submission(kit, q1=text), kit, workshop).published == ["q1", "q2"]
        own = "# EXERCISE q1 double\ndef double(x):\n    return x * 2"
        assert grade(submission(kit, q1=own), kit, workshop).published == ["q2"]


WRONG = {
    "an option is missing": ('    with END == "b":\n        return x + x  # and so is this\n', ""),
    "an option stands twice": ('END == "b"', 'END == "a"'),
    "no such option": ('END == "b"', 'END == "c"'),
    "no such convention": ("END", "START"),
    "another quotation mark": ('"a"', "'a'"),
    "two conditions": ('END == "a"', 'END == "a", END == "b"'),
    "a line between the blocks": ('    with END == "b"', '    x += 0\n    with END == "b"'),
    "an if": ('with END == "a"', 'if END == "a"'),
    "a text with no such convention": ("x + x", '"{{START}}"'),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_blocks_that_do_not_fit_are_refused_before_anything_is_written(
    wrong: str, no_public_tests, tmp_path: Path
) -> None:
    kind, text = BLOCKS
    cells = [TOLD, CELLS[1], (kind, text.replace(*WRONG[wrong])), *CELLS[3:]]
    assert cells[2] != BLOCKS
    with pytest.raises(SettingsError, match=r"END|START"):
        make_kit(write_source(tmp_path, cells), "secret", tmp_path / "kit")
    assert not (tmp_path / "kit").exists()


@pytest.mark.parametrize(
    "declared",
    ['("a", "b")', 'END=("a",)', 'END=("a", "a")', "END=(1, 2)", "END=N", 'END=("a", "it\'s")'],
)
def test_conventions_that_are_no_texts_are_refused(declared: str, tmp_path: Path) -> None:
    cells = [("code", f"# COURSE\nN = 3\ntold = course.told({declared})"), *CELLS[1:]]
    with pytest.raises(SettingsError, match="two or more texts"):
        read_source(write_source(tmp_path, cells))


def test_blocks_may_be_nested_and_hold_several_options() -> None:
    code = (
        'with A != "z":\n    with A == "x":\n        k = 1\n\n    with A == "y":\n        k = 2\n'
        '    k += 10\nwith A == "z":\n    k = 3\nprint("{{A}}")'
    )
    made = {told["A"]: resolve(code, told, {"A": "xyz"}, "") for told in every_told({"A": "xyz"})}
    assert made == {
        "x": 'k = 1\nk += 10\nprint("x")',
        "y": 'k = 2\nk += 10\nprint("y")',
        "z": 'k = 3\nprint("z")',
    }
