"""The door of the monitor page: who may open it, and from where.

The page can stop and reset a robot, so every request, HTTP and WebSocket alike, passes here before viser sees it:
- a page of another origin may not talk to it (cross-site WebSocket hijacking; OWASP, WebSocket Security Cheat Sheet),
- on loopback it answers to loopback's names only (DNS rebinding),
- bound to anything else it asks for a token: `http://host:port/?token=...` once, a cookie afterwards.
The token travels in clear text, as the page does: across a network that is not your own leave it on loopback and use
`ssh -L 8080:localhost:8080`.
"""

import contextlib
import hmac
import http
import io
import ipaddress
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit

import viser
import websockets.asyncio.server
from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response

from kinema.errors import ConfigError

_SHORTEST_TOKEN = 16
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


class _Server(viser.ViserServer):
    def request_share_url(self, verbose: bool = True) -> str | None:
        """Never: any visitor could ask viser for a public tunnel to this page."""
        return None


class _Gate:
    def __init__(self, token: str | None, cookie: str, loopback: bool) -> None:
        self._token = token
        self._cookie = cookie
        self._loopback = loopback

    def refuse(self, connection: ServerConnection, request: Request) -> Response | None:
        """The answer that ends this request, or None where it may pass."""
        host = request.headers.get("Host", "")
        if self._loopback and urlsplit(f"//{host}").hostname not in _LOOPBACK_NAMES:
            return connection.respond(http.HTTPStatus.FORBIDDEN, f"this page answers to {_LOOPBACK_NAMES} only\n")
        origin = request.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return connection.respond(http.HTTPStatus.FORBIDDEN, f"a page of {origin} may not use this one\n")
        if self._token is None or self._holds_cookie(request, self._token):
            return None
        offered = parse_qs(urlsplit(request.path).query).get("token", [""])[0]
        if not hmac.compare_digest(offered.encode(), self._token.encode()):
            return connection.respond(http.HTTPStatus.UNAUTHORIZED, "open http://<host>:<port>/?token=<token>\n")
        welcome = connection.respond(http.HTTPStatus.SEE_OTHER, "")
        welcome.headers["Location"] = "/"
        welcome.headers["Set-Cookie"] = f"{self._cookie}={self._token}; Path=/; HttpOnly; SameSite=Lax"
        return welcome

    def _holds_cookie(self, request: Request, token: str) -> bool:
        held = ""
        with contextlib.suppress(CookieError):
            for header in request.headers.get_all("Cookie"):
                morsel = SimpleCookie(header).get(self._cookie)
                held = morsel.value if morsel else held
        return hmac.compare_digest(held.encode(), token.encode())


def _check(host: str, token: str | None) -> bool:
    """Whether `host` is loopback; raises ConfigError where host and token may not be."""
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        raise ConfigError(f"monitor host {host!r}: allowed is localhost or an IP address of this machine") from None
    if not loopback and token is None:
        raise ConfigError(
            f"monitor host {host}: the page can stop and reset the robot, so beyond loopback it needs a token "
            f"(parameter token_file); or leave it on 127.0.0.1 and use ssh -L 8080:localhost:8080"
        )
    if token is not None and not (len(token) >= _SHORTEST_TOKEN and token.isascii() and token.isalnum()):
        raise ConfigError(f"monitor token: allowed are {_SHORTEST_TOKEN} or more ASCII letters and digits")
    return loopback


def serve(host: str, port: int, token: str | None = None) -> viser.ViserServer:
    """A viser server behind the gate; port 0 takes any free one. Raises ConfigError rather than serve unguarded.

    viser offers no hook for requests, so the one of the websockets library below it is used while the server starts.
    """
    gate = _Gate(token, f"kinema_monitor_{port}", _check(host, token))
    plain = websockets.asyncio.server.serve
    guarded = []

    def serve_guarded(handler: Any, *address: Any, process_request: Any, **options: Any) -> Any:
        def answer(connection: ServerConnection, request: Request) -> Response | None:
            return gate.refuse(connection, request) or process_request(connection, request)

        guarded.append(address)
        return plain(handler, *address, process_request=answer, **options)

    websockets.asyncio.server.serve = serve_guarded  # type: ignore[assignment,misc]
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # viser's banner
            server = _Server(host=host, port=port, verbose=False)
    finally:
        websockets.asyncio.server.serve = plain  # type: ignore[misc]
    if not guarded:
        server.stop()
        raise ConfigError(f"viser {viser.__version__} no longer starts through websockets: the page has no gate")
    if port not in (0, server.get_port()):
        server.stop()
        raise ConfigError(f"monitor port {port} on {host} is taken; allowed is a free one, or 0 for any")
    return server
