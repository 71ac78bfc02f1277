"""Depth: jobs are counted at every urgency, by the keys of this installation."""

from celery import Celery

from headrace.broker.connection import Server
from headrace.broker.depth import Depth, depths
from headrace.broker.options import SendOptions
from headrace.broker.sender import Sender


def test_jobs_of_every_urgency_count_and_dead_ones_apart(client: Server, app: Celery) -> None:
    sender = Sender(client, "redis://h", "channel")
    for priority in ("high", "normal", "low"):
        sender.send("mill", 1, SendOptions(priority=priority))  # type: ignore[arg-type]
    app.send_task("infer.mill", args=[1], queue="infer.mill")
    client.lpush("dead.mill", b"a", b"b")
    assert depths(client, ["mill", "weir"]) == {"mill": Depth(waiting=4, dead=2), "weir": Depth(waiting=0, dead=0)}
    assert depths(client, []) == {}


def test_only_keys_of_this_installation_count(client: Server) -> None:
    client.lpush("infer.mill", b"other")
    client.prefix = "app:"
    client.lpush("app:infer.mill", b"ours")
    assert depths(client, ["mill"])["mill"].waiting == 1
