"""Questions that the page itself answers: no kernel, no account, nothing stored anywhere."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from maskdiff_edu.widgets.base import Figure, script, styles


@dataclass(frozen=True)
class Choice:
    """One possible answer; `why` is shown once it is chosen, right or wrong.

    Text between backticks is set as code.
    """

    text: str
    why: str
    correct: bool = False

    def __post_init__(self) -> None:
        if not self.text.strip() or not self.why.strip():
            raise ValueError(f"expected a text and an explanation, got {self!r}")


@dataclass(frozen=True)
class Question:
    """A question with two or more choices, exactly one of them correct."""

    text: str
    choices: Sequence[Choice]

    def __post_init__(self) -> None:
        correct = sum(choice.correct for choice in self.choices)
        if len(self.choices) < 2 or correct != 1:
            raise ValueError(
                f"{self.text!r}: expected two or more choices, one of them correct, got "
                f"{len(self.choices)} with {correct} correct"
            )


class Quiz(Figure):
    """Questions to be answered on the page; see `quiz`."""

    _esm = script("core", "quiz")
    _css = styles()

    def __init__(self, questions: Sequence[Question], label: str) -> None:
        if not questions:
            raise ValueError("expected at least one question, got none")
        self.questions = tuple(questions)
        asked = " ".join(f"{i}. {q.text}" for i, q in enumerate(questions, start=1))
        alt = f"{len(questions)} questions to answer: {asked}"
        spec = {"questions": [asdict(question) for question in questions]}
        super().__init__(label=label, alt=alt, spec=spec)


class Predict(Figure):
    """A prediction to commit to before one looks; see `predict`."""

    _esm = script("core", "predict")
    _css = styles()

    def __init__(self, question: str, choices: Sequence[str], reveal: str, label: str) -> None:
        if len(choices) < 2:
            raise ValueError(f"{question!r}: expected two or more choices, got {len(choices)}")
        if not reveal.strip():
            raise ValueError(f"{question!r}: expected what to reveal afterwards, got nothing")
        spec = {"question": question, "choices": list(choices), "reveal": reveal}
        alt = f"{question} Is it: {'; or '.join(choices)}?"
        super().__init__(label=label, alt=alt, spec=spec)


def quiz(*questions: Question, label: str = "Check yourself") -> Quiz:
    """Questions with an explanation for every choice.

    >>> check = quiz(
    ...     Question(
    ...         "What is 1 + 1?",
    ...         [Choice("2", why="Two.", correct=True), Choice("3", why="One too many.")],
    ...     )
    ... )
    >>> check.alt
    '1 questions to answer: 1. What is 1 + 1?'
    """
    return Quiz(questions, label)


def predict(
    question: str, choices: Sequence[str], *, reveal: str, label: str = "Predict"
) -> Predict:
    """A question to answer before looking on; `reveal` says then what happens, and why.

    >>> predict("Heads or tails?", ["heads", "tails"], reveal="Nobody knows.").alt
    'Heads or tails? Is it: heads; or tails?'
    """
    return Predict(question, choices, reveal, label)
