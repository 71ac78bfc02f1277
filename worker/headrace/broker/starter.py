"""How a user puts a guardian on duty and waits until its server answers."""

import subprocess
import sys
import time
from contextlib import suppress

from headrace.broker import guardian
from headrace.broker.folder import BrokerFolder
from headrace.broker.server import Server
from headrace.errors import BrokerUnavailable

_POLL = 0.02
_START_SECONDS = 15.0
#: A server that reads a large data file answers LOADING; ending it would only begin that again.
_LOAD_SECONDS = 300.0


class Starter:
    """Starts the server of one folder for a user that holds a share in it."""

    def __init__(self, folder: BrokerFolder, server: Server) -> None:
        self._folder = folder
        self._server = server

    def on_duty(self) -> bool:
        """Whether a guardian keeps the folder."""
        return guardian.is_held(self._folder.path / guardian.GUARDIAN_LOCK)

    def await_answer(self, *, summon: bool) -> str:
        """Wait until the server answers anything; `summon` a guardian if none is on duty.

        Returns:
            The first line of its reply to PING.

        Raises:
            BrokerUnavailable: If it ends or does not answer in time.
        """
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            if not self.on_duty():
                if not summon:
                    raise self._failed("the broker ended while it started")
                summon = not self._summon()
            elif reply := guardian.ask(self._folder.socket, "PING"):
                return reply
            time.sleep(_POLL)
        raise self._failed(
            f"the broker did not answer within {_START_SECONDS:.0f} s (if several machines share its"
            " folder, set HEADRACE_STATE_DIR to a local one)"
        )

    def await_ready(self) -> None:
        """Wait while the server reads its data.

        Raises:
            BrokerUnavailable: If it ends, takes too long, or cannot write to its disk.
        """
        deadline = time.monotonic() + _LOAD_SECONDS
        while (reply := self.await_answer(summon=False)).startswith("-LOADING"):
            if time.monotonic() >= deadline:
                raise self._failed("the broker is still reading its data: try again later")
            time.sleep(_POLL)
        if reply.startswith("-MISCONF"):
            raise self._failed(f"the broker cannot write ({reply[1:]})")

    def _summon(self) -> bool:
        """Put a guardian on duty; False if another one came first."""
        self._folder.create_socket_folder()
        self._folder.rotate_log()
        status = self._run_guardian()
        if status == guardian.ORPHAN:
            raise self._failed("a server whose guardian was killed does not end: end it yourself")
        if status not in {0, guardian.TAKEN}:
            raise self._failed("the broker's guardian did not start")
        return status == 0

    def _run_guardian(self) -> int | None:
        # As a file, isolated: it starts in 30 ms, and finds itself however headrace was imported.
        command = [sys.executable, "-I", "-S", guardian.__file__, str(self._folder.path)]
        command += [str(self._folder.socket), *self._server.command(self._folder.socket)]
        with self._folder.log.open("ab") as log, suppress(subprocess.TimeoutExpired):
            return subprocess.run(
                command,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                timeout=_START_SECONDS,
                check=False,
            ).returncode
        return None

    def _failed(self, what: str) -> BrokerUnavailable:
        tail = self._folder.log_tail()
        end = f"; its log ends:\n{tail}" if tail else ""
        return BrokerUnavailable(f"{what}: see {self._folder.log}, or set HEADRACE_REDIS_URL{end}")
