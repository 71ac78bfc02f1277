"""EngineProcess: real children and real sockets; most children are a few lines of Python instead of an engine."""

import os
import signal
import time
from pathlib import Path

import pytest

from headrace.engine.messages import Message, Outcomes, Ready
from headrace.engine.process import EngineProcess, describe_exit
from headrace.settings import child_environment
from tests.utils.processes import is_alive
from tests.utils.scripts import Script, start
from tests.utils.waiting import wait_until
from tests.utils.windows import window_of

PLUGINS = Path(__file__).parents[2] / "plugins"
READY = Ready().encode()


def _heard(process: EngineProcess, count: int) -> list[Message]:
    """Wait for the first messages."""
    heard: list[Message] = []

    def enough() -> bool:
        heard.extend(process.receive())
        return len(heard) >= count

    wait_until(enough)
    return heard


def _drained(process: EngineProcess) -> list[Message]:
    """All that the child says until it closes its end."""
    heard: list[Message] = []

    def ended() -> bool:
        try:
            heard.extend(process.receive())
        except EOFError:
            return True
        return False

    wait_until(ended)
    return heard


def test_nothing_has_arrived_yet_and_nobody_waits_for_it(started: list[EngineProcess]) -> None:
    process = start("time.sleep(60)", started)
    assert list(process.receive()) == []


def test_a_message_that_arrives_in_pieces_is_one_message(started: list[EngineProcess]) -> None:
    script = f"engine.sendall({READY + READY[:3]!r}); engine.recv(9); engine.sendall({READY[3:]!r}); time.sleep(60)"
    process = start(script, started)
    assert _heard(process, 1) == [Ready()]
    process.send(Ready().encode())
    assert _heard(process, 1) == [Ready()]


def test_what_a_dying_engine_has_said_arrives_before_its_end(started: list[EngineProcess]) -> None:
    process = start(f"engine.sendall({READY * 3!r}); os._exit(0)", started)
    process._running.wait(10)
    heard = process.receive()
    assert [next(heard) for _ in range(3)] == [Ready()] * 3
    with pytest.raises(EOFError):
        next(heard)


def test_a_message_may_be_sent_while_others_are_read(started: list[EngineProcess]) -> None:
    process = start(f"engine.sendall({READY * 2!r}); engine.recv(1 << 20); time.sleep(60)", started)

    def answered() -> int:
        # A send waits for a slow reader; what is read next must not.
        count = 0
        for message in process.receive():
            process.send(message.encode())
            count += 1
        return count

    assert wait_until(answered) == 2


def test_a_send_to_an_engine_that_is_gone_says_so(started: list[EngineProcess]) -> None:
    process = start("os._exit(0)", started)
    process._running.wait(10)
    with pytest.raises(OSError, match="pipe"):
        process.send(Ready().encode())


def test_an_engine_that_dies_with_something_unread_has_closed_its_end(started: list[EngineProcess]) -> None:
    process = start("time.sleep(60)", started)
    process.send(Ready().encode())
    process.kill()
    process._running.wait(10)
    with pytest.raises(EOFError):
        list(process.receive())


@pytest.mark.parametrize(
    ("script", "how"),
    [
        ("os._exit(3)", "exit status 3"),
        ("os._exit(0)", "exit status 0"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "killed by SIGKILL"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "killed by SIGSEGV"),
    ],
)
def test_a_child_that_ends_by_itself_is_told_by_its_own_cause(script: str, how: str) -> None:
    process = Script(script)
    process.start()
    assert process.reap() == how
    assert not is_alive(process.pid)


def test_a_child_whose_socket_is_closed_and_that_lives_on_is_killed() -> None:
    process = Script("engine.close(); time.sleep(60)")
    process.start()
    assert _drained(process) == []
    assert process.reap() == "killed by SIGKILL"
    assert not is_alive(process.pid)


