"""Credit: after a reconnect, what nobody in the worker holds any more is back in its queue."""

from types import SimpleNamespace
from typing import Any

from headrace.consumer.credit import Credit
from tests.utils.requests import Desk


def test_only_what_the_pool_holds_stays_claimed(desk: Desk) -> None:
    kept, dropped = desk.send("kept"), desk.send("dropped")
    message = desk.message()
    desk.message()
    consumer: Any = SimpleNamespace(
        app=desk.app, pool=SimpleNamespace(open=SimpleNamespace(tags=[message.delivery_tag]))
    )
    Credit(consumer).start(consumer)
    assert desk.unacked == 1
    assert desk.message().headers["id"] == dropped != kept
