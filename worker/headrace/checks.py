"""Checks: inputs and params against the schemas of their models, before anything is queued."""

from collections.abc import Callable, Mapping
from typing import Any

from headrace.broker.inputs import InputCheck
from headrace.errors import ConfigError, InvalidInput, UnknownModel
from headrace.sdk.manifest import PluginManifest


class Checks:
    """The check of each model, compiled when it is first asked for."""

    def __init__(self, manifest: Callable[[str], PluginManifest], *, max_input_bytes: int) -> None:
        self._manifest = manifest
        self._max_input_bytes = max_input_bytes
        self._checks: dict[str, InputCheck] = {}

    def of(self, model: str, params: Mapping[str, Any] | None) -> InputCheck:
        """The check of a model's inputs, for jobs with these parameters.

        Raises:
            UnknownModel: If nobody knows the model, or its name is no text.
            InvalidInput: If it takes no such parameters.
        """
        if not isinstance(model, str):
            raise UnknownModel(f"model must be the name of one, not {model!r}")
        check = self._checks.get(model) or self._make(model)
        check.check_params(params or {})
        return check

    def _make(self, model: str) -> InputCheck:
        manifest = self._manifest(model)
        check = self._checks[model] = InputCheck(
            model,
            manifest.input_schema,
            params_schema=manifest.params_schema,
            beside=manifest.beside_names,
            max_input_bytes=self._max_input_bytes,
        )
        return check


def check_single(check: InputCheck, value: Any) -> None:
    """Check an input that is to be a job of its own.

    Raises:
        InvalidInput: Also if it is a list.
    """
    if isinstance(value, list):
        raise InvalidInput("a list would be read as a chunk of inputs: use submit_many or map")
    check.size(value)


def check_counts(**counts: Any) -> None:
    """Check arguments that are whole numbers from one on, or None.

    Raises:
        ConfigError: Names the one that is not.
    """
    for name, given in counts.items():
        if given is not None and (not isinstance(given, int) or given < 1):
            raise ConfigError(f"{name} must be at least 1, not {given!r}")


def check_job_id(job_id: Any) -> None:
    """Check what is to be a job's id: any text, since Celery's producers may choose it.

    Raises:
        InvalidInput: If it is none.
    """
    if not isinstance(job_id, str) or not job_id.isprintable() or not job_id:
        raise InvalidInput(f"a job's id must be printable text, not {job_id!r}")
