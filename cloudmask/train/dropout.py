"""Dropout that differs from rank to rank, and goes on after a resumption as it would have."""

from __future__ import annotations

import keras
import numpy as np


def apart(model: keras.Model, rank: int) -> None:
    """Give a rank random numbers of its own, once all have taken the variables of rank 0.

    Keras keeps a seed and a count of draws for each layer. The count, which a checkpoint holds, is
    left as it is; the seed becomes one that follows from rank 0's and the rank.
    """
    if rank == 0:
        return
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dropout):
            state = layer.seed_generator.state
            seed, draws = np.asarray(state.value).tolist()
            own = np.random.SeedSequence([seed, rank]).generate_state(1)[0] >> 1
            state.assign(np.array([own, draws], state.dtype))
