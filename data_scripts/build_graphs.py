"""Write the ONNX graphs and manifests of the shipped models, which the book's pages run.

    pip install -e ".[export]" && python data_scripts/build_graphs.py

They lie beside the weights that they point into. Needed again when a shipped model, its card or
the network's code changes; tests/test_export.py says when.
"""

import shutil
import tempfile
from pathlib import Path

from maskdiff_edu.detection.export import export_model, exported_names
from maskdiff_edu.training import available_models
from maskdiff_edu.training.checkpoints import MODELS


def main() -> None:
    for name in available_models():
        graph, _, manifest = exported_names(name)
        with tempfile.TemporaryDirectory() as folder:
            exported = export_model(name, Path(folder) / "exported")
            for file in (graph, manifest):
                shutil.copyfile(Path(folder) / "exported" / file, MODELS / file)
        print(f"{name}: {exported.weights}, {exported.largest_difference:.0e} from PyTorch")


if __name__ == "__main__":
    main()