def test_a_killed_engine_takes_its_children_along(started: list[EngineProcess]) -> None:
    process = start("pid = os.fork() or time.sleep(60); engine.sendall(b'%10d' % pid); time.sleep(60)", started)
    process._connection.settimeout(10)
    child = int(process._connection.recv(10))
    process.kill()
    process.kill()
    assert process.reap() == "killed by SIGKILL"
    process.kill()
    wait_until(lambda: not is_alive(child))


def test_an_engine_is_out_of_reach_of_the_terminals_signals(started: list[EngineProcess]) -> None:
    process = start("time.sleep(60)", started)
    assert os.getsid(process.pid) == process.pid != os.getsid(0)


def _descriptors() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


@pytest.mark.parametrize(("users", "found"), [({}, "NO"), ({"USE_HUB_KERNELS": "YES"}, "YES")])
def test_kernels_are_fetched_from_a_hub_only_where_the_user_says_so(users: dict[str, str], found: str) -> None:
    script = f"os._exit(os.environ.get('USE_HUB_KERNELS') != {found!r})"
    process = Script(script, {"PATH": os.defpath, **users})
    process.start()
    assert process.reap() == "exit status 0"


def test_the_socket_is_freed_with_the_child() -> None:
    before = _descriptors()
    process = Script("os._exit(0)")
    process.start()
    assert process.fileno() >= 0
    process.reap()
    assert _descriptors() <= before


def test_a_spawn_that_fails_leaves_no_socket_open() -> None:
    before = _descriptors()
    with pytest.raises(ValueError, match="environment"):
        Script("", {"A=B": "C"}).start()
    assert _descriptors() <= before


def test_a_process_that_was_not_started_can_be_closed_and_nothing_else() -> None:
    process = Script("")
    process.close()
    process.kill()
    for use in (lambda: process.pid, process.fileno, lambda: process.send(Ready().encode())):
        with pytest.raises(RuntimeError, match="was not started"):
            use()


def test_close_waits_for_the_engine_to_clean_up() -> None:
    process = Script("engine.recv(1 << 20); os._exit(5)")
    process.start()
    process.close()
    assert process._running.returncode == 5


def test_an_engine_that_is_dead_already_can_be_closed() -> None:
    process = Script("os._exit(5)")
    process.start()
    process._running.wait(10)
    process.close()
    assert process._running.returncode == 5


def test_a_real_engine_gets_ready_answers_and_ends_in_order(started: list[EngineProcess]) -> None:
    process = EngineProcess("cpu:0", child_environment(HEADRACE_PLUGIN_PATH=str(PLUGINS)))
    process.start()
    started.append(process)
    process.send(window_of((1, {"text": "a"}), model="faulty").encode())
    # Ready, load begun and ended, Loaded, prepare begun and ended, infer begun, Outcomes.
    heard = _heard(process, 8)
    assert heard[0] == Ready()
    (outcomes,) = (each.outcomes for each in heard if isinstance(each, Outcomes))
    assert list(outcomes[0]) == [1, {"text": "a", "pid": process.pid, "attempt": 1}, None]
    process.close()
    assert not is_alive(process.pid)


@pytest.mark.parametrize(("how", "left"), [("dies", 1), ("kill", 0), ("close", 0)])
def test_the_note_of_a_fatal_batch_stays_only_where_the_engine_died_by_itself(
    tmp_path: Path, how: str, left: int
) -> None:
    process = Script("time.sleep(60)", costs=tmp_path)
    process.start()
    (tmp_path / f"m.trying-{process.pid}-{time.time_ns()}").touch()
    if how == "dies":
        os.kill(process.pid, signal.SIGKILL)
        process.reap()
    elif how == "kill":
        process.kill()
        process.reap()
    else:
        process._running.terminate()
        process.close()
    assert len(list(tmp_path.iterdir())) == left


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (0, "exit status 0"),
        (137, "exit status 137"),
        (-signal.SIGABRT, "killed by SIGABRT"),
        (-99, "killed by signal 99"),
    ],
)
def test_an_exit_is_told_in_words(status: int, text: str) -> None:
    assert describe_exit(status) == text
