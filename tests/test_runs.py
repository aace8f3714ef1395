"""Runs on disk and their comparison, with detectors and subjects whose numbers are known."""

import dataclasses
import json
import os
from dataclasses import replace

import numpy as np
import pytest
import torch

from maskdiff_edu.detection import (
    Detection,
    DetectorSettings,
    MapSettings,
    Method,
    PostProcessing,
    build_method,
    metrics,
)
from maskdiff_edu.detection.cards import Card
from maskdiff_edu.detection.scoring import LesionMetrics
from maskdiff_edu.errors import ResultsError, ScanError, SettingsError
from maskdiff_edu.evaluation import Run, choose_settings, groups, runs
from maskdiff_edu.evaluation.results import GroupScores, SubjectScores
from maskdiff_edu.scans import Scan
from maskdiff_edu.show import plot_comparison

SHAPE, AFFINE = (48, 48, 8), np.diag([2.0, 2.0, 2.0, 1.0])


def subject(seed, ill=True):
    """Noise in a block of brain, with a block of lesion that is a little brighter."""
    rng = np.random.default_rng(seed)
    brain_mask = np.zeros(SHAPE, bool)
    brain_mask[8:40, 8:40] = True
    lesion_mask = np.zeros(SHAPE, bool)
    lesion_mask[16:22, 16:22, 2:6] = ill
    image = brain_mask * (100 + rng.normal(0, 10, SHAPE)) + 15 * lesion_mask
    return Scan(image.astype(np.float32), brain_mask, AFFINE, f"s{seed}", lesion_mask)


def loads(n, ill=True, first=0):
    return [lambda i=i: subject(first + i, ill) for i in range(n)]


def test_a_run_holds_what_was_measured_and_reads_back_the_same(tmp_path):
    subjects = {"healthy": loads(3, ill=False, first=10), "ms": loads(3)}
    path, run = runs.measure(tmp_path, build_method("intensity"), subjects, loads(2, ill=False))
    assert path.name == "intensity-seed0.json"
    [stored] = runs.load_runs(tmp_path)
    assert stored.groups.keys() == run.groups.keys()
    found, measured = stored.groups["ms"], run.groups["ms"]
    each = [subject.method.auprc for subject in found.subjects]
    assert found.mean["method"].auprc.value == pytest.approx(np.mean(each))
    assert found.auroc_volume == pytest.approx(measured.auroc_volume)
    assert found.subjects[0].volume_score == pytest.approx(measured.subjects[0].volume_score)
    assert stored.threshold == pytest.approx(run.threshold, rel=1e-5)
    assert stored.identity == run.identity


def test_an_interrupted_run_goes_on_without_measuring_again(tmp_path, monkeypatch):
    method, subjects = build_method("intensity"), {"a": loads(2), "b": loads(2, first=5)}
    whole = runs.measure(tmp_path / "whole", method, subjects)[1]
    measured, evaluate_group = [], runs.evaluate_group

    def fails_at_b(name, *arguments):
        measured.append(name)
        if measured == ["a", "b"]:
            raise KeyboardInterrupt
        return evaluate_group(name, *arguments)

    monkeypatch.setattr(runs, "evaluate_group", fails_at_b)
    with pytest.raises(KeyboardInterrupt):
        runs.measure(tmp_path / "part", method, subjects)
    resumed = runs.measure(tmp_path / "part", method, subjects)[1]
    assert measured == ["a", "b", "b"]
    assert resumed.groups["b"] == whole.groups["b"]


def test_another_run_in_the_same_file_is_refused(tmp_path):
    runs.measure(tmp_path, build_method("intensity"), {"a": loads(2)}, about={"n": 2})
    with pytest.raises(
        ValueError, match=r"intensity-seed0\.json: expected a run with n=3, got one with n=2"
    ):
        runs.measure(tmp_path, build_method("intensity"), {"a": loads(3)}, about={"n": 3})


@pytest.mark.parametrize(("first", "second"), [({"n": 2}, {}), ({}, {"contrast": "t1"})])
def test_what_only_one_of_two_runs_tells_parts_them_too(tmp_path, first, second):
    method, subjects = build_method("intensity"), {"a": loads(2)}
    runs.measure(tmp_path, method, subjects, about=first)
    with pytest.raises(ValueError, match="expected a run with"):
        runs.measure(tmp_path, method, subjects, about=second)


