"""A fanout server that does what SparkleShare's own did, oddities included.

Written after ``fanout.c`` (travisghansen/fanout, MIT): a greeting, everybody in ``all``, requests
cut at spaces, an announcement passed on to each subscriber and the sender, nothing kept, nothing
answered to what it does not understand, ``ping`` answered by the seconds since 1970.
"""

from __future__ import annotations

import asyncio
import threading
import time


class FanoutServer:
    """Serves in a thread of its own; the port stays the same over restarts."""

    def __init__(self, port: int = 0) -> None:
        self.port = port
        self.said: list[str] = []
        """Every line of a client, in order."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._channels: dict[str, list[asyncio.StreamWriter]] = {}

    def start(self) -> None:
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(ready)), name="fanout")
        self._thread.start()
        assert ready.wait(30)

    def stop(self) -> None:
        if self._thread is not None and self._loop is not None:
            self._loop.call_soon_threadsafe(self._end.set)
            self._thread.join(30)
            assert not self._thread.is_alive()
            self._thread = None

    async def _serve(self, ready: threading.Event) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        self._channels, self._writers = {}, set[asyncio.StreamWriter]()
        server = await asyncio.start_server(self._client, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await self._end.wait()
        server.close()
        open_ones = list(self._writers)
        for writer in open_ones:
            writer.transport.abort()
        await asyncio.gather(*(writer.wait_closed() for writer in open_ones), return_exceptions=True)
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        writer.write(b"debug!connected...\n")
        self._subscribe(writer, "all")
        try:
            while line := await reader.readline():
                if not line.endswith(b"\n"):
                    break
                self._take(writer, line[:-1].decode("utf-8", "replace"))
        except (OSError, ValueError):
            pass
        finally:
            for subscribers in self._channels.values():
                if writer in subscribers:
                    subscribers.remove(writer)
            self._writers.discard(writer)
            writer.transport.abort()

    def _take(self, writer: asyncio.StreamWriter, line: str) -> None:
        self.said.append(line)
        if line == "ping":
            writer.write(b"%d\n" % time.time())
            return
        action, _, rest = line.lstrip(" ").partition(" ")
        channel, _, message = rest.lstrip(" ").partition(" ")
        if not channel:
            return
        if action == "announce" and message and channel in self._channels:
            for subscriber in list(self._channels[channel]):
                subscriber.write(f"{channel}!{message}\n".encode())
        elif action == "subscribe" and "!" not in channel:
            self._subscribe(writer, channel)
        elif action == "unsubscribe" and writer in self._channels.get(channel, []):
            self._channels[channel].remove(writer)

    def _subscribe(self, writer: asyncio.StreamWriter, channel: str) -> None:
        subscribers = self._channels.setdefault(channel, [])
        if writer not in subscribers:
            subscribers.insert(0, writer)  # the newest is served first, as the linked list of the original has it
