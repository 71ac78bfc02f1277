"""PluginManager: the models that an engine has loaded."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from headrace.errors import HeadraceError, SetupFailed, describe, error_from_wire
from headrace.plugins.catalog import Catalog
from headrace.plugins.factory import PluginFactory
from headrace.sdk.attention import AttentionNeed, AttentionStrategy
from headrace.sdk.device import Device
from headrace.sdk.manifest import PluginManifest
from headrace.sdk.plugin import ModelPluginInterface

logger = logging.getLogger(__name__)

#: Makes a strategy for a `BaseConfig.dtype` and what the model asks.
AttentionSource = Callable[[str, AttentionNeed], AttentionStrategy]
#: Seconds for which a failed load is answered with the same error instead of being tried again.
RETRY_AFTER = 30.0


@dataclass(frozen=True, slots=True)
class _Failure:
    error: HeadraceError
    #: Monotonic seconds from which on the load is tried again.
    until: float


class PluginManager:
    """Loads each plugin once, on demand, and cleans up after it.

    One thread loads and unloads; any thread may ask for what is resident.
    """

    def __init__(
        self,
        catalog: Catalog,
        factory: PluginFactory,
        device: Device,
        attention: AttentionSource | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is loaded yet.

        Args:
            catalog: The plugins that there are.
            factory: What creates them.
            device: What this process owns.
            attention: Makes a strategy; called only for plugins that set `uses_attention`.
                None leaves them without.
            clock: Monotonic seconds.
        """
        self._catalog = catalog
        self._factory = factory
        self._device = device
        self._attention = attention
        self._clock = clock
        self._plugins: dict[str, ModelPluginInterface] = {}
        #: Initialised, and not loaded yet.
        self._created: dict[str, ModelPluginInterface] = {}
        self._failures: dict[str, _Failure] = {}

    def load(
        self, name: str, before_load: Callable[[str, ModelPluginInterface], None] = lambda *_: None
    ) -> ModelPluginInterface:
        """The loaded plugin of a model.

        Args:
            name: The model's.
            before_load: Called between `initialize` and `load_model`, if it is to be loaded.

        Raises:
            UnknownModel: If no manifest has that name.
            PluginError: If it can't be created or its `load_model` raised; for `RETRY_AFTER`
                seconds the same error is raised at once, since every job in the queue asks again.
            ConfigError: If its configuration has a value that is not allowed.
        """
        if name in self._plugins:
            return self._plugins[name]
        plugin = self.begin(name, before_load)
        try:
            plugin.load_model()
        except Exception as error:  # noqa: BLE001 - `end` raises it again
            return self.end(name, plugin, error)
        return self.end(name, plugin, None)

    def begin(
        self, name: str, before_load: Callable[[str, ModelPluginInterface], None] = lambda *_: None
    ) -> ModelPluginInterface:
        """The plugin of a model that is not loaded, all done but `load_model`; `end` takes what comes of that.

        Raises:
            HeadraceError: As `load`, save what `load_model` raises.
        """
        self._raise_recent_failure(name)
        try:
            plugin = self.create(name)
        except HeadraceError as error:
            self.note_failure(name, error)
            raise
        del self._created[name]
        try:
            if plugin.uses_attention and self._attention is not None:
                plugin.attention = self._attention(plugin.config.dtype, plugin.attention_need())
                logger.info("model %s: attention %s", name, plugin.attention)
            before_load(name, plugin)
        except Exception as error:  # noqa: BLE001 - `end` raises it again
            return self.end(name, plugin, error)
        return plugin

    def end(self, name: str, plugin: ModelPluginInterface, error: BaseException | None) -> ModelPluginInterface:
        """Take in a plugin whose `load_model` was called, or clean it up.

        Args:
            name: The model's.
            plugin: As `begin` gave it.
            error: What was raised, None if it is loaded.

        Raises:
            HeadraceError: As `load`; what is none of the interpreter's own ends wrapped in SetupFailed.
        """
        if error is None:
            self._plugins[name] = plugin
            return plugin
        _clean_up(name, plugin)
        if not isinstance(error, Exception):
            raise error
        failure = error if isinstance(error, HeadraceError) else _setup_failed(name, error)
        self.note_failure(name, failure)
        raise failure

    def create(self, name: str) -> ModelPluginInterface:
        """The plugin of a model, initialised at least; the next `load` takes the same one.

        Raises:
            HeadraceError: As `load`, save what `load_model` raises.
        """
        if name in self._plugins:
            return self._plugins[name]
        if name not in self._created:
            self._created[name] = self._factory.create(self._catalog.get(name), self._device)
        return self._created[name]

    def manifest(self, name: str) -> PluginManifest:
        """The manifest of a model's plugin."""
        return self._catalog.get(name).manifest

    def version(self, name: str) -> str:
        """The version of a model's plugin, as its manifest has it."""
        return self.manifest(name).version

    def note_failure(self, name: str, error: HeadraceError) -> None:
        """Have the next loads raise this for `RETRY_AFTER` seconds."""
        # A copy: the raised error holds frames, and through them what was half loaded. By what leaves the process
        # of it, since a plugin's own class may take other arguments.
        kept = error_from_wire(error.to_wire())
        kept.retryable = error.retryable
        self._failures[name] = _Failure(kept, self._clock() + RETRY_AFTER)

    def failed_lately(self, name: str) -> bool:
        """Whether `load` would raise at once what an earlier one has raised."""
        failure = self._failures.get(name)
        return failure is not None and self._clock() < failure.until

    def forget_failure(self, name: str) -> None:
        """Let a load that has failed be tried again at once: the device has more room now."""
        self._failures.pop(name, None)

    def get(self, name: str) -> ModelPluginInterface | None:
        """The plugin of a model, if it is loaded."""
        return self._plugins.get(name)

    def unload(self, name: str, before_cleanup: Callable[[], None] = lambda: None) -> None:
        """Clean a model up, if it is loaded; what its `cleanup` raises is logged.

        Args:
            name: The model's.
            before_cleanup: Called when `get` gives the plugin no more: waits for who uses it.
        """
        plugin = self._plugins.pop(name, None)
        if plugin is not None:
            before_cleanup()
            _clean_up(name, plugin)

    def resident(self) -> list[str]:
        """Names of the loaded models, in the order in which they were loaded."""
        return list(self._plugins)

    def close(self) -> None:
        """Unload all models, the last loaded one first."""
        for name in reversed(self.resident()):
            self.unload(name)

    def _raise_recent_failure(self, name: str) -> None:
        if self.failed_lately(name):
            raise self._failures[name].error.with_traceback(None)
        self.forget_failure(name)


def _setup_failed(name: str, error: Exception) -> SetupFailed:
    failure = SetupFailed(f"model {name}: load_model raised {describe(error)}")
    failure.__cause__ = error
    return failure


def _clean_up(name: str, plugin: ModelPluginInterface) -> None:
    try:
        plugin.cleanup()
    except Exception:
        logger.exception("model %s: cleanup raised; its memory may not be free", name)


_opened: list[PluginManager] = []


def open_plugin_manager(
    *,
    catalog: Catalog,
    factory: PluginFactory,
    device: Device,
    attention: AttentionSource | None = None,
) -> PluginManager:
    """Make the process's plugin manager; called once, where the process is put together.

    Raises:
        RuntimeError: If there is one already.
    """
    if _opened:
        raise RuntimeError("this process has a plugin manager: use get_plugin_manager()")
    _opened.append(PluginManager(catalog, factory, device, attention))
    return _opened[0]


def get_plugin_manager() -> PluginManager:
    """The process's plugin manager.

    Raises:
        RuntimeError: If none was opened: only an engine has one.
    """
    if not _opened:
        raise RuntimeError("no plugin manager was opened in this process")
    return _opened[0]
