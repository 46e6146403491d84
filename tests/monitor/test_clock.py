"""The clock's page in a real browser: what it shows is Kinema time, and it answers to loopback's names alone."""

import http.client
import threading
from collections.abc import Iterator

import pytest

from kinema.apps import clock
from kinema.calibration.display_clock import read
from kinema.clock import NS, now_ns
from kinema.errors import CalibrationError, ConfigError


@pytest.fixture
def port() -> Iterator[int]:
    with clock.serve(0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.mark.slow
def test_a_browser_shows_kinema_time(port, browse):
    browser = browse(f"http://127.0.0.1:{port}")

    def shown() -> tuple[int, int, int] | None:
        before = now_ns()
        try:
            return before, read(browser.screenshot(), before), now_ns()
        except CalibrationError:
            return None

    browser.until(lambda: "Hz ?ms" in browser.text(), "the screen's rate")
    before, told, after = browser.until(shown, "the clock")
    assert before - 2 * NS < told < after + NS // 100


def ask(port: int, path: str, host: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", path, headers={"Host": host})
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def test_it_tells_the_time_to_this_machine_alone(port):
    before = now_ns()
    status, told = ask(port, "/now", f"127.0.0.1:{port}")
    assert status == 200 and before <= int(told) <= now_ns()
    assert ask(port, "/now", "elsewhere.example")[0] == 403
    assert ask(port, "/other", f"localhost:{port}")[0] == 404
    with pytest.raises(ConfigError, match=f"port {port}: .*--port names another one"):
        clock.serve(port)
