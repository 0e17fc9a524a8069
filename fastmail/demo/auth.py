"""The demo's auth server: nginx's auth_http protocol over aiohttp."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Self
from urllib.parse import unquote_to_bytes

from aiohttp import web

from fastmail.demo.mailbox import Store
from fastmail.demo.screen import Event

_SHOWN = ("Auth-", "Client-")  # how the headers begin that are shown


class AuthService:
    """Answers on an ephemeral port of 127.0.0.1 while entered.

    ``backends``: the port on 127.0.0.1 for each value of Auth-Protocol.
    """

    def __init__(self, store: Store, backends: Mapping[str, int], show: Callable[[Event], None]) -> None:
        self._store = store
        self._backends = backends
        self._show = show
        self.port = 0

    async def __aenter__(self) -> Self:
        application = web.Application()
        application.router.add_get("/auth", self._answer)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        protocol = request.headers.get("Auth-Protocol", "")
        answer = self._judge(request.headers, protocol)
        asked = _headers((name, value) for name, value in request.headers.items() if name.startswith(_SHOWN))
        self._show(Event(protocol, "fastmail", "auth", f"{request.method} {request.path}  {asked}"))
        self._show(Event(protocol, "auth", "fastmail", _headers(answer.items())))
        return web.Response(headers=answer)

    def _judge(self, headers: Mapping[str, str], protocol: str) -> dict[str, str]:
        # %HH stands for control characters, the space and "%" itself.
        login, password = (unquote_to_bytes(headers.get(name, "")) for name in ("Auth-User", "Auth-Pass"))
        backend = self._backends.get(protocol)
        accepted = headers.get("Auth-Method") == "plain" and self._store.accepts(login, password)
        if backend is None or not accepted:
            return {"Auth-Status": "Invalid login or password", "Auth-Wait": "1"}
        return {"Auth-Status": "OK", "Auth-Server": "127.0.0.1", "Auth-Port": str(backend)}


def _headers(pairs: Iterable[tuple[str, str]]) -> str:
    return "  ".join(f"{name}: {value}" for name, value in pairs)
