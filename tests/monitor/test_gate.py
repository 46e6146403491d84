"""Who may open the monitor page: asked over real sockets, as a browser asks."""

import http.client
import socket
from collections.abc import Iterator

import pytest
import viser
import websockets.asyncio.server
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from kinema.apps import monitor_gate
from kinema.errors import ConfigError

TOKEN = "a1b2c3d4e5f6a7b8c9d0"
PROTOCOL = [f"viser-v{viser.__version__}"]


@pytest.fixture
def open_server() -> Iterator[viser.ViserServer]:
    server = monitor_gate.serve("127.0.0.1", 0)
    yield server
    server.stop()


@pytest.fixture
def guarded_server() -> Iterator[viser.ViserServer]:
    server = monitor_gate.serve("127.0.0.1", 0, TOKEN)
    yield server
    server.stop()


def get(port: int, path: str = "/", **headers: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path, headers=headers)
    return connection.getresponse()


def websocket_status(port: int, **headers: str) -> int:
    """101 where the page's own channel opens, else the status it is refused with."""
    try:
        with connect(f"ws://127.0.0.1:{port}", subprotocols=PROTOCOL, additional_headers=headers):
            return 101
    except InvalidStatus as refusal:
        return refusal.response.status_code


def test_loopback_needs_no_token(open_server):
    port = open_server.get_port()
    assert get(port).status == 200
    assert websocket_status(port, Origin=f"http://127.0.0.1:{port}") == 101


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1"])
def test_a_page_of_another_origin_is_refused(open_server, origin):
    assert websocket_status(open_server.get_port(), Origin=origin) == 403


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:8080", ""])
def test_another_name_for_loopback_is_refused(open_server, host):
    assert get(open_server.get_port(), Host=host).status == 403


def test_a_forwarded_port_is_served(open_server):
    assert get(open_server.get_port(), Host="localhost:9999").status == 200


@pytest.mark.parametrize("path", ["/", "/?token=", f"/?token={TOKEN[:-1]}x", f"/?other={TOKEN}"])
def test_without_the_token_nothing_is_served(guarded_server, path):
    assert get(guarded_server.get_port(), path).status == 401


@pytest.mark.parametrize("cookie", ["", "kinema_monitor_0=", f"kinema_monitor_0={TOKEN[:-1]}", f"other={TOKEN}", "=;="])
def test_without_the_token_no_channel_opens(guarded_server, cookie):
    headers = {"Cookie": cookie} if cookie else {}
    assert websocket_status(guarded_server.get_port(), **headers) == 401


def test_the_token_is_given_once_and_kept_as_a_cookie(guarded_server):
    port = guarded_server.get_port()
    welcome = get(port, f"/?token={TOKEN}")
    assert (welcome.status, welcome.headers["Location"]) == (303, "/")
    kept, *attributes = welcome.headers["Set-Cookie"].split("; ")
    assert {"HttpOnly", "SameSite=Lax"} <= set(attributes)
    assert get(port, Cookie=kept).status == 200
    assert websocket_status(port, Cookie=f"theme=dark; {kept}") == 101


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7"])
def test_beyond_loopback_a_token_is_required(host):
    with pytest.raises(ConfigError, match=r"needs a token.*ssh -L"):
        monitor_gate.serve(host, 0)


def test_beyond_loopback_with_a_token_is_served_by_any_name():
    server = monitor_gate.serve("0.0.0.0", 0, TOKEN)
    try:
        assert get(server.get_port(), Host="lab-pc:8080").status == 401
        assert get(server.get_port(), f"/?token={TOKEN}", Host="lab-pc:8080").status == 303
    finally:
        server.stop()


@pytest.mark.parametrize("token", ["", "short", "a b c d e f g h i j k", "ü" * 20])
def test_a_weak_token_is_refused(token):
    with pytest.raises(ConfigError, match="16 or more"):
        monitor_gate.serve("127.0.0.1", 0, token)


def test_a_host_that_is_no_address_is_refused():
    with pytest.raises(ConfigError, match="IP address"):
        monitor_gate.serve("lab-pc", 0, TOKEN)


def test_a_taken_port_is_named():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port}"):
            monitor_gate.serve("127.0.0.1", port)


def test_a_server_that_slipped_past_the_gate_is_not_used(monkeypatch):
    plain = websockets.asyncio.server.serve

    class Unguarded(monitor_gate._Server):
        def __init__(self, **options: object) -> None:
            monkeypatch.setattr(websockets.asyncio.server, "serve", plain)
            super().__init__(**options)

    monkeypatch.setattr(monitor_gate, "_Server", Unguarded)
    with pytest.raises(ConfigError, match="no gate"):
        monitor_gate.serve("127.0.0.1", 0)


def test_nobody_can_ask_for_a_public_tunnel(open_server, monkeypatch):
    monkeypatch.setattr(viser._viser, "ViserTunnel", lambda *_: pytest.fail("a tunnel to the internet was opened"))
    assert open_server.request_share_url() is None
