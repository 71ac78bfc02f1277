"""The private folder for weights that wait on disk in another form than the model's files have."""

import os
from pathlib import Path

from headrace.errors import SetupFailed

#: What transformers writes there.
_OURS = ".safetensors"


def fresh_folder(path: Path) -> Path:
    """Make the folder, empty and for this user alone; what an engine that died left in it goes.

    Raises:
        SetupFailed: If it can't be made, or holds what is not ours.
    """
    remove_folder(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Security: whoever can write there can change the model.
        path.mkdir(mode=0o700)
    except OSError as error:
        raise SetupFailed(f"offload folder {path} can't be made: {error.strerror}") from error
    return path


def remove_folder(path: Path) -> None:
    """Remove the folder, if it is there, and the weights in it.

    Raises:
        SetupFailed: If it is a link or holds what is not ours; nothing else is removed then.
    """
    if not os.path.lexists(path):
        return
    # Security: of a folder that was named by mistake, nothing is lost but weights.
    if path.is_symlink() or not path.is_dir():
        raise SetupFailed(f"offload folder {path} is no folder: name another")
    if foreign := sorted(each.name for each in path.iterdir() if each.suffix != _OURS):
        raise SetupFailed(f"offload folder {path} holds {foreign[0]}, which is not ours: name another")
    try:
        for each in path.iterdir():
            each.unlink()
        path.rmdir()
    except OSError as error:
        raise SetupFailed(f"offload folder {path} can't be removed: {error.strerror}") from error
