"""Tests of an assignment: what they ask of an answer, and what they say when it is wrong.

A test is a function of an `Answer` and of what the course has `Given`. It calls the student's
functions with values of its own and raises `Wrong`, whose text is what the student reads. The same
tests run in the student's notebook (`checks`), and in the grader, where the functions live in
another process.
"""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch

from maskdiff_edu.course.wire import WireError, decode, encode
from maskdiff_edu.errors import SettingsError


class Wrong(Exception):
    """An answer that is not right; the text tells the student why, `see` where to read on."""

    def __init__(self, message: str, see: str = "") -> None:
        super().__init__(message)
        self.see = see


class Given(SimpleNamespace):
    """The numbers of one course, as attributes, and generators that only its grader has."""

    def __init__(self, secret: str, numbers: Mapping[str, Any]) -> None:
        super().__init__(**numbers)
        self._secret = secret

    def rng(self, name: str) -> np.random.Generator:
        """A generator that is the same in every run and for every student of the course."""
        return np.random.default_rng(number_from(self._secret, name))


def number_from(secret: str, name: str) -> int:
    """An integer below 2**64 that nobody can tell who does not know the secret.

    >>> number_from("a", "T") == number_from("a", "T"), number_from("b", "T") < 2**64
    (True, True)
    """
    return int.from_bytes(hashlib.sha256(f"{secret}\n{name}".encode()).digest()[:8], "big")


def public_mark(secret: str, salt: str) -> str:
    """A mark of a secret that may be seen: a guess at the secret takes a tenth of a second.

    >>> public_mark("a", "kit") == public_mark("a", "kit") != public_mark("b", "kit")
    True
    """
    return hashlib.scrypt(secret.encode(), salt=salt.encode(), n=2**14, r=8, p=1, dklen=6).hex()


Ask = Callable[[str, bool, tuple, dict[str, Any]], dict[str, Any]]


class Answer:
    """A student's names: `answer.betas(1000)` calls a function, `answer("T")` reads a value.

    Raises `Wrong`, with words for the student, where there is no such name, where the call ends in
    an error or takes too long, and where something comes back that is no plain value.
    """

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def __call__(self, name: str) -> Any:
        return self._checked(name, self._ask(name, False, (), {}))

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            return self._checked(f"{name}(…)", self._ask(name, True, args, kwargs))

        return call

    @staticmethod
    def _checked(what: str, reply: dict[str, Any]) -> Any:
        if "value" in reply:
            return reply["value"]
        if "missing" in reply:
            name = what.partition("(")[0]
            raise Wrong(f"expected something called `{name}`, found nothing of that name")
        if "unusable" in reply:
            raise Wrong(f"`{what}` gave back what cannot be compared: {reply['unusable']}")
        raise Wrong(f"`{what}` did not come to an end: {reply.get('error')}")


def local_answer(names: Mapping[str, Any], spoilt: set[str] | None = None) -> Answer:
    """The answers of this very process, under the same rules for what may pass.

    Names of functions that changed an array which they were given are added to `spoilt`.
    """

    def ask(name: str, is_call: bool, args: tuple, kwargs: dict[str, Any]) -> dict[str, Any]:
        if name not in names:
            return {"missing": True}
        sent_args, sent_kwargs = decode(encode((args, kwargs)))  # nobody changes the test's own
        try:
            value = names[name](*sent_args, **sent_kwargs) if is_call else names[name]
        except Exception as error:
            return {"error": f"{type(error).__name__}: {error}"}
        if spoilt is not None and not _same_arrays((args, kwargs), (sent_args, sent_kwargs)):
            spoilt.add(name)
        try:
            return {"value": decode(encode(value))}
        except WireError as error:
            return {"unusable": str(error)}

    return Answer(ask)


def book_address() -> str:
    """Where the book is read, the pages of the repository that the package names; or ""."""
    urls = metadata.metadata("maskdiff_edu").get_all("Project-URL") or []
    repository = next((u.split(", ")[1] for u in urls if u.startswith("Repository, ")), "")
    found = re.fullmatch(r"https://github\.com/([^/]+)/([^/]+)", repository)
    return f"https://{found[1]}.github.io/{found[2]}/" if found else ""


def _same_arrays(before: Any, after: Any) -> bool:
    """Whether all arrays in the one value are as in the other; generators may have moved on."""
    if isinstance(before, dict):
        return all(_same_arrays(before[name], after.get(name)) for name in before)
    if isinstance(before, list | tuple):
        return all(_same_arrays(a, b) for a, b in zip(before, after, strict=False))
    if isinstance(before, np.ndarray | torch.Tensor):
        return np.array_equal(np.asarray(before), np.asarray(after), equal_nan=True)
    return True


@dataclass(frozen=True)
class Test:
    """One test of one exercise."""

    exercise: str  #: such as q1
    points: float
    says: str  #: what it looks at, in words that show no test
    run: Callable[[Answer, Given], None]

    @property
    def name(self) -> str:
        """Of the function that tests, which patches and tables name."""
        return self.run.__name__


