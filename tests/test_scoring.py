"""From a scan to maps and numbers, with detectors whose answer is known."""

import json
from dataclasses import dataclass, replace

import nibabel as nib
import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from maskdiff_edu.brains import add_lesions, load_template, make_subject
from maskdiff_edu.detection import (
    Detection,
    DetectorSettings,
    MapSettings,
    MaskedDDPM,
    Method,
    PostProcessing,
    build_method,
    models,
    score_scan,
)
from maskdiff_edu.detection.scoring import Scores, lesion_metrics
from maskdiff_edu.diffusion import Schedule
from maskdiff_edu.errors import Error, ScanError
from maskdiff_edu.files import whole_folder
from maskdiff_edu.scans import load_scan, to_slices
from maskdiff_edu.show import write_scored
from maskdiff_edu.show.report import OUTPUTS
from maskdiff_edu.training import available_models

INTENSITY = build_method("intensity")
AS_IT_IS = PostProcessing(erosions=0, median_size=1)
LESION = (slice(66, 74), slice(40, 50), slice(8, 16))  # on the patient's left: x grows leftwards


@dataclass
class Answers:
    """A detector that gives the same answer whatever it sees."""

    detection: Detection
    settings: MapSettings = MapSettings(postprocessing=AS_IT_IS)  # noqa: RUF009
    name: str = "answers"

    def detect(self, slices):
        return self.detection


@pytest.fixture(scope="module")
def patient():
    """Part of the average brain, a block of bright tissue in its left half marked as a lesion."""
    template = load_template()
    template = replace(template, **_cut(template, ("image", "brain_mask"), 30))
    lesion_mask = np.zeros_like(template.brain_mask)
    lesion_mask[LESION] = template.brain_mask[LESION]
    image = np.where(lesion_mask, 900, template.image).astype(np.float32)
    return replace(template, image=image, lesion_mask=lesion_mask)


def _cut(scan, volumes, bottom, count=24):
    """Some slices of a scan: those volumes, and the affine that fits."""
    affine = scan.affine.copy()
    affine[:3, 3] += affine[:3, 2] * bottom
    part = slice(bottom, bottom + count)
    return {"affine": affine, **{name: getattr(scan, name)[..., part] for name in volumes}}


def answering(detection, **fields):
    """A method around a fixed answer, set to post-process nothing."""
    return replace(INTENSITY, detector=Answers(detection), **fields)


def reoriented(scan, axes):
    """The same scan with its voxel axes in another order and direction."""
    here = nib.io_orientation(scan.affine)
    there = nib.orientations.axcodes2ornt(axes)
    turn = nib.orientations.ornt_transform(here, there)
    affine = scan.affine @ nib.orientations.inv_ornt_aff(turn, scan.image.shape)
    apply = nib.orientations.apply_orientation
    volumes = {k: apply(getattr(scan, k), turn) for k in ("image", "brain_mask", "lesion_mask")}
    return replace(scan, affine=affine, **volumes)


@pytest.mark.parametrize("axes", ["RAS", "ASL"])
def test_another_orientation_gives_the_same_map(patient, axes):
    expected = score_scan(patient, INTENSITY)
    turned = reoriented(patient, axes)
    scored = score_scan(turned, INTENSITY)
    same_way = nib.aff2axcodes(patient.affine)
    back = reoriented(replace(turned, image=scored.anomaly_map), same_way).image
    assert nib.aff2axcodes(turned.affine) == tuple(axes)
    np.testing.assert_allclose(back, expected.anomaly_map, atol=1e-4)
    ours, theirs = (result.scores.lesion.method for result in (expected, scored))
    assert ours.auprc == pytest.approx(theirs.auprc, abs=1e-4)


