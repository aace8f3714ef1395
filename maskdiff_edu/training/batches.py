"""The batches of a training, each from its own random numbers."""

import numpy as np
import torch


def make_generator(seed: int, n: int, device: torch.device) -> torch.Generator:
    """A random generator on `device` for batch n, unrelated to those of its neighbours.

    `seed` and `n` are at least 0; else ValueError.
    """
    mixed = np.random.SeedSequence([seed, n]).generate_state(1)[0]
    return torch.Generator(device).manual_seed(int(mixed))
