import errno
import os
import signal

import pytest

from headrace.cli.signals import collected_signals, interrupting_signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_is_told_once(number: signal.Signals) -> None:
    with collected_signals() as signals:
        os.kill(os.getpid(), number)
        assert signals.wait(5)
        assert signals.cold is (number == signal.SIGQUIT)
        assert not signals.wait(0.01)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_signals_interrupt_and_only_the_first_is_told(
    number: signal.Signals, capfd: pytest.CaptureFixture[str]
) -> None:
    with interrupting_signals("stopping"):
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(number)
    assert capfd.readouterr().err.split("\n") == ["", "headrace: stopping", ""]


def test_handlers_are_restored() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with collected_signals():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_terminal_that_is_gone_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def write(*_: object) -> None:
        raise OSError(errno.EIO, "hung up")

    monkeypatch.setattr("headrace.cli.signals.os.write", write)
    with interrupting_signals("stopping"), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGHUP)


def test_what_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interrupting_signals("stopping"):
            signal.raise_signal(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