def test_the_map_lies_where_the_lesion_lies_on_a_finer_tilted_grid(patient, tmp_path):
    """A marker on the patient's left stays there, in world millimetres."""
    tilt = nib.affines.from_matvec(nib.eulerangles.euler2mat(z=0.3, x=-0.2))
    header = nib.Nifti1Image(np.zeros((100, 130, 30)), tilt @ np.diag([1.7, 1.5, 3.1, 1]))
    header.affine[:3, 3] = -header.affine[:3, :3] @ (np.array(header.shape) / 2) + (0, -18, 8)
    header = nib.Nifti1Image(np.zeros(header.shape), header.affine)
    nib.save(_resampled(patient.image, patient, header), tmp_path / "scan.nii.gz")
    nib.save(_resampled(patient.lesion_mask, patient, header), tmp_path / "lesion.nii.gz")
    scan = load_scan(tmp_path / "scan.nii.gz", lesion_mask=tmp_path / "lesion.nii.gz")

    slices = to_slices(scan)
    marked = Detection(slices.lesion_masks.float())
    scored = score_scan(scan, answering(marked))
    found = nib.affines.apply_affine(scan.affine, np.argwhere(scored.anomaly_map > 0.5))
    placed = nib.affines.apply_affine(patient.affine, np.argwhere(patient.lesion_mask))
    assert scored.anomaly_map.shape == scan.image.shape
    np.testing.assert_allclose(found.mean(0), placed.mean(0), atol=1.5)
    assert scored.scores.lesion.method.auprc > 0.95


def _resampled(volume, scan, target):
    """`volume` on the grid of `target`, nearest neighbour."""
    to_voxel = np.linalg.inv(scan.affine) @ target.affine
    indices = np.indices(target.shape).reshape(3, -1).T
    at = np.rint(nib.affines.apply_affine(to_voxel, indices)).astype(int)
    inside = ((at >= 0) & (at < volume.shape)).all(1)
    values = np.where(inside, volume[tuple(np.where(inside[:, None], at, 0).T)], 0)
    return nib.Nifti1Image(values.reshape(target.shape).astype(np.float32), target.affine)


def test_metrics_are_those_of_scikit_learn_over_the_whole_brain(patient):
    scored = score_scan(patient, INTENSITY)
    inside = patient.brain_mask
    lesion = scored.scores.lesion
    expected = average_precision_score(patient.lesion_mask[inside], scored.anomaly_map[inside])
    assert lesion.method.auprc == pytest.approx(expected)
    assert lesion.prevalence == pytest.approx(patient.lesion_mask.sum() / inside.sum())
    assert (scored.anomaly_map[inside] == 0).sum() > 3_000, "the eroded rim counts, with score 0"
    assert lesion.baselines["intensity"] == lesion.method
    assert set(lesion.baselines) == {"intensity", "intensity-equalised"}


def test_high_scores_in_the_lesion_are_good_and_high_scores_elsewhere_bad(patient):
    slices = to_slices(patient)
    right = Detection(slices.lesion_masks.float())
    wrong = Detection((slices.brain_masks & ~slices.lesion_masks).float())
    best = score_scan(patient, answering(right, threshold=0.5)).scores
    worst = score_scan(patient, answering(wrong, threshold=0.5)).scores
    assert best.lesion.method.auprc == best.lesion.method.dice == 1
    assert best.detected_ml == best.lesion.volume_ml > 0
    assert worst.lesion.method.dice == 0
    assert worst.lesion.method.auroc == 0
    assert worst.lesion.method.auprc <= worst.lesion.prevalence


def test_the_reconstruction_comes_in_the_scans_own_units(patient):
    scan = replace(patient, image=3 * patient.image - 500 * patient.brain_mask)
    slices = to_slices(scan)
    copy = Detection(torch.zeros_like(slices.images), slices.images)
    scored = score_scan(scan, answering(copy))
    low, high = np.percentile(scan.image[scan.brain_mask], [1, 99])
    expected = np.where(scan.brain_mask, scan.image.clip(low, high), 0)
    np.testing.assert_allclose(scored.reconstruction, expected, atol=0.01)


def test_a_healthy_subject_scores_below_its_lesioned_twin():
    """With a network that knows the healthy brain, and with the shipped one if there is one."""
    healthy = make_subject(200_000)
    ill = add_lesions(healthy, "tumour", 200_000)
    bottom = int(np.argwhere(ill.lesion_mask)[:, 2].mean()) - 5
    volumes = ("image", "brain_mask", "lesion_mask", "tissues")
    pair = [replace(s, **_cut(s, volumes, bottom, 10)) for s in (healthy, ill)]
    knows = to_slices(pair[0]).images
    once = DetectorSettings(t=150, draws=1)
    methods = [Method(MaskedDDPM(lambda x_t, t: knows, Schedule.cosine(), once, batch_size=100))]
    if models.DEFAULT_MODEL in available_models():
        methods.append(build_method(draws=1, device="cpu"))
    for method in methods:
        low, high = (score_scan(scan, method).scores.volume_score for scan in pair)
        assert low < 0.9 * high


