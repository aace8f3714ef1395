"""The grader under attack and in bad luck: whatever a notebook does costs its own points only."""

import csv
import json
import os
import re
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from maskdiff_edu.course import grade_class, make_kit
from maskdiff_edu.course.gradebooks import fill_gradebook, people_in, split_table
from maskdiff_edu.course.gradescope import as_gradescope, write_autograder
from maskdiff_edu.course.grading import Graded, grade
from maskdiff_edu.course.pages import class_page, feedback_page
from maskdiff_edu.course.sandbox import ISOLATED, PARTLY, Limits
from maskdiff_edu.course.source import WRITTEN_BLANK, read_source
from maskdiff_edu.course.submissions import find_submissions
from maskdiff_edu.course.tasks import local_answer
from maskdiff_edu.course.wire import WireError, decode, encode
from maskdiff_edu.course.workshop import Workshop
from maskdiff_edu.errors import Error, SettingsError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="grading needs Linux or macOS")
linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux closes everything off")

CELLS = [
    ("code", "# COURSE\nN = course.choice('N', 3, 4, 5)"),
    ("markdown", "Double it, {{N}} times."),
    (
        "code",
        "# EXERCISE q1 double\ndef double(x):\n    ### BEGIN SOLUTION\n"
        "    return 2 * x  # this is what doubling means\n    ### END SOLUTION",
    ),
    (
        "code",
        "# EXERCISE q2 halve\ndef halve(x):\n    ### BEGIN SOLUTION\n"
        "    return x / 2  # this is what halving means\n    ### END SOLUTION",
    ),
    ("markdown", "## EXERCISE q3 (2 points)\nWhy?\n### BEGIN SOLUTION\nBecause.\n### END SOLUTION"),
]
TESTS = """
from maskdiff_edu.course.tasks import Tests, close
TESTS = Tests()

@TESTS("{q}", points=2, says="one number")
def {name}(answer, given):
    x = given.rng("{name}").uniform(1, 2)
    close(answer.{name}(x), x * {factor}, "{name}(x)", {{"this is the number itself": x}})
"""


