"""A plain Redis connection for what Celery has no words for."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import redis
from kombu.exceptions import OperationalError
from redis.backoff import NoBackoff
from redis.retry import Retry

from headrace.errors import BrokerUnavailable, ConfigError
from headrace.settings import Settings


class Server(redis.Redis):
    """A client that knows what the keys of this installation begin with."""

    #: `key_prefix` of the settings.
    prefix = ""

    def key(self, name: str) -> str:
        """The key of a name, in a Redis that several installations may share."""
        return self.prefix + name


def connect(url: str, settings: Settings, *, timeout: float | None = None) -> Server:
    """Make a client for the URL forms that Celery takes; it connects on first use.

    Args:
        url: Where Redis is.
        settings: For the time-outs.
        timeout: Seconds of silence after which Redis hangs, by default `connect_timeout`. To connect may take as
            long, and no longer than `connect_timeout`.

    Raises:
        ConfigError: If it is no such URL.
    """
    timeout = timeout or settings.connect_timeout
    try:
        client: Server = Server.from_url(  # type: ignore[assignment]  # of the class that it is called on
            _redis_url(url),
            socket_connect_timeout=min(timeout, settings.connect_timeout),
            socket_timeout=timeout,
            health_check_interval=30,
        )
    except ValueError as error:
        raise ConfigError(f"{redact(url)!r} is no Redis URL ({error}): correct HEADRACE_REDIS_URL") from None
    client.prefix = settings.key_prefix
    return client


def connect_hastily(url: str, settings: Settings, *, timeout: float | None = None) -> Server:
    """Make a client that tells at once when Redis is away: its caller knows what to do then.

    Args:
        url: Where Redis is.
        settings: For the time-outs.
        timeout: As for `connect`. What a lease waits for gets a fraction of the lease.

    Raises:
        ConfigError: If it is no Redis URL.
    """
    client = connect(url, settings, timeout=timeout)
    client.set_retry(Retry(NoBackoff(), 0))
    return client


def ping(url: str, settings: Settings) -> None:
    """Ask Redis for a sign of life.

    Raises:
        BrokerUnavailable: If it gives none within seconds, whether it is away or hangs.
        ConfigError: If it is no Redis URL.
    """
    with broker_errors(url), closing(connect(url, settings)) as client:
        client.ping()


def check_writable(url: str, settings: Settings) -> None:
    """Ask Redis to keep something for a moment.

    Raises:
        BrokerUnavailable: If it does not answer, or refuses: it is full, or a replica.
        ConfigError: If it is no Redis URL.
    """
    with broker_errors(url), closing(connect(url, settings)) as client:
        try:
            client.set(client.key("headrace:probe"), 1, px=1)
        except redis.ResponseError as error:
            raise BrokerUnavailable(f"Redis at {redact(url)} takes nothing: {refusal(error)}") from None


def _redis_url(url: str) -> str:
    if not url.startswith("redis+socket://"):
        return secured(url)
    parts = urlsplit(url)
    database = parse_qs(parts.query).get("virtual_host", ["0"])[0].strip("/") or "0"
    # Celery's form may carry a user and a password too.
    login, mark, _ = parts.netloc.rpartition("@")
    return f"unix://{login}{mark}{parts.path}?db={database}"


def secured(url: str) -> str:
    """A `rediss://` URL that says how the server's certificate is checked, in words that all readers take.

    Security: without `ssl_cert_reqs` kombu would check nothing.

    Example:
        >>> secured("rediss://host/0"), secured("rediss://host/0?ssl_cert_reqs=CERT_NONE")
        ('rediss://host/0?ssl_cert_reqs=required', 'rediss://host/0?ssl_cert_reqs=none')
    """
    base, _, query = url.partition("?")
    if not base.startswith("rediss://"):
        return url
    options = {"ssl_cert_reqs": "required", **dict(parse_qsl(query))}
    options["ssl_cert_reqs"] = options["ssl_cert_reqs"].lower().removeprefix("cert_")
    return f"{base}?{urlencode(options, safe='/')}"


def redact(url: str) -> str:
    """The URL without its password, for messages and logs.

    Example:
        >>> redact("redis://:secret@localhost:6379/0")
        'redis://***@localhost:6379/0'
    """
    # A URL whose scheme was forgotten may have a password too.
    scheme, mark, rest = url.partition("://") if "://" in url else ("", "", url)
    return f"{scheme}{mark}***@{rest.rpartition('@')[2]}" if "@" in rest else url


#: Beginnings of what a server says that takes nothing now, from anybody.
_PASSING = ("OOM", "READONLY", "LOADING", "MISCONF", "NOREPLICAS", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "BUSY ")


def may_pass(error: BaseException | None) -> bool:
    """Whether what Redis or the way to it has answered goes away by itself, and has nothing to do with the job.

    Example:
        >>> may_pass(ConnectionError()), may_pass(redis.ResponseError("WRONGTYPE Operation against a key"))
        (True, False)
    """
    if isinstance(error, OperationalError):
        # kombu wraps what it met.
        return error.__cause__ is None or may_pass(error.__cause__)
    if isinstance(error, redis.ResponseError):
        return isinstance(error, redis.exceptions.OutOfMemoryError | redis.ReadOnlyError) or str(error).startswith(
            _PASSING
        )
    return isinstance(error, redis.ConnectionError | redis.TimeoutError | OSError)


def refusal(error: redis.ResponseError) -> str:
    """What a server's refusal means, and what to do.

    Example:
        >>> refusal(redis.ResponseError("MISCONF no disk script: f0c5b1e, on @user_script:19."))
        'MISCONF no disk'
    """
    if isinstance(error, redis.exceptions.OutOfMemoryError):
        return "it is full: free memory, raise its maxmemory, or name another in HEADRACE_REDIS_URL"
    if isinstance(error, redis.ReadOnlyError):
        return "it is a replica: name its primary in HEADRACE_REDIS_URL"
    # The script that met it is no news to a user.
    return str(error).partition(" script: ")[0]


@contextmanager
def broker_errors(url: str) -> Iterator[None]:
    """Turn Redis's own errors into one that says what to do.

    Raises:
        BrokerUnavailable: If Redis can't be reached, refuses, or is out of memory.
    """
    try:
        yield
    except redis.ResponseError as error:
        raise BrokerUnavailable(f"Redis at {redact(url)} refuses: {refusal(error)}") from error
    except (redis.RedisError, OSError, OperationalError) as error:
        raise BrokerUnavailable(
            f"Redis at {redact(url)} does not answer ({error}): is it running, and is HEADRACE_REDIS_URL right?"
        ) from error
