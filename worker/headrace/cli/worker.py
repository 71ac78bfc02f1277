"""`headrace worker`: the workers of this machine."""

from headrace.cli.arguments import Devices, LogLevel, Models, parse_loglevel, parse_names


def worker(*, devices: Devices = "auto", models: Models = "", loglevel: LogLevel = "INFO") -> None:
    """Serve models on this machine's devices.

    SIGTERM or Ctrl-C lets running batches finish; a second one hurries, as SIGQUIT does at once.
    """
    from headrace.broker.access import open_broker
    from headrace.broker.connection import redact
    from headrace.cli.output import note
    from headrace.cli.serving import drain, ending, name_prefix
    from headrace.cli.session import check_models, note_unknown_variables
    from headrace.cli.signals import collected_signals
    from headrace.launcher import Launcher, parse_devices
    from headrace.plugins.discovery import discover
    from headrace.settings import get_settings

    settings, names, level = get_settings(), parse_names(models), parse_loglevel(loglevel)
    found = parse_devices(devices)
    check_models(discover(settings.plugin_path), names)
    note_unknown_variables()
    with (
        collected_signals() as signals,
        open_broker(settings) as url,
        Launcher(url, found, models=names, prefix=name_prefix(url, found, settings), loglevel=level) as launcher,
    ):
        note(f"{', '.join(each.name for each in launcher.workers)} on {redact(url)}")
        while not signals.wait(1.0) and not launcher.join(0):
            pass
        note(ending(signals, again="again"))
        drain(launcher, signals)
