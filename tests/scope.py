"""How much the tests do: what `make test` has time for, or everything, as `make test-all`."""

import os

EVERYTHING = bool(os.environ.get("MASKDIFF_ALL"))
