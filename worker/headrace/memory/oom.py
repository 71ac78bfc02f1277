"""What a lack of memory looks like, in whichever library it was noticed."""

import errno
import re
import sys
import traceback
from collections.abc import Iterator

#: What the allocators of torch and of oneDNN say; CUDA's error has a class of its own.
_WORDS = ("can't allocate memory", "out of memory", "cannot allocate memory", "could not create a primitive")
_TRIED = re.compile(r"allocate (\d+(?:\.\d+)?) ?(bytes|[KMGTPE]iB)")
_POWERS = "_KMGTPE"
#: Errors behind an error that are looked at.
_DEEPEST = 8


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error, or one behind it, tells that memory ended.

    CUDA raises `torch.OutOfMemoryError`, torch's CPU allocator a plain RuntimeError, numpy and
    Python MemoryError.

    Example:
        >>> is_out_of_memory(MemoryError()), is_out_of_memory(ValueError())
        (True, False)
    """
    return any(_tells(each) for each in _behind(error))


def bytes_tried(error: BaseException) -> int:
    """Bytes of the allocation that failed; 0 if the error does not say.

    Example:
        >>> bytes_tried(MemoryError("Unable to allocate 2.00 KiB for an array"))
        2048
    """
    found = next((match for each in _behind(error) if (match := _TRIED.search(_text(each)))), None)
    if found is None:
        return 0
    return int(float(found[1]) * 1024 ** max(0, _POWERS.find(found[2][0])))


def drop_frames(error: BaseException) -> None:
    """Let go of what the functions that raised it held: an error keeps their tensors alive."""
    for each in _behind(error):
        traceback.clear_frames(each.__traceback__)
        each.__traceback__ = None


def _tells(error: BaseException) -> bool:
    torch = sys.modules.get("torch")
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if isinstance(error, MemoryError) or (torch is not None and isinstance(error, torch.OutOfMemoryError)):
        return True
    text = _text(error).lower()
    return isinstance(error, RuntimeError) and any(words in text for words in _WORDS)


def _behind(error: BaseException) -> Iterator[BaseException]:
    current: BaseException | None = error
    for _ in range(_DEEPEST):
        if current is None:
            return
        yield current
        current = current.__cause__ or current.__context__


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - a plugin's own class may raise anything
        return ""
