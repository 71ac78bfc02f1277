"""Chaos: what is done to the processes and to what connects them."""

import random
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import redis

from tests.faults.ledger import Ledger
from tests.faults.world import Server, Workers, children, kill, send_signal, until_answered
from tests.utils.servers import connection

#: Seconds between two acts.
_PAUSE = 0.1, 0.8
#: Seconds between two looks whether its jobs were taken over: they run elsewhere within some tens of milliseconds.
_MOMENT = 0.005
#: How often its engine is stopped with it.
_ENGINE_STOPS = 0.3


@dataclass(frozen=True, kw_only=True, slots=True)
class Chaos:
    """Does things to workers and to the server, one after the other, as its seed tells."""

    server: Server
    workers: Workers
    ledger: Ledger
    random: random.Random
    #: Seconds of a worker's lease, or whatever it is taken for dead after.
    lease: float
    #: Times that the server is killed at most.
    server_kills: int = 3

    def go_on_until(self, done: Callable[[], bool]) -> None:
        """Act until `done`."""
        acts: Mapping[Callable[[], None], int] = {
            self._kill_worker: 10,
            self._kill_child: 10,
            self._stop_worker: 2,
            self._cut: 2,
            self._hang: 1,
            self._pause_server: 1,
            self._fill: 2,
            self._kill_server: 2,
        }
        while not done():
            self._look()
            self.random.choices(list(acts), weights=list(acts.values()))[0]()
            time.sleep(self.random.uniform(*_PAUSE))
            self.workers.revive()

    def _look(self) -> None:
        try:
            with connection(self.server.url) as client:
                self.ledger.look(client)
        except redis.RedisError:
            # It is paused or full; the next look sees what this one would have.
            return

    def _note(self, act: str) -> None:
        self.ledger.acts[act] += 1

    def _victim(self) -> int:
        return self.random.choice(self.workers.pids or [0])

    def _kill_worker(self) -> None:
        pid = self._victim()
        if pid and self._busy(pid) and kill(pid):
            self._note("busy worker killed")

    def _kill_child(self) -> None:
        pid = self._victim()
        if self._busy(pid) and (found := children(pid)) and kill(self.random.choice(found)):
            self._note("engine of a busy worker killed")

    def _busy(self, pid: int) -> bool:
        """Whether a worker has claimed jobs; of plain Celery's nobody can tell."""
        return self._claims_of(pid) != []

    def _stop_worker(self) -> None:
        """Make a zombie: it goes on as others take over what it had, or later, and has outcomes of its own then."""
        pid = self._victim()
        claims = self._claims_of(pid)
        if not pid or claims == []:
            return
        # Its engine runs on now and then: what that has answered is settled as soon as the worker goes on.
        family = [pid, *(children(pid) if self.random.random() < _ENGINE_STOPS else [])]
        for each in family:
            send_signal(each, signal.SIGSTOP)
        deadline = time.monotonic() + 2 * self.lease + 1
        while time.monotonic() < deadline and (claims is None or self._exist(claims)):
            time.sleep(_MOMENT)
        time.sleep(self.random.choice((0.0, self.random.uniform(0, self.lease))))
        for each in family:
            send_signal(each, signal.SIGCONT)
        self._note("worker stopped past its lease")

    def _claims_of(self, pid: int) -> list[bytes] | None:
        """Keys under which a worker has claimed jobs; None if nobody can tell."""
        try:
            with connection(self.server.url) as client:
                named: Any = client.hgetall("headrace:incarnation")
                if not named:
                    return None
                mine = [each for each, name in named.items() if name.decode() == self.workers.name_of(pid)]
                return [key for each in mine if client.hlen(key := b"headrace:claims:" + each)]
        except redis.RedisError:
            return []

    def _exist(self, keys: Sequence[bytes]) -> bool:
        try:
            with connection(self.server.url) as client:
                return bool(client.exists(*keys))
        except redis.RedisError:
            return True

    def _cut(self) -> None:
        self.server.proxy.cut()
        self._note("connections cut")

    def _hang(self) -> None:
        """Swallow what goes between workers and server for a while."""
        self.server.proxy.hang()
        time.sleep(self.random.uniform(0.5, 2 * self.lease))
        self.server.proxy.flow()
        self._note("connections hung")

    def _pause_server(self) -> None:
        self.server.signal(signal.SIGSTOP)
        time.sleep(self.random.uniform(0.5, 4))
        self.server.signal(signal.SIGCONT)
        self._note("server paused")

    def _fill(self) -> None:
        until_answered(lambda: self.server.set_memory(1))
        time.sleep(self.random.uniform(0.5, 3))
        until_answered(lambda: self.server.set_memory(0))
        self._note("server full")

    def _kill_server(self) -> None:
        if self.ledger.acts["server killed"] < self.server_kills:
            self.server.kill()
            time.sleep(self.random.uniform(0, 1))
            self.server.start()
            self._note("server killed")


def settle_down(server: Server, workers: Workers, ledger: Ledger, limit: float) -> None:
    """Leave everything alone until each job is answered, or for `limit` seconds."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        workers.revive()
        with connection(server.url) as client:
            ledger.look(client)
        if not ledger.unanswered:
            return
        time.sleep(0.5)