@dataclass
class Tests:
    """The tests of one module, in their order.

    >>> tests = Tests()
    >>> @tests("q1", points=2, says="double doubles")
    ... def doubles(answer, given):
    ...     if answer.double(2) != 4:
    ...         raise Wrong("double(2): expected 4")
    >>> tests.run("q1", local_answer({"double": lambda x: 2 * x}), Given("", {}))
    [Outcome(test='doubles', says='double doubles', points=2, of=2, message='', see='')]
    """

    all: list[Test] = field(default_factory=list)

    def __call__(
        self, exercise: str, points: float, says: str
    ) -> Callable[[Callable[[Answer, Given], None]], Callable[[Answer, Given], None]]:
        def keep(function: Callable[[Answer, Given], None]) -> Callable[[Answer, Given], None]:
            self.all.append(Test(exercise, points, says, function))
            return function

        return keep

    def run(self, exercise: str, answer: Answer, given: Given) -> list["Outcome"]:
        """The outcomes of all tests of one exercise."""
        return [run_test(test, answer, given) for test in self.all if test.exercise == exercise]


@dataclass(frozen=True)
class Outcome:
    """How one test went."""

    test: str
    says: str
    points: float
    of: float
    message: str
    see: str

    @property
    def passed(self) -> bool:
        return self.points == self.of


def run_test(test: Test, answer: Answer, given: Given) -> Outcome:
    """Run a test; an answer of a kind that it did not expect is a wrong one.

    An error of the test itself is told apart by the tests of the assignment: their reference
    solution must pass.
    """
    message, see = "", ""
    try:
        test.run(answer, given)
    except Wrong as wrong:
        message, see = str(wrong), wrong.see
    except Exception as error:
        message = f"the answer is of a kind that was not expected ({type(error).__name__}: {error})"
    points = 0.0 if message else test.points
    return Outcome(test.name, test.says, points, test.points, message, see)


def load_tests(path: Path) -> Any:
    """The module with the tests in a file, which need not lie where Python looks.

    Nothing is written beside it, as an import would: the folder may be handed on as it is.
    """
    if not path.is_file():
        raise SettingsError(f"{path}: expected a file with tests, found none")
    module = ModuleType(f"maskdiff_tests_{path.stem}")
    module.__file__ = str(path)
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), module.__dict__)
    return module


def array(got: Any, shape: Sequence[int] | None, what: str) -> np.ndarray:
    """`got` as an array of finite numbers of this shape. Raises: Wrong, which names what came."""
    if got is None:
        raise Wrong(f"{what}: expected numbers, got None; does the function return its result?")
    try:
        found = np.asarray(got)
    except Exception:
        found = np.asarray(None)
    if found.dtype.kind not in "biufc":
        raise Wrong(f"{what}: expected an array of numbers, got {type(got).__name__}")
    if shape is not None and found.shape != tuple(shape):
        raise Wrong(f"{what}: expected the shape {tuple(shape)}, got {found.shape}")
    if not np.isfinite(found).all():
        raise Wrong(f"{what}: expected finite numbers, got {_count_bad(found)} that are not")
    return found


def close(
    got: Any,
    want: Any,
    what: str,
    mistakes: Mapping[str, Any] | None = None,
    *,
    rtol: float = 1e-4,
    atol: float = 1e-6,
    see: str = "",
) -> None:
    """Raises `Wrong` unless `got` is `want`, up to rounding.

    mistakes: what is said -> what comes out if that mistake is made; the first that fits is named.
    """
    wanted = np.asarray(want)
    found = array(got, wanted.shape, what)
    if np.allclose(found, wanted, rtol=rtol, atol=atol):
        return
    for message, value in (mistakes or {}).items():
        if np.shape(value) == found.shape and np.allclose(found, value, rtol=rtol, atol=atol):
            raise Wrong(f"{what}: {message}", see)
    worst = np.unravel_index(np.argmax(np.abs(found - wanted)), wanted.shape)
    said = f"{what}: expected {wanted[worst]:.6g}, got {found[worst]:.6g}"
    if wanted.shape:
        share = np.mean(~np.isclose(found, wanted, rtol=rtol, atol=atol))
        said += f" at {tuple(map(int, worst))}; {share:.0%} of the values differ"
    raise Wrong(said, see)


def draws_from_rng(ends: Callable[[int], np.ndarray], what: str, see: str = "") -> None:
    """Raise `Wrong` unless an interval from 40 draws follows the generator that is handed in.

    ends: the interval with a generator of that seed; what: the student's function.
    """
    once, again, other = ends(1), ends(1), ends(2)
    close(again, once, f"{what}, twice with generators in the same state")
    require(
        not np.allclose(once, other, atol=1e-9),
        f"{what}: two generators gave the same interval from 40 draws; draw with the `rng` that "
        "is handed in, not with one of your own",
        see,
    )


def require(condition: Any, message: str, see: str = "") -> None:
    """Raises `Wrong` with these words unless the condition holds."""
    if not condition:
        raise Wrong(message, see)


def _count_bad(found: np.ndarray) -> str:
    return f"{np.mean(~np.isfinite(found)):.0%}"
