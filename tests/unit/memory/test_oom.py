"""Lack of memory is recognised from every library, and an error lets go of what it held."""

import errno
import weakref

import numpy as np
import pytest
import torch

from headrace.errors import InferenceFailed
from headrace.memory.oom import bytes_tried, drop_frames, is_out_of_memory


def _cause(error: BaseException) -> BaseException:
    wrapped = InferenceFailed("the model failed")
    wrapped.__cause__ = error
    return wrapped


class Mute(RuntimeError):
    def __str__(self) -> str:
        raise ValueError


@pytest.mark.parametrize(
    ("error", "tried"),
    [
        (MemoryError(), 0),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), 0),
        (MemoryError("Unable to allocate 7.45 GiB for an array with shape (1000000000,)"), int(7.45 * 2**30)),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has"), 2 * 2**30),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4096 bytes."), 4096),
        (RuntimeError("CUDA error: out of memory"), 0),
        (RuntimeError("could not create a primitive"), 0),
        (_cause(MemoryError("tried to allocate 12 bytes")), 12),
    ],
)  # fmt: skip
def test_memory_ended(error: BaseException, tried: int) -> None:
    assert is_out_of_memory(error)
    assert bytes_tried(error) == tried


@pytest.mark.parametrize(
    "error", [ValueError("out of memory"), OSError(2, "none"), RuntimeError("shapes differ"), Mute(), KeyError()]
)
def test_it_was_something_else(error: BaseException) -> None:
    assert not is_out_of_memory(error)
    assert bytes_tried(error) == 0


def test_what_the_allocators_here_really_say_is_recognised() -> None:
    with pytest.raises(RuntimeError) as of_torch:
        torch.empty(2**60, dtype=torch.uint8)
    with pytest.raises(MemoryError) as of_numpy:
        np.empty(2**60, dtype=np.uint8)
    for caught in (of_torch.value, of_numpy.value):
        assert is_out_of_memory(caught)
        assert bytes_tried(caught) == 2**60


def test_an_error_without_frames_keeps_nothing_alive() -> None:
    class Held:
        pass

    def fails() -> None:
        held = Held()
        seen.append(weakref.ref(held))
        raise MemoryError

    seen: list[weakref.ref[Held]] = []
    try:
        fails()
    except MemoryError as error:
        kept = error
    assert seen[0]() is not None
    drop_frames(kept)
    assert seen[0]() is None


def test_a_ring_of_causes_is_no_endless_walk() -> None:
    one, other = ValueError(), KeyError()
    one.__cause__, other.__cause__ = other, one
    assert not is_out_of_memory(one)