def test_a_lesion_mask_without_a_lesion_gives_no_metrics(patient):
    nothing = replace(patient, lesion_mask=np.zeros_like(patient.lesion_mask))
    outside = replace(patient, lesion_mask=~patient.brain_mask)
    assert score_scan(nothing, INTENSITY).scores.lesion is None
    assert score_scan(outside, INTENSITY).scores.lesion is None


def test_a_lesion_that_fills_the_brain_is_refused_by_name(patient):
    with pytest.raises(ScanError, match=r"mni152-t2: .*lesion that fills the brain"):
        score_scan(replace(patient, lesion_mask=patient.brain_mask), INTENSITY)


def test_what_is_written_can_be_read_back(patient, tmp_path):
    slices = to_slices(patient)
    method = answering(Detection(slices.lesion_masks.float(), slices.images))
    scored = score_scan(patient, method, notes=("look out",))
    write_scored(scored, tmp_path / "new" / "out")
    written = tmp_path / "new" / "out"
    assert {path.name for path in written.iterdir()} == set(OUTPUTS)
    for name, volume in (
        ("anomaly", scored.anomaly_map),
        ("reconstruction", scored.reconstruction),
    ):
        image = nib.load(written / f"{name}.nii.gz")
        np.testing.assert_array_equal(image.get_fdata(dtype=np.float32), volume)
        np.testing.assert_allclose(image.affine, patient.affine)
    scores = json.loads((written / "scores.json").read_text())
    assert scores == scored.scores.as_json()
    assert Scores.from_json(scores, "scores.json") == scored.scores
    assert scores["notes"] == ["look out"]
    assert list(tmp_path.iterdir()) == [tmp_path / "new"], "nothing unfinished is left"


def test_an_older_reconstruction_goes_and_other_files_stay(patient, tmp_path):
    (tmp_path / "reconstruction.nii.gz").write_text("of another model")
    (tmp_path / "scores.json").write_text("old")
    (tmp_path / "notes.txt").write_text("mine")
    scored = score_scan(patient, INTENSITY)
    with pytest.raises(Error, match="expected no such file yet"):
        write_scored(scored, tmp_path)
    assert (tmp_path / "scores.json").read_text() == "old"
    write_scored(scored, tmp_path, overwrite=True)
    kept = {path.name for path in tmp_path.iterdir()}
    assert kept == {"anomaly.nii.gz", "scores.json", "report.html", "notes.txt"}
    assert json.loads((tmp_path / "scores.json").read_text())["model"] == "intensity"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("existed", [False, True])
def test_a_folder_appears_whole_or_not_at_all(tmp_path, existed, error):
    out = tmp_path / "a" / "out"
    if existed:
        out.mkdir(parents=True)
        (out / "mine.txt").write_text("kept")
    before = sorted(tmp_path.rglob("*"))
    expected = Error if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected), whole_folder(out) as folder:
        (folder / "part.txt").write_text("half")
        raise error
    assert sorted(tmp_path.rglob("*")) == before


def test_results_are_readable_by_whom_the_umask_says(tmp_path):
    with whole_folder(tmp_path / "out") as folder:
        (folder / "file.txt").write_text("")
    (tmp_path / "plain").mkdir()
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.slow
def test_ms_lesions_of_a_real_patient_are_found_better_than_by_intensity(real):
    if models.DEFAULT_MODEL not in available_models():
        pytest.skip("the package holds no trained model")
    folder = real / "mslub_patient26"
    scan = load_scan(folder / "T2.nii.gz", lesion_mask=folder / "lesion_mask.nii.gz")
    lesion = score_scan(scan, build_method()).scores.lesion
    others = [found.auprc for found in lesion.baselines.values()]
    assert lesion.method.auprc > max(others) > 0


def test_a_scan_without_a_lesion_mask_has_no_metrics(patient):
    with pytest.raises(ScanError, match="mni152-t2: expected a lesion mask, got none"):
        lesion_metrics(patient.image, replace(patient, lesion_mask=None))
    with pytest.raises(ScanError, match="mni152-t2: expected a lesion voxel inside the brain"):
        lesion_metrics(patient.image, replace(patient, lesion_mask=~patient.brain_mask))