@pytest.mark.parametrize("name", ["../x", "/tmp/x", "a/b", "a\\b", ".x", "x.", "", "a b", "x" * 65])
def test_no_method_is_a_path(tmp_path, name):
    """It becomes the name of a file."""
    method = replace(build_method("intensity"), card=Card(method=name or "-"))
    with pytest.raises(ValueError, match="method: expected a name"):
        runs.measure(tmp_path / "results", method, {"a": loads(2)})
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "run.json").write_text(json.dumps({"method": name, "seed": 0, "groups": {}}))
    with pytest.raises(ResultsError, match=r"run\.json: method: expected a name"):
        runs.load_runs(tmp_path)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"method": "a"}'])
def test_files_that_are_no_runs_are_named(tmp_path, content):
    (tmp_path / "odd.json").write_text(content)
    with pytest.raises(ValueError, match=r"odd\.json: expected a run"):
        runs.load_runs(tmp_path)


def test_an_empty_folder_is_no_result(tmp_path):
    with pytest.raises(ValueError, match="found none"):
        runs.load_runs(tmp_path)


def made_run(method, seed, values, names=None):
    """A run with these AUPRCs, one a subject, and the baselines at .1."""
    names = names or [f"s{i}" for i in range(len(values))]
    base = {name: LesionMetrics(0.1) for name in ("intensity", "intensity-equalised")}
    subjects = tuple(
        SubjectScores(name, 0.01, maps={**base, "method": LesionMetrics(value)})
        for name, value in zip(names, values, strict=True)
    )
    return Run(method, seed, groups={"ms": GroupScores(subjects)})


def test_a_comparison_averages_over_seeds_and_pairs_the_subjects():
    ddpm = [0.2, 0.4, 0.6, 0.8]
    better = [[0.3, 0.5, 0.7, 0.9], [0.5, 0.7, 0.9, 1.0]]
    made = [made_run("ddpm", 0, ddpm), *(made_run("fpm-cm", i, b) for i, b in enumerate(better))]
    rows = runs.compare(made)["ms"]
    assert list(rows) == ["intensity", "intensity-equalised", "ddpm", "fpm-cm"]
    mean = np.mean(better, axis=0)
    assert rows["fpm-cm"].value == pytest.approx(mean.mean())
    assert rows["fpm-cm"].seeds == pytest.approx([0.6, 0.775])
    assert rows["fpm-cm"].ci == metrics.bootstrap(mean)[1:]
    assert rows["fpm-cm"].difference == metrics.paired_difference(mean, ddpm)
    assert rows["ddpm"].difference is None and rows["ddpm"].corrected is None
    over_seeds = metrics.difference_over_seeds(better, [ddpm], level=1 - 0.05 / 3)
    assert rows["fpm-cm"].corrected == over_seeds[1:]  # three rows beside the reference
    assert rows["intensity"].value == pytest.approx(0.1)
    table = runs.as_table({"ms": rows})
    assert f"| ms | fpm-cm | 2 | {mean.mean():.3f} |" in table
    assert len(table.splitlines()) == 2 + len(rows)


def test_runs_on_different_subjects_are_not_compared():
    other = made_run("fpm-cm", 0, [0.1, 0.2], names=["s0", "s7"])
    with pytest.raises(ValueError, match="expected the same subjects"):
        runs.compare([made_run("ddpm", 0, [0.1, 0.2]), other])


@dataclasses.dataclass
class OwnDetector:
    """One that nobody else knows; it also says how many threads torch has while it works."""

    threads: set[int]
    settings: MapSettings = MapSettings()  # noqa: RUF009
    name: str = "own"

    def detect(self, slices):
        self.threads.add(torch.get_num_threads())
        return Detection((slices.images + 1) / 2 * slices.brain_masks)


def test_a_detector_of_your_own_is_measured_like_any_other(tmp_path):
    detector = OwnDetector(set(), MapSettings(postprocessing=PostProcessing(0, 1)))
    method = Method(detector)
    plain = build_method("intensity", postprocessing=PostProcessing(0, 1))
    for measured in (method, plain):
        runs.measure(tmp_path, measured, {"ms": loads(3)}, loads(1, ill=False))
    rows = runs.compare(runs.load_runs(tmp_path), reference="intensity")["ms"]
    assert rows["own"].value == pytest.approx(rows["intensity"].value)


def test_subjects_at_a_time_share_the_threads_and_stay_in_order():
    detector = OwnDetector(set())
    method = Method(detector)
    before = torch.get_num_threads()
    try:
        for threads, each in ((1, 1), (4, 1), (20, 2)):  # 8 subjects at most
            torch.set_num_threads(threads)
            detector.threads.clear()
            found = groups.evaluate_group("ms", method, loads(9))
            assert [subject.name for subject in found.subjects] == [f"s{i}" for i in range(9)]
            assert detector.threads == {each}
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_an_error_in_one_subject_reaches_the_caller():
    def broken():
        raise ValueError("no such scan")

    with pytest.raises(ValueError, match="no such scan"):
        groups.evaluate_group("ms", build_method("intensity"), [*loads(2), broken, *loads(2)])


