"""A NIfTI file in, 2 mm slices in [-1, 1] out, and the way back to the scan's own grid."""

from maskdiff_edu.scans.folders import ScanFiles, find_scans, write_subject
from maskdiff_edu.scans.nifti import save_volume
from maskdiff_edu.scans.volumes import Scan, Slices, load_scan, to_slices, to_volume

__all__ = [
    "Scan",
    "ScanFiles",
    "Slices",
    "find_scans",
    "load_scan",
    "save_volume",
    "to_slices",
    "to_volume",
    "write_subject",
]
