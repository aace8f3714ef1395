"""The command that writes a network for programs without PyTorch."""

from typing import Annotated

import typer

from maskdiff_edu.cli.options import OutFolder, Overwrite, reports_errors
from maskdiff_edu.detection.export import export_model


@reports_errors
def export(
    model: Annotated[str, typer.Argument(help="A shipped model, or a .safetensors file.")],
    out: OutFolder,
    overwrite: Overwrite = False,
) -> None:
    """Write a network as ONNX, with a manifest that says how it is used.

    NAME.onnx holds the graph, NAME.safetensors its weights, both are needed. They are compared
    with PyTorch on 20 slices first. It takes about half a minute, and the packages of the extra
    "export".

    **Examples**

    maskdiff-edu export fpm-cm --out exported

    maskdiff-edu export model/model.safetensors --out exported
    """
    exported = export_model(model, out, overwrite=overwrite)
    for path in exported.files:
        typer.echo(f"{path}  {path.stat().st_size / 1024:.0f} KB")
    typer.echo(
        f"weights {exported.weights}, at most {exported.largest_difference:.0e} from PyTorch's "
        "answers"
    )
