"""`python -m headrace.monitoring.flower_server`: Flower on our own Celery app.

Its options come from the environment (`headrace.monitoring.flower` sets it).
"""

import argparse
import logging
import signal
from typing import Any
from urllib.parse import urlsplit

from flower.app import Flower
from flower.command import apply_env_options, extract_settings
from flower.options import default_options as options
from flower.urls import settings as tornado_settings
from flower.views import BaseHandler
from tornado.httputil import HTTPServerRequest
from tornado.web import ErrorHandler

from headrace.broker.app import make_app
from headrace.lifetime import end_with_parent
from headrace.monitoring.flower import all_lists, is_loopback
from headrace.settings import get_settings

_FORBIDDEN = 403


class GuardedFlower(Flower):  # type: ignore[misc]  # Flower has no types
    """Flower that a web page of another site cannot use."""

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> Any:
        """Refuse requests of foreign pages where no password protects from them."""
        if options.basic_auth or is_own_request(request.headers):
            return super().find_handler(request, **kwargs)
        return self.get_handler_delegate(request, ErrorHandler, {"status_code": _FORBIDDEN})


def show_all_lists() -> None:
    """Have Flower's broker page and its API count the jobs of every priority: workers name the middle list only."""
    named = BaseHandler.get_active_queue_names
    BaseHandler.get_active_queue_names = lambda handler: all_lists(named(handler))


def is_own_request(headers: Any) -> bool:
    """Whether a request comes from this machine's programs or from Flower's own pages.

    Without a password Flower allows every origin, so any page in the user's browser could
    stop workers, or read results under a host name of its own that leads to 127.0.0.1.
    """
    host, origin = headers.get("Host", ""), headers.get("Origin")
    return is_loopback(urlsplit(f"//{host}").hostname or "") and origin in {None, f"http://{host}"}


def main() -> None:
    """Serve until SIGTERM, or until the parent is gone."""
    parser = argparse.ArgumentParser(prog="python -m headrace.monitoring.flower_server")
    parser.add_argument("--parent", type=int, required=True, help="end when this process is gone")
    end_with_parent(parser.parse_args().parent, signal.SIGKILL)
    # Flower has nothing to finish, and Python's exit would wait for its inspecting threads.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("tornado.access").setLevel(logging.ERROR)
    _make().start()


def _make() -> Flower:
    settings = get_settings()
    apply_env_options()
    # An empty variable reads as one empty password.
    options.basic_auth = [pair for pair in options.basic_auth if pair]
    extract_settings()
    show_all_lists()
    flower = GuardedFlower(capp=make_app(settings.redis_url or "", settings), options=options, **tornado_settings)
    flower.start_http_server()
    return flower


if __name__ == "__main__":
    main()
