"""Soft borders: the frozen patient at no spread, and the blur of the field at any other."""

import numpy as np
import pytest

from maskdiff_edu.brains import LESION_KINDS, add_lesions, make_subject
from maskdiff_edu.brains.soft_lesions import add_soft_lesions


@pytest.fixture(scope="module")
def subject():
    return make_subject(100_003)


@pytest.mark.parametrize("kind", LESION_KINDS)
def test_no_spread_is_the_frozen_patient(kind, subject):
    hard, soft = add_lesions(subject, kind, 1), add_soft_lesions(subject, kind, 1, 0.0)
    np.testing.assert_array_equal(soft.lesion_mask, hard.lesion_mask)
    np.testing.assert_allclose(soft.image, hard.image, rtol=1e-5)


def test_a_spread_softens_the_border_and_nothing_else(subject):
    hard, soft = (add_soft_lesions(subject, "subtle", 1, spread) for spread in (0.0, 1.0))
    np.testing.assert_array_equal(soft.lesion_mask, hard.lesion_mask)
    change = [np.abs(patient.image - subject.image) for patient in (hard, soft)]
    outside = ~hard.lesion_mask
    assert change[1][outside].sum() > 2 * change[0][outside].sum()  # it fades out
    assert change[1][hard.lesion_mask].sum() < change[0][hard.lesion_mask].sum()
    steepest = [np.abs(np.gradient(c, axis=0)).max() for c in change]
    assert steepest[1] < 0.9 * steepest[0]  # the scanner itself blurs both


def test_a_negative_spread_is_refused(subject):
    with pytest.raises(ValueError, match="spread: expected 0 or more"):
        add_soft_lesions(subject, "ms", 1, -1.0)