def as_notebook(cells):
    made = [
        {"cell_type": kind, "id": f"c{i}", "metadata": {}, "source": text}
        for i, (kind, text) in enumerate(cells)
    ]
    return {"cells": made, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


def write_source(folder, cells=CELLS):
    path = folder / "hwtest.ipynb"
    path.write_text(json.dumps(as_notebook(cells)))
    tests = [TESTS.format(q="q1", name="double", factor=2)]
    second = TESTS.format(q="q2", name="halve", factor=0.5)
    tests.append(second.partition("TESTS = Tests()\n")[2])
    path.with_suffix(".py").write_text("".join(tests))
    return path


@pytest.fixture(scope="module")
def kit(no_public_tests, tmp_path_factory):
    folder = tmp_path_factory.mktemp("source")
    return make_kit(write_source(folder), "secret", folder / "kit", course="spring")


@pytest.fixture(scope="module")
def workshop():
    with Workshop(Limits(cell_seconds=8, test_seconds=4, seconds=40)) as opened:
        yield opened


def submission(kit, q1=None, q2=None, q3=None, before="", after=""):
    """The solution, with other texts in its cells."""
    notebook = json.loads(json.dumps(kit.solution))
    for exercise, text in (("q1", q1), ("q2", q2), ("q3", q3)):
        if text is not None:
            [cell] = [
                c
                for c in notebook["cells"]
                if c["metadata"].get("maskdiff", {}).get("exercise") == exercise
            ]
            cell["source"] = text
    extra = {"cell_type": "code", "id": "x", "metadata": {}, "outputs": []}
    if before:
        notebook["cells"].insert(0, extra | {"source": before})
    if after:
        notebook["cells"].append(extra | {"source": after})
    return json.dumps(notebook).encode()


def earned(result):
    return {q: sum(o.points for o in outcomes) for q, outcomes in result.outcomes.items()}


FORGERIES = {
    "the library patched": (
        "import maskdiff_edu.course.tasks as t\nt.close = lambda *a, **k: None\n"
        "import maskdiff_edu.course.wire as w\nw.encode = lambda v: b''"
    ),
    "numpy patched": "import numpy as np\nnp.allclose = lambda *a, **k: True",
    "an answer equal to everything": (
        "class Yes(float):\n    __eq__ = lambda s, o: True\n    __array_priority__ = 9\n"
        "def yes(x): return Yes(1)"
    ),
    "a forged result file": (
        "for name in ('results.json', '../results.json', '/tmp/results.json'):\n"
        "    try: open(name, 'w').write('{\"score\": 100}')\n"
        "    except OSError: pass"
    ),
    "tests overwritten": (
        "import sys\nfor m in list(sys.modules):\n    if 'test' in m.lower(): sys.modules[m] = None"
    ),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_no_forgery_gains_a_point(kit, workshop, name):
    q1 = "# EXERCISE q1 double\ndef double(x): return yes(x) if 'yes' in globals() else x"
    result = grade(submission(kit, q1=q1, before=FORGERIES[name]), kit, workshop)
    assert earned(result)["q1"] == 0


def test_a_cell_for_home_is_left_out_and_an_exercise_never_is(kit, workshop):
    home = "# AT HOME, about an hour\nimport os; os._exit(0)"
    q1 = "# AT HOME\ndef double(x): return 2 * x"
    result = grade(submission(kit, q1=q1, before=home, after=home), kit, workshop)
    assert earned(result) == {"q1": 2, "q2": 2}
    last = len(json.loads(submission(kit, before=home, after=home))["cells"])
    assert result.at_home == [1, last]
    page = feedback_page(Graded("ann", "Ann", "a.ipynb", False, result), kit)
    assert f"cells 1, {last}." in page
    assert f"not run by the grader: cell 1, {last}." in as_gradescope(result)["output"]


def test_a_hard_coded_output_earns_nothing(kit, workshop):
    q1 = "# EXERCISE q1 double\ndef double(x): return 4.0  # right for the public example"
    assert earned(grade(submission(kit, q1=q1), kit, workshop)) == {"q1": 0, "q2": 2}


ACCIDENTS = {
    "an error": "1 / 0",
    "an exit": "import sys; sys.exit()",
    "a hard exit": "import os; os._exit(0)",
    "a loop": "while True: pass",
    "all the memory": "x = bytearray(20 * 2**30)",
    "a crash": "import ctypes; ctypes.string_at(0)",
    "endless output": "while True: print('x' * 100000)",
    "many files": "for i in range(200): open(f'f{i}', 'wb').write(bytes(2**22))",
    "many processes": "import os\nwhile True: os.fork()",
    "the grader killed": "import os\nfor p in (os.getppid(), 1, -1): os.kill(p, 9)",
    "a syntax error": "def (",
    "deep recursion": "def f(): f()\nf()",
    "a closed wire": "import os\nos.closerange(3, 100)",
}


@pytest.mark.parametrize("name", ACCIDENTS)
def test_an_accident_costs_at_most_its_own_cell(kit, workshop, name):
    """Before and behind it, everything earns its points."""
    with workshop.open() as bench:
        if name in ("the grader killed", "many processes") and bench.isolation != ISOLATED:
            pytest.skip(f"it would reach the programs of this user: {bench.isolation}")
    q1 = f"# EXERCISE q1 double\n{ACCIDENTS[name]}"
    result = grade(submission(kit, q1=q1), kit, workshop)
    assert earned(result) == {"q1": 0, "q2": 2}
    assert result.notes
    assert earned(grade(submission(kit), kit, workshop)) == {"q1": 2, "q2": 2}, "the next one"


@pytest.mark.parametrize(
    "body",
    [
        "while True: pass",
        "import os; os._exit(0)",
        "1 / 0",
        "return object()",
        "return x, [x] * 10**8",
    ],
)
def test_a_function_that_fails_costs_its_own_tests(kit, workshop, body):
    q1 = f"# EXERCISE q1 double\ndef double(x):\n    {body}"
    result = grade(submission(kit, q1=q1), kit, workshop)
    assert earned(result) == {"q1": 0, "q2": 2}
    [outcome] = result.outcomes["q1"]
    assert "double" in outcome.message


@linux
@pytest.mark.parametrize("code", [
    "open({hidden!r}).read()", "open('/etc/passwd').read()",
    "import socket; socket.create_connection(('127.0.0.1', 9), timeout=1)",
    "import os; open(os.path.join(os.path.dirname(os.getcwd()), 'other'), 'w')",
    "import os; os.listdir('/proc')", "import os; os.listdir({folder!r})",
    "import subprocess; subprocess.run(['cat', {hidden!r}], check=True)",
])  # fmt: skip
def test_nothing_outside_its_folder_is_seen_or_reached(kit, workshop, code):
    hidden = str(kit.folder / "instructor" / "hwtest.py")
    text = code.format(hidden=hidden, folder=str(kit.folder))
    with workshop.open() as bench:
        if bench.isolation not in (ISOLATED, PARTLY):
            pytest.skip(f"this system offers no more: {bench.isolation}")
        assert bench.run_cell(text, 1) is not None
        assert bench.run_cell("import scipy.ndimage, nibabel", 2) is None


@linux
def test_without_namespaces_files_are_closed_all_the_same(kit):
    """As on Ubuntu 24.04, which gives nobody any."""
    code = (
        "import sys, ctypes, pathlib, tempfile\n"
        "from maskdiff_edu.course import sandbox\n"
        "sandbox._NEW_NAMESPACES = -1\n"  # the kernel refuses it
        "print(sandbox.confine(pathlib.Path(tempfile.mkdtemp()), sandbox.Limits()), flush=True)\n"
        "open(sys.argv[1]).read()"
    )
    hidden = kit.folder / "instructor" / "hwtest.py"
    done = subprocess.run([sys.executable, "-c", code, hidden], capture_output=True, text=True)
    if done.stdout.strip() != PARTLY:
        pytest.skip(f"this system offers no more: {done.stdout}")
    assert "PermissionError" in done.stderr


def test_what_the_parent_has_in_its_environment_is_not_passed_on(kit, workshop, monkeypatch):
    monkeypatch.setenv("A_SECRET", "hunter2")
    with Workshop() as fresh, fresh.open() as bench:
        assert "KeyError" in bench.run_cell("import os; os.environ['A_SECRET']", 1)
        started_with = Path(f"/proc/{bench._pid}/environ")
        assert not started_with.exists() or b"hunter2" not in started_with.read_bytes()


def test_notebooks_as_they_come_back(kit, workshop):
    """From Colab, from split and copied cells, from an old format, and broken."""
    double = "# EXERCISE q1 double\ndef double(x): return 2 * x"
    wrong = "# EXERCISE q1 double\ndef double(x): return x"
    halve = "def halve(x): return x / 2"
    for cells, expected, note in (
        ([("code", double), ("code", halve)], {"q1": 2, "q2": 2}, "without its first line"),
        ([("code", wrong), ("code", double)], {"q1": 2, "q2": 0}, "2 cells"),
        ([("code", double), ("code", wrong)], {"q1": 0, "q2": 0}, "2 cells"),
        ([("code", "%pip install x\n!ls\n" + double[21:])], {"q1": 2, "q2": 0}, "first line"),
        (
            [("code", double + "\ndouble2 = double"), ("code", "double = None")],
            {"q1": 2, "q2": 0},
            "",
        ),
    ):
        result = grade(json.dumps(as_notebook(cells)).encode(), kit, workshop)
        assert earned(result) == expected, cells
        assert any(note in text for text in result.notes) or not note
    for broken in (b"", b"PK\x03\x04", b"[]", b"{}", b'{"cells": 3}', b"\xff\xfe", b"[" * 10**5):
        result = grade(broken, kit, workshop)
        assert result.points == 0 and "expected a notebook" in result.notes[0]
    old = {"worksheets": [{"cells": [{"cell_type": "code", "input": double}]}], "nbformat": 3}
    assert earned(grade(json.dumps(old).encode(), kit, workshop))["q1"] == 2


def test_another_week_and_another_course_are_told(kit, workshop):
    other = json.loads(submission(kit))
    other["metadata"]["maskdiff"]["assignment"] = "hw99"
    assert "another assignment" in grade(json.dumps(other).encode(), kit, workshop).notes[0]
    other["metadata"]["maskdiff"] = {"assignment": "hwtest", "version": "old", "course": "spring"}
    assert "another version" in grade(json.dumps(other).encode(), kit, workshop).notes[0]


def test_an_answer_in_a_new_cell_below_its_question_counts(kit, workshop):
    """As people write in Colab."""
    notebook = json.loads(submission(kit, q3="## EXERCISE q3\n" + WRITTEN_BLANK))
    at = next(i for i, c in enumerate(notebook["cells"]) if "EXERCISE q3" in "".join(c["source"]))
    new = [{"cell_type": "markdown", "metadata": {}, "source": text} for text in ("One.", "Two.")]
    notebook["cells"][at + 1 : at + 1] = new
    result = grade(json.dumps(notebook).encode(), kit, workshop)
    assert result.written == {"q3": "One.\n\nTwo."}


def test_the_page_says_what_is_not_read_yet_and_what_was(kit, workshop):
    result = grade(submission(kit), kit, workshop)
    page = feedback_page(Graded("ann", "Ann", "a.ipynb", False, result), kit)
    assert "<strong>4</strong> of 4 points from the tests." in page
    assert "Not read yet, and not counted: q3" in page
    read = Graded("ann", "Ann", "a.ipynb", False, result, {"q3": 1.5})
    page = feedback_page(read, kit)
    assert "and 1.5 for what you wrote: <strong>5.5</strong> of 6 points in all." in page
    assert "1.5 of 2 points." in page
    assert "Not read yet" not in page and "A person reads" not in page


def test_a_cell_that_is_no_exercise_is_named_by_what_is_above(kit, workshop):
    result = grade(submission(kit, before="1 / 0", after="1 / 0"), kit, workshop)
    assert result.notes == [
        "cell 1 ended with ZeroDivisionError: division by zero; at: 1 / 0 (cell 1, line 1)"
    ]
    result = grade(submission(kit, after="1 / 0"), kit, workshop)
    [note] = result.notes
    assert re.match(r"cell \d+, below q2, ended with ZeroDivisionError", note)


def test_a_check_says_who_changes_what_it_is_given():
    def spoils(x, mask):
        x[mask] = 0
        return x

    spoilt: set[str] = set()
    answer = local_answer({"spoils": spoils, "keeps": lambda x: x + 1}, spoilt)
    answer.keeps(np.array([1.0, np.nan]))
    answer.keeps(np.array([True, False]))
    assert spoilt == set()
    x = np.ones(3)
    answer.spoils(x, np.array([True, False, False]))
    assert spoilt == {"spoils"} and x.sum() == 3


def test_written_answers_are_kept_for_a_person(kit, workshop):
    assert grade(submission(kit), kit, workshop).written == {"q3": "Because."}


@pytest.mark.parametrize("value", [
    None, True, 3, 10**30, -0.5, float("inf"), "ä", [1, [2]], (1, "a"), {"a": {"b": 1}},
    np.arange(6.0).reshape(2, 3), np.array(2), np.zeros((0, 3)), np.array([True]),
    np.array([1j]), torch.ones(2, 2, dtype=torch.float32),
])  # fmt: skip
def test_plain_values_pass(value):
    back = decode(encode(value))
    assert type(back) is type(value)
    if isinstance(value, (np.ndarray, torch.Tensor)):
        assert (
            back.dtype == value.dtype and back.shape == value.shape and bool((back == value).all())
        )
    else:
        assert back == value


def test_generators_go_on_where_they_were():
    rng = np.random.default_rng(3)
    rng.random(5)
    assert decode(encode(rng)).random() == rng.random()
    generator = torch.Generator().manual_seed(3)
    assert decode(encode(generator)).initial_seed() == 3


class Equal(float):
    def __eq__(self, other):
        return True

    __hash__ = None


@pytest.mark.parametrize(
    "value",
    [
        object(),
        Equal(1),
        lambda: 1,
        {1: 2},
        {"a": {3}},
        "x" * 2**27,
        np.array([object()]),
        np.ma.masked_array([1.0]),
    ],
)
def test_other_values_do_not_pass(value):
    with pytest.raises(WireError):
        encode(value)
    loop = []
    loop.append(loop)
    with pytest.raises(WireError):
        encode(loop)


@pytest.mark.parametrize("data", [
    b"", b"\0" * 7, b"\xff" * 40, encode([1])[:-1], encode(np.ones(3))[:-1],
    encode({"a": 1}).replace(b"dict", b"evil"), encode(np.ones(1)).replace(b"<f8", b"|O8"),
])  # fmt: skip
def test_bytes_that_are_no_value_are_refused(data):
    with pytest.raises(WireError):
        decode(data)


def test_long_lists_are_refused_before_they_take_memory():
    with pytest.raises(WireError, match="of lists and texts"):
        encode([0] * 10**7)
    with pytest.raises(WireError, match="of lists and texts"):
        decode((9 * 2**20).to_bytes(8, "little") + b"[")


@pytest.mark.parametrize(("old", "new"), [
    ("### END SOLUTION", ""), ("### BEGIN SOLUTION", ""), ("### END", "### BEGIN"),
    ("### BEGIN SOLUTION", "###BEGIN SOLUTION"), ("    ### BEGIN SOLUTION\n", ""),
])  # fmt: skip
def test_marks_that_do_not_match_are_refused(tmp_path, old, new):
    cells = [(kind, text.replace(old, new) if "q1" in text else text) for kind, text in CELLS]
    with pytest.raises(SettingsError, match=r"nothing is written|in an exercise only"):
        read_source(write_source(tmp_path, cells))


def test_a_solution_that_leaks_is_refused(no_public_tests, tmp_path):
    leak = ("markdown", "Hint: return 2 * x  # this is what doubling means")
    with pytest.raises(SettingsError, match="found this line of it elsewhere"):
        make_kit(write_source(tmp_path, [*CELLS, leak]), "s", tmp_path / "kit")
    assert not (tmp_path / "kit").exists()


def test_an_exercise_without_a_test_is_refused(no_public_tests, tmp_path):
    more = (
        "code",
        CELLS[2][1]
        .replace("q1", "q9")
        .replace("double", "triple")
        .replace("2 * x  # this", "3 * x  # that"),
    )
    with pytest.raises(SettingsError, match="a test of every exercise"):
        make_kit(write_source(tmp_path, [*CELLS, more]), "s", tmp_path / "kit")


def test_courses_differ_and_repeat(no_public_tests, tmp_path):
    source = write_source(tmp_path)
    one, again, other = (
        make_kit(source, secret, tmp_path / f"kit{i}") for i, secret in enumerate("aab")
    )
    assert one.given.rng("x").random() == again.given.rng("x").random()
    assert one.given.rng("x").random() != other.given.rng("x").random()
    assert {make_kit(source, str(i), tmp_path / "k").numbers["N"] for i in range(12)} == {3, 4, 5}
    assert f"Double it, {one.numbers['N']} times." in json.dumps(one.solution)


MOODLE = [
    ("Ann Lee_101_assignsubmission_file/hwtest.ipynb", True),
    ("Ann Lee_101_assignsubmission_file/.ipynb_checkpoints/hwtest.ipynb", False),
    ("Bo_Ås_102_assignsubmission_file_/sub/x.ipynb", True),
    ("Participant_103_assignsubmission_file_hw.ipynb", True),
]


def zipped(path, names, content):
    with zipfile.ZipFile(path, "w") as archive:
        for name, _ in names:
            archive.writestr(name, content)
    return path


def test_submissions_are_known_by_number(tmp_path):
    found = find_submissions(zipped(tmp_path / "m.zip", MOODLE, b"{}"))
    assert [s.student for s in found] == ["101", "102", "103"]
    assert {s.system for s in found} == {"moodle"}
    canvas = [
        ("leeann_LATE_11_901_hw.ipynb", 1),
        ("anon_12_902_hw.ipynb", 1),
        ("leeann_11_950_hw-1.ipynb", 1),
    ]
    found = find_submissions(zipped(tmp_path / "c.zip", canvas, b"{}"))
    assert [(s.student, s.late) for s in found] == [("11", True), ("11", False), ("12", False)]
    with pytest.raises(Error, match="found none"):
        find_submissions(zipped(tmp_path / "e.zip", [("a.txt", 1)], b""))
    with pytest.raises(Error, match="found neither"):
        find_submissions(tmp_path / "nothing")


def read_csv(path):
    with open(path, encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_a_class_is_graded_once_and_goes_on(kit, tmp_path, monkeypatch):
    place = tmp_path / "in"
    for student, data in (
        ("ann", submission(kit)),
        ("bo", b"no notebook"),
        ("=cy", submission(kit, q1="# EXERCISE q1 double\n1/0")),
    ):
        (place / student).mkdir(parents=True)
        (place / student / "hwtest.ipynb").write_bytes(data)
    out = tmp_path / "out"
    grade_class(place, kit, out)
    rows = {row["student"]: row for row in read_csv(out / "grades.csv")}
    assert {s: r["points"] for s, r in rows.items()} == {"ann": "4", "bo": "0", "'=cy": "2"}
    before = (out / "grades.csv").read_bytes()
    written = read_csv(out / "written.csv")
    assert [row["exercise"] for row in written] == [
        "q3",
        "q3",
    ]  # and not of whom nothing was written
    assert [(row["name"], row["of"]) for row in written] == [("'=cy", "2"), ("ann", "2")]

    def no_process(*_):
        raise AssertionError("graded a second time")

    with monkeypatch.context() as patch:
        patch.setattr(Workshop, "_start", no_process)
        grade_class(place, kit, out)
    assert (out / "grades.csv").read_bytes() == before
    text = (out / "written.csv").read_text(encoding="utf-8-sig")
    marked = text.replace("ann,ann,q3,,", 'ann,ann,q3,"1,5",').replace("cy,q3,,", "cy,q3,2,")
    (out / "written.csv").write_text(marked)
    points = {p.student: p.points for p in grade_class(place, kit, out)}
    assert points == {"ann": 5.5, "bo": 0, "=cy": 4}
    # As a spreadsheet saves it where a comma is the decimal mark.
    (out / "written.csv").write_text("student;exercise;points\r\nann;q3;0,5\r\n")
    assert {p.student: p.points for p in grade_class(place, kit, out)}["ann"] == 4.5
    for wrong in ("40", "-1", "two"):
        (out / "written.csv").write_text(f"student,exercise,points\nann,q3,{wrong}\n")
        with pytest.raises(Error, match=f"expected 0 to 2 points for ann, q3, got '{wrong}'"):
            grade_class(place, kit, out)
    (out / "written.csv").write_text("who,points\nann,2\n")
    with pytest.raises(Error, match="expected the columns student, exercise and points") as told:
        grade_class(place, kit, out)
    assert "delete" not in str(told.value)  # the marks are in it
    (out / "written.csv").unlink()
    pages = {p.name for p in (out / "feedback").iterdir()}
    assert {"ann.html", "bo.html"} <= pages and len(pages) == 3
    assert "this is the number itself" not in (out / "feedback" / "ann.html").read_text()
    (place / "bo" / "hwtest.ipynb").write_bytes(submission(kit))
    assert {p.student: p.result.points for p in grade_class(place, kit, out)}["bo"] == 4
    with zipfile.ZipFile(out / "feedback.zip") as archive:
        assert "ann/hwtest-feedback.html" in archive.namelist()


def test_everybody_has_a_row_also_with_another_file_or_none(kit, tmp_path):
    place, table = tmp_path / "in.zip", tmp_path / "table.csv"
    names = {"Ann_101": "hwtest.ipynb", "Bo_102": "answers.docx"}
    with zipfile.ZipFile(place, "w") as archive:
        for who, file in names.items():
            archive.writestr(f"{who}_assignsubmission_file/{file}", submission(kit))
    table.write_text(MOODLE_TABLE)
    everybody = people_in(table)
    assert everybody == {"101": "Lee, Ann", "102": "Bo", "199": "Cy"}
    graded = grade_class(place, kit, tmp_path / "out", everybody=everybody)
    rows = {row["name"]: row for row in read_csv(tmp_path / "out" / "grades.csv")}
    assert {name: row["points"] for name, row in rows.items()} == {
        "Lee, Ann": "4", "Bo": "4", "Cy": "0",
    }  # fmt: skip
    assert rows["Cy"]["notes"] == "nothing was handed in" and rows["Bo"]["file"].endswith("docx")
    assert [person.name for person in graded] == ["Lee, Ann", "Bo"]  # no grade for nothing


def test_the_folder_of_another_assignment_stops_at_once(kit, tmp_path):
    place = tmp_path / "in" / "ann"
    place.mkdir(parents=True)
    notebook = json.loads(submission(kit))
    notebook["metadata"]["maskdiff"]["assignment"] = "hw99_other"
    (place / "hw99.ipynb").write_text(json.dumps(notebook))
    with pytest.raises(Error, match="handed in, hw99_other, got hwtest"):
        grade_class(place.parent, kit, tmp_path / "out")
    assert not (tmp_path / "out" / "grades.csv").exists()


def test_a_notebook_of_another_secret_is_told(kit, workshop, no_public_tests, tmp_path):
    """Courses may have one name and differ by a letter of their sentence."""
    other = make_kit(write_source(tmp_path), "Secret", tmp_path / "kit", course="spring")
    [note] = grade(submission(other), kit, workshop).notes
    assert "another version of the assignment or another course" in note
    assert grade(submission(kit), kit, workshop).notes == []


def test_a_blank_exercise_is_called_blank_and_is_not_run(kit, workshop):
    blank = json.loads((kit.folder / "hwtest.ipynb").read_text())
    result = grade(json.dumps(blank).encode(), kit, workshop)
    assert {o.message for outcomes in result.outcomes.values() for o in outcomes} == {
        "this is blank"
    }


def test_the_instructor_sees_who_handed_in_the_published_solution(kit, workshop):
    pasted = "# EXERCISE q1 double\n\ndef double(x):  # mine\n    return  2*x"
    own = "# EXERCISE q2 halve\ndef halve(x):\n    return 0.5 * x"
    result = grade(submission(kit, q1=pasted, q2=own), kit, workshop)
    assert result.published == ["q1"] and result.points == 4  # told, and not judged
    person = Graded("ann", "Ann", "a.ipynb", False, result)
    assert "very code in q1;" in class_page([person], kit)
    assert "published" not in feedback_page(person, kit)


def test_the_class_page_counts_people_and_puts_named_ideas_first(kit, workshop):
    named = grade(submission(kit, q1="# EXERCISE q1 double\ndouble = lambda x: x"), kit, workshop)
    wrong = "# EXERCISE q1 double\ndouble = lambda x: 3 * x\n# EXERCISE q2 halve"
    other = grade(submission(kit, q1=wrong), kit, workshop)
    people = [Graded(str(i), "a", "a", False, r) for i, r in enumerate((named, other, other))]
    page = class_page(people, kit)
    rows = re.findall(r"<tr><td>(\d+)</td><td>([^<]*)</td></tr>", page)
    assert rows[0] == ("1", "double(x): this is the number itself")
    assert rows[1][0] == "2" and rows[1][1].startswith("double(x): expected")


MOODLE_TABLE = (
    '\ufeffIdentifier,Full name,Status,Grade,Maximum Grade,"Last, modified"\r\n'
    'Participant 101,"Lee, Ann",Submitted,,"100,00",-\r\n'
    'Participant 102,Bo,Submitted,"3,00","100,00",-\r\n'
    'Participant 199,Cy,No,,"100,00",-\r\n'
)
CANVAS_TABLE = (
    "Student,ID,SIS Login ID,Section,Essay (7),hwtest (8),Total\n"
    "    Points Possible,,,,10,20,30\n"
    '"Lee, Ann",11,la,A,5,,5\n'
    "Bo,12,b,A,,EX,\n"
)


def test_only_grades_change_in_a_gradebook(tmp_path):
    table = tmp_path / "m.csv"
    table.write_bytes(MOODLE_TABLE.encode())
    with pytest.raises(Error, match="found none of them"):
        fill_gradebook(table, {"500": 1}, 4, tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()
    filled = fill_gradebook(table, {"101": 3, "102": 4, "500": 1}, 4, tmp_path / "out.csv")
    expected = MOODLE_TABLE.replace("Submitted,,", 'Submitted,"75,00",').replace(
        "3,00", "100,00", 1
    )
    assert (tmp_path / "out.csv").read_bytes().decode() == expected
    assert filled.missing == ("500",)
    table.write_text(CANVAS_TABLE)
    with pytest.raises(Error, match="--grade-column"):
        fill_gradebook(table, {"11": 3}, 4, tmp_path / "out.csv")
    with pytest.raises(Error, match=r"one of: Essay \(7\), hwtest \(8\)$"):
        people_in(table)
    assert "11" in people_in(table, "hwtest")
    fill_gradebook(table, {"11": 3}, 4, tmp_path / "out.csv", "hwtest")
    expected = CANVAS_TABLE.replace("A,5,,5", "A,5,15.00,5")
    assert (tmp_path / "out.csv").read_text() == expected
    table.write_text("a,b\n1,2\n")
    with pytest.raises(Error, match="a grading worksheet of Moodle or a gradebook of Canvas"):
        fill_gradebook(table, {}, 4, tmp_path / "out.csv")


@pytest.mark.parametrize("text", [MOODLE_TABLE, CANVAS_TABLE, "a;;\r\n;b;\n", '"a""b",\n,\n', "x"])
def test_a_table_taken_apart_is_the_table(text):
    assert "".join(part for row in split_table(text) for part in row) == text


def test_checks_can_be_made_twice(capsys):
    """As when a student runs the notebook's second cell again."""
    from maskdiff_edu.course import checks

    for _ in range(2):
        check = checks("hw01_noising", T=4, FIRST=0.1, LAST=0.4, SCHEDULE="in equal steps")
        from maskdiff_edu.course import checks

    def betas(T, first, last):
        return np.linspace(first, last, T)

    def alphas_bar(betas):
        return 1 - betas

    check("q1", betas, alphas_bar)
    said = capsys.readouterr().out
    assert "✓ the betas of your course" in said
    assert "✗ alphas_bar of three betas" in said and "each single step" in said
    with pytest.raises(SettingsError, match="expected one of"):
        check("q9")
    with pytest.raises(SettingsError, match="hw01_noising"):
        checks("hw99")


def test_gradescope_gets_its_format(kit, workshop, tmp_path):
    reports = []
    result = grade(submission(kit), kit, workshop, report=lambda r: reports.append(r.points))
    assert reports == [2, 4], "after every test, so that a run cut short has what was earned"
    shown = as_gradescope(result)
    assert shown["score"] == 4 and [t["max_score"] for t in shown["tests"]] == [2, 2]
    wheel = tmp_path / "m.whl"
    wheel.write_bytes(b"wheel")
    write_autograder(kit, wheel, tmp_path / "auto.zip")
    with zipfile.ZipFile(tmp_path / "auto.zip") as archive:
        assert archive.getinfo("run_autograder").external_attr >> 16 & 0o111
        assert "kit/instructor/hwtest.py" in archive.namelist()


def test_a_process_ends_with_its_grader(kit):
    """Also when the grader is killed."""
    code = (
        "import time\nfrom maskdiff_edu.course.workshop import Workshop\n"
        "w = Workshop(); b = w.open(); bench = b.__enter__(); print(bench._pid, flush=True)\n"
        "time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    child = int(process.stdout.readline())
    process.kill()
    process.wait()
    for _ in range(100):
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail("it still runs")
