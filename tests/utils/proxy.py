"""A TCP proxy in front of a server's Unix socket: it cuts connections, swallows what they carry, or asks for TLS."""

import asyncio
import ssl
import threading
from concurrent.futures import Future
from pathlib import Path

_CHUNK = 1 << 16
#: Seconds between two pieces.
_PIECE_SECONDS = 0.0005


class Proxy:
    """Listens on loopback, on an event loop of its own thread."""

    def __init__(self, target: Path, tls: ssl.SSLContext | None = None, *, piece: int = _CHUNK) -> None:
        """Listen.

        Args:
            target: The server's socket.
            tls: What to ask of clients; None for no TLS.
            piece: Bytes that go through at once; each waits for the one before.
        """
        self._target = target
        self._tls = tls
        self._piece = piece
        self._writers: set[asyncio.StreamWriter] = set()
        self._ready: Future[int] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="proxy", daemon=True)
        self._thread.start()
        #: Where it listens.
        self.port = self._ready.result(10)

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._open, self._closed = asyncio.Event(), asyncio.Event()
        self._open.set()
        async with await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls) as server:
            self._ready.set_result(server.sockets[0].getsockname()[1])
            await self._closed.wait()
            self._cut()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_unix_connection(str(self._target))
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, far_writer}
        await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
        self._writers -= {writer, far_writer}

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(self._piece):
                await self._open.wait()
                writer.write(data)
                await writer.drain()
                if self._piece < _CHUNK:
                    await asyncio.sleep(_PIECE_SECONDS)
        except OSError:
            pass
        finally:
            writer.transport.abort()

    def _cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    def cut(self) -> None:
        """Cut every connection; new ones are taken at once."""
        self._loop.call_soon_threadsafe(self._cut)

    def hang(self) -> None:
        """Let nothing through, in either direction, until `flow`."""
        self._loop.call_soon_threadsafe(self._open.clear)

    def flow(self) -> None:
        """Let through what has waited, and all that comes."""
        self._loop.call_soon_threadsafe(self._open.set)

    def close(self) -> None:
        """Stop listening, and end the thread."""
        self.flow()
        self._loop.call_soon_threadsafe(self._closed.set)
        self._thread.join(10)
