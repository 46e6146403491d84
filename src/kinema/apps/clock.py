"""`kinema clock`: a page that shows Kinema time to a camera, on a screen of this machine.

The browser's clock is not Kinema's. The page asks for Kinema time again and again, goes by the answer that came back
soonest, and shows nothing where none was back within 4 ms: half of that is the most that it can be off. The server
answers on loopback alone; screen and cameras are then on one machine, and there is one Kinema time.
"""

import argparse
import contextlib
import http.server
import json
import string
from urllib.parse import urlsplit

from kinema.apps.console import console
from kinema.calibration import display_clock
from kinema.clock import now_ns
from kinema.errors import ConfigError

_NAMES = ("127.0.0.1", "localhost")
_PAGE = string.Template("""<!doctype html><meta charset="utf-8"><title>Kinema clock</title>
<style>html,body{margin:0;height:100%;background:#fff;color:#555;font:16px sans-serif;text-align:center}
canvas{display:block;margin:0 auto}</style><canvas id="clock"></canvas><div id="text">asking for Kinema time</div>
<script>
const C = $layout, canvas = document.getElementById("clock"), text = document.getElementById("text");
const pen = canvas.getContext("2d");
let answers = [], frames = [], asked = 0;
async function ask() {
  const begin = performance.now(), answer = await fetch("now", {cache: "no-store"}), end = performance.now();
  const ms = Number(BigInt(await answer.text()) % (BigInt(C.tick) << BigInt(C.bits))) / 1e6;
  answers.push({offset: ms - (begin + end) / 2, trip: end - begin});
  answers = answers.slice(-50);
}
async function keepAsking() {
  try { await ask(); } catch (error) { answers = []; }
  setTimeout(keepAsking, ++asked < 30 ? 20 : 200);
}
function check(value) {
  let crc = 0;
  for (let k = C.bits - 1; k >= 0; k--) {
    const out = (crc >> 7) ^ (value >> k & 1);
    crc = (crc << 1 & 255) ^ (out ? C.polynomial : 0);
  }
  return crc;
}
function fit() {
  const unit = Math.floor(Math.min(innerWidth / (C.size[0] + 2), (innerHeight - 40) / (C.size[1] + 2)));
  if (canvas.width !== unit * (C.size[0] + 2)) {
    canvas.width = unit * (C.size[0] + 2);
    canvas.height = unit * (C.size[1] + 2);
  }
  return unit;
}
function show(now) {
  requestAnimationFrame(show);
  frames.push(now);
  frames = frames.slice(-240);
  const unit = fit(), paint = (x, y, w, h) =>
    pen.fillRect(Math.round((x + 1) * unit), Math.round((y + 1) * unit), Math.ceil(w * unit), Math.ceil(h * unit));
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, canvas.width, canvas.height);
  const best = answers.reduce((a, b) => b.trip < a.trip ? b : a, {trip: Infinity});
  if (best.trip > C.trip) {
    text.textContent = "no Kinema time: no answer within " + C.trip + " ms";
    return;
  }
  pen.fillStyle = "#000";
  C.tags.forEach(box => paint(...box));
  const turn = 2 ** C.bits, ticks = Math.round((now + best.offset) * 1e6 / C.tick);
  const value = ((ticks % turn) + turn) % turn, word = value * 2 ** C.checks + check(value);
  C.cells.forEach((pair, k) => {
    const set = Math.floor(word / 2 ** (C.bits + C.checks - 1 - k)) % 2, dark = pair[set];
    paint(dark[0] - C.cell[0] / 2, dark[1] - C.cell[1] / 2, C.cell[0], C.cell[1]);
  });
  const rate = frames.length > 30 ? 1e3 * (frames.length - 1) / (frames[frames.length - 1] - frames[0]) : 0;
  text.textContent = rate ? "clock " + rate.toFixed(2) + "Hz ?ms - Kinema time to " + (best.trip / 2).toFixed(2) +
    " ms; for ? put in the screen's delay" : "";
}
keepAsking();
requestAnimationFrame(show);
</script>""")


def page() -> str:
    """The page's HTML."""
    layout = {
        "size": display_clock.SIZE,
        "tick": display_clock.TICK_NS,
        "bits": display_clock.BITS,
        "checks": display_clock.CHECKS,
        "polynomial": display_clock.POLYNOMIAL,
        "cell": display_clock.CELL,
        "cells": display_clock.cells().tolist(),
        "tags": display_clock.black().tolist(),
        "trip": 4.0,
    }
    return _PAGE.substitute(layout=json.dumps(layout))


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # one connection for all questions: they are back sooner

    def do_GET(self) -> None:
        known = urlsplit(f"//{self.headers.get('Host', '')}").hostname in _NAMES  # DNS rebinding
        found = {"/": ("text/html; charset=utf-8", page), "/now": ("text/plain", lambda: str(now_ns()))}.get(self.path)
        if not known or found is None:
            self.send_error(403 if not known else 404)
            return
        body = found[1]().encode()
        self.send_response(200)
        self.send_header("Content-Type", found[0])
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: it is asked five times a second."""


def serve(port: int) -> http.server.ThreadingHTTPServer:
    """On loopback, port 0 any free one; raises ConfigError where it is taken."""
    try:
        return http.server.ThreadingHTTPServer(("127.0.0.1", port), _Handler)
    except OSError as error:
        raise ConfigError(f"port {port}: {error.strerror}; --port names another one") from error


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port", type=int, default=8090, help="of the page, 0 any free one; default %(default)s")


def run(arguments: argparse.Namespace) -> int:
    with serve(arguments.port) as server:
        console().print(f"open http://127.0.0.1:{server.server_port} on a screen of this machine; Ctrl+C ends it")
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()
    return 0