def odd_run(folder, **changes):
    """A run of one subject, with something else in it."""
    subject = {"name": "s0", "prevalence": 0.1, "method": {"auprc": 0.5}, **changes}
    run = {"method": "a", "seed": 0, "groups": {"ms": {"subjects": [subject]}}}
    (folder / "odd.json").write_text(json.dumps(run))
    return folder


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": 3}, "name: expected a text, got 3"),
        ({"prevalence": "high"}, "prevalence: expected a finite number, got 'high'"),
        ({"volume_score": [1]}, r"volume_score: expected an object {...}, got \[1\]"),
        ({"method": {"auroc": 0.5}}, r"method: expected auprc, got \['auroc'\]"),
        ({"l1": True}, "l1: expected a finite number, got True"),
    ],
)
def test_what_is_wrong_in_a_run_is_named(tmp_path, changes, message):
    where = r"odd\.json: groups: ms: subjects\[0\]: (maps: )?"
    with pytest.raises(ResultsError, match=where + message):
        runs.load_runs(odd_run(tmp_path, **changes))


GROUP = {"subjects": []}
HOSTILE = {
    "not a number": ('{"method": "a", "seed": NaN, "groups": {}}', "NaN is no number"),
    "infinite": ('{"method": "a", "seed": 0, "groups": {"ms": Infinity}}', "Infinity is no number"),
    "null": ("null", "got None"),
    "list": ("[]", r"got \[\]"),
    "text": ('"run"', "got 'run'"),
    "no groups": ('{"method": "a", "seed": 0}', "method, seed and groups"),
    "deep": ("[" * 10**5, "nested too deeply"),
    "deep about": ('{"method": "a", "seed": 0, "x": ' + "[" * 10**5, "nested too deeply"),
    "binary": ("\0\0", "no JSON"),
    "a path": ('{"method": "../x", "seed": 0, "groups": {}}', "method: expected a name"),
    "a formula": ('{"method": "$\\\\frac$", "seed": 0, "groups": {}}', "method: expected a name"),
    "a long name": ('{"method": "' + "a" * 10**6 + '", "seed": 0, "groups": {}}', "at most 64"),
    "a negative seed": ('{"method": "a", "seed": -1, "groups": {}}', "seed must be a whole number"),
    "an endless seed": ('{"method": "a", "seed": 1' + "0" * 99 + ', "groups": {}}', "seed must be"),
    "many kinds": (
        json.dumps(
            {"method": "a", "seed": 0, "groups": {f"k{i}": {"subjects": []} for i in range(300)}}
        ),
        "at most 32 kinds, got 300",
    ),
    "a kind that is a formula": (
        json.dumps({"method": "a", "seed": 0, "groups": {"$x$": {"subjects": []}}}),
        "groups: expected a name",
    ),
}


@pytest.mark.parametrize("text, message", HOSTILE.values(), ids=HOSTILE)
def test_a_file_that_is_no_run_is_refused_in_a_line(tmp_path, text, message):
    path = tmp_path / "odd.json"
    path.write_text(text)
    with pytest.raises(ResultsError, match=message) as caught:
        runs.load_runs(tmp_path)
    assert str(path) in str(caught.value) and len(str(caught.value)) < 500


@pytest.mark.parametrize("metric", ["auprc", "auroc", "best_dice"])
@pytest.mark.parametrize("value", [-0.1, 1.1, 1e308])
def test_a_metric_that_no_map_can_have_is_refused(tmp_path, metric, value):
    with pytest.raises(ResultsError, match=f"{metric} must be a number in 0..1"):
        runs.load_runs(odd_run(tmp_path, method={"auprc": 0.5, metric: value}))


def test_nothing_but_a_file_is_waited_for(tmp_path):
    os.mkfifo(tmp_path / "odd.json")
    with pytest.raises(ResultsError, match="a folder, a pipe or nothing"):
        runs.load_runs(tmp_path)
    (tmp_path / "odd.json").unlink()
    (tmp_path / "odd.json").symlink_to("/dev/zero")
    with pytest.raises(ResultsError, match="a folder, a pipe or nothing"):
        runs.load_runs(tmp_path)


