"""No progress bars while the book is built: they go to stderr, which a chapter may not use."""

import os
from typing import Any


def setup(app: Any) -> dict[str, bool]:
    """Called by Sphinx before any chapter is executed; kernels inherit the environment."""
    os.environ["TQDM_DISABLE"] = "1"
    return {"parallel_read_safe": True, "parallel_write_safe": True}
