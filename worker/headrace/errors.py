"""Every error that leaves headrace, in one tree.

    HeadraceError                 internal_error
    +-- ConfigError               invalid_config
    +-- BrokerUnavailable         broker_unavailable      (retryable)
    +-- QueueFull                 queue_full              (retryable)
    +-- ClientClosed              client_closed
    +-- UnknownModel              unknown_model
    +-- InvalidInput              invalid_input
    |   +-- InputTooLarge         input_too_large
    |   +-- InvalidLine           invalid_line
    +-- PluginError               plugin_error
    |   +-- ManifestError         invalid_manifest
    |   +-- DuplicatePlugin       duplicate_plugin
    |   +-- MissingRequirement    missing_requirement
    |   +-- PluginImportFailed    plugin_import_failed
    |   +-- WeightsError          weights_error
    |   +-- SetupFailed           setup_failed
    |       +-- ModelTooLarge     model_too_large
    +-- InferenceFailed           inference_failed
    |   +-- BatchLawBroken        batch_law_broken
    |   +-- OutOfMemory           out_of_memory           (retryable while others use the device)
    |   +-- InvalidOutput         invalid_output
    +-- EngineDied                engine_died
    +-- AttemptsExhausted         attempts_exhausted
    +-- TimeLimitExceeded         time_limit_exceeded
    +-- DeadlineExceeded          deadline_exceeded
    +-- JobRevoked                revoked
    +-- JobLost                   job_lost
    +-- ResultTooLarge            result_too_large
    +-- ResultTimeout             result_timeout          (also a TimeoutError)

A message says what happened, to which job or file, and what to do about it.
"""

from collections.abc import Sequence
from typing import Any


class HeadraceError(Exception):
    """Something went wrong inside headrace; the worker's log has the whole story."""

    #: Stable name of the error on the wire, in output rows and in docs.
    code: str = "internal_error"
    #: Whether running the same job again may succeed; such errors use Celery's retry.
    retryable: bool = False

    def to_wire(self) -> dict[str, Any]:
        """The `{"code", "message"}` mapping that results and output rows carry."""
        return {"code": self.code, "message": _message_of(self)}


class ConfigError(HeadraceError):
    """A setting or a model's configuration has a value that is not allowed."""

    code = "invalid_config"


class BrokerUnavailable(HeadraceError):
    """Redis cannot be reached."""

    code = "broker_unavailable"
    retryable = True


class QueueFull(HeadraceError):
    """As many jobs of the model wait as `max_queue_size` allows."""

    code = "queue_full"
    retryable = True
    #: Ids of the jobs of the same call that were queued before it was full.
    job_ids: Sequence[str] = ()


class ClientClosed(HeadraceError):
    """The client is closed, and hears of no results any more."""

    code = "client_closed"


class UnknownModel(HeadraceError):
    """No plugin of that name is known to the workers or on this machine."""

    code = "unknown_model"


class InvalidInput(HeadraceError):
    """The model's input schema or its `prepare` rejects the input, or an argument that goes with it is none."""

    code = "invalid_input"


class InputTooLarge(InvalidInput):
    """The input is larger than `max_input_bytes`."""

    code = "input_too_large"


class InvalidLine(InvalidInput):
    """A line of an input file is not a JSON object with the wanted field."""

    code = "invalid_line"


class PluginError(HeadraceError):
    """A plugin cannot be used."""

    code = "plugin_error"


class ManifestError(PluginError):
    """A `plugin_manifest.json` is missing a field, has an unknown one or is not JSON."""

    code = "invalid_manifest"


class DuplicatePlugin(PluginError):
    """Two manifests claim the same model name; the first one found is used."""

    code = "duplicate_plugin"


class MissingRequirement(PluginError):
    """A package that the manifest lists under `requirements` is not installed."""

    code = "missing_requirement"


class PluginImportFailed(PluginError):
    """The manifest's `entry_point` does not import or is no ModelPluginInterface."""

    code = "plugin_import_failed"


class WeightsError(PluginError):
    """Weights are missing, have another sha256 or are in a format that is not allowed."""

    code = "weights_error"


class SetupFailed(PluginError):
    """A plugin raised while it was initialised or loaded its model."""

    code = "setup_failed"


class ModelTooLarge(SetupFailed):
    """The device can't take the model, even with its weights on the host and on disk."""

    code = "model_too_large"


class InferenceFailed(HeadraceError):
    """The plugin raised on this item, alone in its batch."""

    code = "inference_failed"


class BatchLawBroken(InferenceFailed):
    """The plugin returned another number of outcomes than it got inputs, or something else."""

    code = "batch_law_broken"


class OutOfMemory(InferenceFailed):
    """The item alone needs more memory than there was."""

    code = "out_of_memory"


class InvalidOutput(InferenceFailed):
    """The plugin's output is nothing that JSON or an array of finite numbers can hold."""

    code = "invalid_output"


class EngineDied(HeadraceError):
    """The engine process ended while it ran this item alone."""

    code = "engine_died"


class AttemptsExhausted(HeadraceError):
    """Too many workers died while they ran this job; `headrace dead` has its message."""

    code = "attempts_exhausted"


class TimeLimitExceeded(HeadraceError):
    """The item ran past its hard time limit, alone in its batch."""

    code = "time_limit_exceeded"


class DeadlineExceeded(HeadraceError):
    """The job's deadline passed before it ran."""

    code = "deadline_exceeded"


class JobRevoked(HeadraceError):
    """The job was revoked or expired before it had a result."""

    code = "revoked"


class ResultTooLarge(HeadraceError):
    """Redis does not take the job's result: it is larger than any value there may be."""

    code = "result_too_large"


class JobLost(HeadraceError):
    """Redis has neither the job nor a result of it any more: it was flushed, say, or is an older copy."""

    code = "job_lost"


class ResultTimeout(HeadraceError, TimeoutError):
    """No result within the time-out; the job itself goes on."""

    code = "result_timeout"


def describe(error: BaseException) -> str:
    """Type and message of an exception, whatever its `__str__` does.

    Example:
        >>> describe(KeyError("text"))
        "KeyError: 'text'"
    """
    return f"{type(error).__name__}: {_message_of(error)}"


def _message_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as caught:  # noqa: BLE001 - a plugin's own class may raise anything
        return f"(its message cannot be had: __str__ raised {type(caught).__name__})"


def _tree(root: type[HeadraceError]) -> list[type[HeadraceError]]:
    return [root, *(leaf for child in root.__subclasses__() for leaf in _tree(child))]


_BY_CODE = {error.code: error for error in _tree(HeadraceError)}
_BY_NAME = {error.__name__: error for error in _tree(HeadraceError)}


def error_from_wire(wire: dict[str, Any]) -> HeadraceError:
    """Build the error again that `HeadraceError.to_wire` wrote."""
    code = str(wire.get("code", HeadraceError.code))
    error = _BY_CODE.get(code, HeadraceError)(str(wire.get("message", "")))
    # A plugin's own error has a code of its own.
    error.code = code
    return error


def error_from_name(name: str, message: str) -> HeadraceError:
    """Build an error from the class name that Celery stores with a FAILURE."""
    known = _BY_NAME.get(name)
    return known(message) if known else HeadraceError(f"{name}: {message}")