def test_every_kind_that_any_run_has_is_compared():
    first, second = made_run("ddpm", 0, [0.5, 0.6]), made_run("ipm", 0, [0.4, 0.7])
    second = replace(second, groups={"tumour": second.groups["ms"], **second.groups})
    assert list(runs.compare([first, second])) == ["ms", "tumour"]
    assert "ddpm" not in runs.compare([first, second])["tumour"]


def test_a_reference_that_was_not_measured_is_refused():
    with pytest.raises(SettingsError, match=r"reference: expected one of ipm, .* got mdppm"):
        runs.compare([made_run("ipm", 0, [0.5, 0.6])], reference="mdppm")
    rows = runs.compare([made_run("ipm", 0, [0.5, 0.6])])["ms"]
    assert rows["ipm"].difference is None, "without ddpm there is nothing to compare with"


def test_one_training_in_two_files_is_not_two_trainings():
    made = made_run("ipm", 0, [0.5, 0.6])
    with pytest.raises(ResultsError, match="each training once, got ipm-seed0"):
        runs.compare([made, made])


def test_one_patient_gives_a_table_without_intervals():
    compared = runs.compare([made_run("ddpm", 0, [0.5]), made_run("ipm", 0, [0.7])])
    row = compared["ms"]["ipm"]
    assert (row.value, row.ci, row.difference) == (0.7, None, None)
    assert "| ms | ipm | 1 | 0.700 |  |  |" in runs.as_table(compared)
    assert plot_comparison(compared).axes


def test_one_subject_that_cannot_be_used_keeps_no_other():
    def fills_the_brain():
        scan = loads(1)[0]()
        return replace(scan, name="full", lesion_mask=scan.brain_mask)

    told = []
    mixed = [loads(3)[0], fills_the_brain, loads(3)[2]]
    found = groups.evaluate_group("ms", build_method("intensity"), mixed, on_error=told.append)
    assert [subject.name for subject in found.subjects] == ["s0", "s2"]
    assert len(told) == 1 and "full: " in str(told[0])
    with pytest.raises(SettingsError, match="expected subjects that can be used, got none"):
        groups.evaluate_group("ms", build_method("intensity"), mixed[1:2], on_error=told.append)


def test_a_key_of_a_later_version_is_no_reason_to_refuse_a_run(tmp_path):
    (tmp_path / "a.json").write_text(
        json.dumps(made_run("a", 0, [0.5]).as_json() | {"mood": "good"})
    )
    [run] = runs.load_runs(tmp_path)
    assert run.about == {"mood": "good"} and run.groups["ms"].subjects[0].method.auprc == 0.5


def test_a_comparison_needs_subjects_with_lesions_and_a_metric_that_was_measured():
    healthy = Run("ddpm", 0, groups={"healthy": GroupScores((SubjectScores("s0", 0.0),))})
    with pytest.raises(ResultsError, match="expected a group of subjects with lesions, got none"):
        runs.compare([healthy])
    made = made_run("ddpm", 0, [0.5, 0.6])
    with pytest.raises(SettingsError, match=r"metric: expected one of auprc, .* got mood"):
        runs.compare([made], metric="mood")
    with pytest.raises(ResultsError, match="ddpm-seed0: expected auroc of every subject"):
        runs.compare([made], metric="auroc")


def test_a_comparison_by_dice_has_no_rows_for_what_has_no_threshold(tmp_path):
    method = replace(build_method("intensity"), threshold=0.5)
    runs.measure(tmp_path, method, {"ms": loads(3)})
    rows = runs.compare(runs.load_runs(tmp_path), reference="intensity", metric="dice")["ms"]
    assert list(rows) == ["intensity"] and 0 <= rows["intensity"].value <= 1


def test_groups_without_subjects_and_methods_without_a_network_are_refused():
    method = build_method("intensity")
    with pytest.raises(SettingsError, match="ms: expected subjects, got none"):
        groups.evaluate_group("ms", method, [])
    with pytest.raises(
        SettingsError, match="a method with a network, got 2 subjects and intensity"
    ):
        choose_settings(method, loads(2))
    with pytest.raises(SettingsError, match="expected methods with a network, got intensity"):
        method.with_settings(DetectorSettings())
    with pytest.raises(
        ScanError, match="s0: expected a lesion in the brain to choose by, got none"
    ):
        choose_settings(build_method("fpm-cm", device="cpu"), loads(1, ill=False))


def test_a_group_that_could_not_be_read_back_is_refused_before_anything_is_measured(tmp_path):
    def load():
        raise AssertionError("measured")

    with pytest.raises(SettingsError, match="groups: expected a name"):
        runs.measure(tmp_path, build_method("intensity"), {"with spaces": [load]})
    assert not list(tmp_path.iterdir())
