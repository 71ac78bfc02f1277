"""PluginManifest: what a plugin says about itself, in a file that can be read without importing it."""

from pathlib import Path, PurePosixPath
from typing import Any, Literal, Self

import jsonschema_rs
import orjson
from packaging.requirements import InvalidRequirement, Requirement
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from headrace.errors import ManifestError
from headrace.sdk.weights import WeightSource

#: Name of the file in a plugin's folder.
MANIFEST_NAME = "plugin_manifest.json"


class PluginManifest(BaseModel):
    """A plugin's `plugin_manifest.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: Model name in queues, in URLs and on the command line.
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$", max_length=64)
    #: Version of the plugin, not of headrace.
    version: str = Field(min_length=1)
    #: `module:Class` of the ModelPluginInterface.
    entry_point: str = Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$")
    #: What the model does: `embed`, `generate`, `classify`, `transcribe` ...
    task: str = Field(min_length=1)
    #: One sentence for `headrace models`.
    description: str = ""
    #: TOML file with the configuration's values, relative to the manifest; None for the defaults.
    config: str | None = None
    #: Where the weights are by default; None for a plugin that has none.
    weights: WeightSource | None = None
    #: Packages that must be installed, as in `pip install` (`torch>=2.8`).
    requirements: list[str] = []
    #: Kinds of device that the model runs on.
    devices: list[Literal["cpu", "cuda"]] = Field(default=["cpu", "cuda"], min_length=1)
    #: `dynamic` runs batches to their end; `continuous` lets generations join and leave.
    batching: Literal["dynamic", "continuous"] = "dynamic"
    #: JSON schema of one input.
    input_schema: dict[str, Any] = {}
    #: JSON schema of a job's params, as one object; empty for a model that takes none.
    params_schema: dict[str, Any] = {}
    #: JSON schema of one output.
    output_schema: dict[str, Any] = {}
    #: OpenAI route that the model answers, if any (`/v1/embeddings`).
    api: str | None = None
    #: The input's main field, which `headrace run` fills; None if an input is no object.
    field: str | None = None

    @property
    def beside_names(self) -> frozenset[str]:
        """Params that may stand beside an input, in the same object: those whose names no field of an input has."""
        return frozenset(self.params_schema.get("properties", {})) - frozenset(self.input_schema.get("properties", {}))

    @property
    def module(self) -> str:
        """The module that the entry point names."""
        return self.entry_point.partition(":")[0]

    @property
    def class_name(self) -> str:
        """The class that the entry point names."""
        return self.entry_point.partition(":")[2]

    @field_validator("config")
    @classmethod
    def _stay_inside(cls, value: str | None) -> str | None:
        path = PurePosixPath(value or ".")
        if path.is_absolute() or ".." in path.parts:
            raise ValueError("must be a path inside the plugin's folder")
        return value

    @field_validator("requirements")
    @classmethod
    def _parse(cls, value: list[str]) -> list[str]:
        for each in value:
            try:
                Requirement(each)
            except InvalidRequirement as error:
                raise ValueError(f"{each!r} is no requirement as pip takes it: {error}") from None
        return value

    @field_validator("input_schema", "params_schema", "output_schema")
    @classmethod
    def _check_schema(cls, value: dict[str, Any]) -> dict[str, Any]:
        try:
            jsonschema_rs.meta.validate(value)
        except jsonschema_rs.ValidationError as error:
            raise ValueError(f"is no JSON schema: {error.message}") from None
        return value

    @model_validator(mode="after")
    def _field_is_an_input(self) -> Self:
        properties = self.input_schema.get("properties", {})
        if self.field is not None and properties and self.field not in properties:
            raise ValueError(f"field {self.field!r} is no property of input_schema")
        return self


def read_manifest(path: Path) -> PluginManifest:
    """Read and check a manifest file.

    Raises:
        ManifestError: If it can't be read, is no JSON or breaks the rules; the message
            names the file and each field that is wrong.
    """
    try:
        return PluginManifest.model_validate(orjson.loads(path.read_bytes()))
    except OSError as error:
        raise ManifestError(f"{path} cannot be read: {error.strerror}") from None
    except orjson.JSONDecodeError as error:
        raise ManifestError(f"{path} is not JSON: {error}") from None
    except ValidationError as error:
        raise ManifestError(f"{path} is no valid manifest: {describe_errors(error)}") from None


def describe_errors(error: ValidationError) -> str:
    """Say in one line what pydantic found, field by field.

    Example:
        >>> try:
        ...     WeightSource(path="/a", hub="b")
        ... except ValidationError as error:
        ...     describe_errors(error)
        'give exactly one of path, package, wheel and hub'
    """
    return "; ".join(_describe(each["loc"], each["msg"], each["type"]) for each in error.errors())


def _describe(location: tuple[int | str, ...], message: str, kind: str) -> str:
    text = {"extra_forbidden": "unknown field, remove it", "missing": "missing, add it"}.get(kind, message)
    text = text.removeprefix("Value error, ")
    return f"{'.'.join(map(str, location))}: {text}" if location else text
