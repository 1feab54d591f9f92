"""What every backend asks before it loads a network, and what it says when memory runs out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from MambaSynthLib.backends.memory import is_exhausted
from MambaSynthLib.errors import ModelError, RequestError
from MambaSynthLib.model.package import Weights, place_of

COUNTER = ".num_batches_tracked"  # batch normalization's, the only integers; used in training


def check_keys(expected: Mapping[str, tuple[int, ...]], weights: Weights, folder: Path) -> None:
    """Compare names, shapes and kinds of number.

    Raises
    ------
    ModelError: names the first key that is missing, left over, of another shape or kind.
    """
    for name in sorted(expected.keys() | weights.keys()):
        kind = "integer" if name.endswith(COUNTER) else "floating"
        if name not in weights:
            problem = f"{name} is missing"
        elif name not in expected:
            problem = f"{name} is left over"
        elif weights[name].shape != expected[name]:
            problem = f"{name} has shape {weights[name].shape} instead of {expected[name]}"
        elif (weights[name].dtype.kind == "f") != (kind == "floating"):
            problem = f"{name} holds {weights[name].dtype} values instead of {kind} ones"
        else:
            continue
        raise ModelError(
            f"{place_of(folder)}: the weights do not fit the network that model.json describes "
            f"({problem}); install the model package again."
        )


@contextmanager
def telling_memory(
    device: str, shape: tuple[int, ...], remedy: str = "--batch 1, or another --device"
) -> Iterator[None]:
    """Turn a runtime's own words for exhausted memory into a RequestError with the remedy."""
    try:
        yield
    except Exception as error:  # each runtime has a class of its own
        if is_exhausted(error):
            raise RequestError(
                f"the memory of {device} is not enough for {shape[0]} slices of {shape[2]} x "
                f"{shape[3]} pixels at a time; use {remedy}."
            ) from error
        raise
