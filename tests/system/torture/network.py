"""The network between the devices: every connection of theirs leads over a proxy that obeys the test."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType

from tests.edges.tcp_proxy import TcpProxy
from tests.system.fleet import Device, Fleet

_ROUTING = Path(__file__).parent / "routing"


class Network:
    """A proxy for each way from one device to another, in a thread of its own; a context manager.

    Enter it after the fleet is configured and before its agents start.
    """

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="network")
        self._proxies: dict[tuple[str, str], TcpProxy] = {}
        self._stack = AsyncExitStack()

    def __enter__(self) -> Network:
        self._thread.start()
        devices = self._fleet.devices
        for device in devices:
            routes = []
            for other in devices:
                if other is not device:
                    port = self._fleet.ports[other.name]
                    proxy = asyncio.run_coroutine_threadsafe(self._open(port), self._loop).result()
                    self._proxies[device.name, other.name] = proxy
                    routes.append(f"{port}:{proxy.port}")
            path = f"{_ROUTING}:{device.environment['PYTHONPATH']}"
            device.environment = {
                **device.environment,
                "AUTOSYNC_TEST_ROUTES": " ".join(routes),
                "PYTHONPATH": path,
            }
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        asyncio.run_coroutine_threadsafe(self._stack.aclose(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _open(self, port: int) -> TcpProxy:
        return await self._stack.enter_async_context(TcpProxy(port))

    # -- what may happen ---------------------------------------------------------------------
    def reset(self, one: Device, other: Device) -> None:
        """Reset the connections between two devices; they may connect again at once."""
        self._tell((one, other), TcpProxy.cut)

    def swallow(self, one: Device, other: Device) -> None:
        """Let vanish what passes on the connections there are, as when an address translator forgets them."""
        self._tell((one, other), TcpProxy.swallow_present)

    def slow(self, one: Device, other: Device, seconds: float) -> None:
        """Let everything between two devices take ``seconds`` longer."""

        def slow(proxy: TcpProxy) -> None:
            proxy.delay = seconds

        self._tell((one, other), slow)

    def isolate(self, devices: Sequence[Device], device: Device) -> None:
        """Cut one device off from all others."""

        def close(proxy: TcpProxy) -> None:
            proxy.refusing = True
            proxy.cut()

        for other in devices:
            self._tell((device, other), close)

    def mend(self) -> None:
        """Let everything pass as it should again; what was swallowed does not come back."""

        def mend(proxy: TcpProxy) -> None:
            proxy.refusing, proxy.delay = False, 0.0

        for pair in self._proxies:
            self._call(pair, mend)

    def _tell(self, pair: tuple[Device, Device], do: Callable[[TcpProxy], None]) -> None:
        one, other = pair
        for way in ((one.name, other.name), (other.name, one.name)):
            if way in self._proxies:
                self._call(way, do)

    def _call(self, way: tuple[str, str], do: Callable[[TcpProxy], None]) -> None:
        self._loop.call_soon_threadsafe(do, self._proxies[way])
