"""Progress bars: after two seconds, silent on request, and no flood in a log."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest
from train_discs import CONFIG, Discs, small_network

from maskdiff_edu import progress
from maskdiff_edu.training import fit


class Log:
    """A stderr that is a terminal or not, and keeps what is written."""

    def __init__(self, is_terminal):
        self.is_terminal, self.text = is_terminal, ""

    def isatty(self):
        return self.is_terminal

    def write(self, text):
        self.text += text

    def flush(self):
        pass


class Clock:
    """Time that passes with each look at it."""

    now = 0.0

    def __call__(self):
        Clock.now += 0.1
        return Clock.now


def written(monkeypatch, is_terminal, n=1000, **options):
    """What a bar of n steps writes, a step each 0.1 or 0.2 seconds."""
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    monkeypatch.setattr(sys, "stderr", Log(is_terminal))
    made = progress.bar(total=n, desc="working", unit="step", **options)
    made._time = Clock()
    made.start_t = made.last_print_t = Clock.now
    with made:
        for _ in range(n):
            made.update()
    return sys.stderr.text


def test_a_log_gets_a_line_every_ten_seconds(monkeypatch):
    Clock.now = 0.0
    text = written(monkeypatch, is_terminal=False)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    assert 5 <= len(lines) <= Clock.now / 10 + 1
    assert all(line.startswith("working: ") and "/1000" in line for line in lines)
    assert lines[-1].startswith("working: 100%")


def test_a_terminal_gets_one_bar_that_moves(monkeypatch):
    text = written(monkeypatch, is_terminal=True)
    assert text.count("\r") > 20 and text.count("\n") == 1


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_silent_bar_writes_nothing(monkeypatch, is_terminal):
    assert written(monkeypatch, is_terminal, silent=True) == ""


def test_what_takes_less_than_two_seconds_shows_nothing(monkeypatch):
    assert written(monkeypatch, is_terminal=True, n=5) == ""


def test_every_bar_obeys_the_environment():
    """In a process of its own: tqdm reads the variable when it is imported."""
    script = (
        "from maskdiff_edu.progress import bar\n"
        "for silent in (False, True):\n"
        "    for b in (bar(total=3, silent=silent), bar(range(3), desc='d', silent=silent)):\n"
        "        assert b.disable\n"
        "        b.refresh(); b.close()\n"
    )
    environment = os.environ | {"TQDM_DISABLE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_training_shows_its_progress_by_this_bar(monkeypatch):
    made = []

    def spy(*arguments, **options):
        made.append(options)
        return bar(*arguments, **options)

    bar = progress.bar
    monkeypatch.setattr(progress, "bar", spy)
    fit(replace(CONFIG, steps=2), Discs(), device="cpu", start=small_network())
    assert made == [{"total": 2, "desc": "training", "unit": "step", "silent": False}]
