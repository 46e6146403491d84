"""Events, respawn, and the end of a launch: in order, in every case, with no process left."""

import os
import signal
import subprocess
from pathlib import Path

import pytest


def test_events_reach_handlers_that_are_registered_later_in_the_file(launch):
    body = """[first := sh("exit 3", name="first"), OpaqueFunction(function=lambda context: [
        RegisterEventHandler(OnProcessStart(target_action=first, on_start=[LogInfo(msg="started")])),
        RegisterEventHandler(OnProcessExit(target_action=first, on_exit=lambda event, context:
            [LogInfo(msg=f"exited {event.returncode}")]))]),
        RegisterEventHandler(OnShutdown(on_shutdown=lambda event, context: LogInfo(msg=f"end: {event.reason}")))]"""
    assert launch(body).logged() == ["started", "exited 3", "end: idle"]


def test_a_handler_hears_only_of_its_target(launch):
    body = """[sh("exit 0"), other := sh("sleep 0.2"), RegisterEventHandler(OnProcessExit(target_action=other,
               on_exit=lambda event, context: [LogInfo(msg=event.process_name)]))]"""
    assert launch(body).logged() == ["sh-2"]


def test_on_exit_shutdown_stops_the_rest(launch):
    launched = launch("""[sh("exit 0", on_exit=Shutdown(reason="done")), sh("exec sleep 1000", name="sleeper")]""")
    assert launched.returncode == 0
    assert "sending signal 'SIGINT' to process[sleeper-2]" in launched.text and "exit code -2" in launched.text


def test_emitted_shutdown_event_and_timer(launch):
    body = """[sh("exec sleep 1000"), TimerAction(period=0.2, actions=[LogInfo(msg="now"),
               EmitEvent(event=ShutdownEvent(reason="timer"))]), TimerAction(period=500.0, actions=[])]"""
    assert launch(body).logged() == ["now"]


def test_respawn_until_its_limit(launch, package):
    count = package / "count"
    launch(f"""[sh("echo x >> {count}; exit 1", respawn=True, respawn_delay=0.01, respawn_max_retries=2)]""")
    assert len(count.read_text().split()) == 3


def test_an_error_in_a_handler_stops_everything_and_fails(launch):
    body = """[sh("exec sleep 1000", name="sleeper"), sh("exit 0", on_exit=lambda event, context: 1 / 0)]"""
    launched = launch(body)
    assert launched.returncode == 1
    assert "ZeroDivisionError" in launched.text and "to process[sleeper-1]" in launched.text


def test_output_goes_to_the_screen_as_asked_and_always_to_the_log(launch, package):
    shown = launch("""[ExecuteProcess(cmd=["sh", "-c", "echo out; echo err >&2"], name="quiet")]""")
    assert "[quiet-1] err" in shown.text and "[quiet-1] out" not in shown.text
    assert "[quiet-1] out" in next(package.glob("log/*/launch.log")).read_text()


def test_a_command_that_does_not_exist_is_named(launch):
    launched = launch("""[ExecuteProcess(cmd=["no-such-program"])]""")
    assert launched.returncode == 1 and "no-such-program" in launched.text


def test_temporary_parameter_files_are_gone_afterwards(launch, package, environment):
    environment["TMPDIR"] = str(package / "log")
    (package / "log").mkdir()
    launch("""[show(parameters=[{"a": 1}])]""")
    assert not list((package / "log").glob("launch_params_*"))


# A leader that ignores what it is told to, and a child of it that does the same in the background.
STUBBORN = "trap '' {ignored}; sh -c 'trap \"\" {ignored}; echo $$ > {pids}/child; while :; do sleep 0.05; done' & "
STUBBORN += "echo $$ > {pids}/leader; while :; do sleep 0.05; done"


@pytest.fixture
def pids(tmp_path: Path) -> Path:
    (tmp_path / "pids").mkdir()
    return tmp_path / "pids"


@pytest.fixture
def stubborn(launch_file, ros2, environment, start, wait_for, pids):
    """Start a launch with a process that ignores the given signals; yields the launcher, the process and its child."""

    def begin(ignored: str, sigkill_timeout: str = "60") -> subprocess.Popen:
        (pids / "script").write_text(STUBBORN.format(ignored=ignored, pids=pids))
        path = launch_file(f"""[ExecuteProcess(cmd=["sh", "{pids}/script"], name="stubborn", sigterm_timeout="0.5",
                                               sigkill_timeout="{sigkill_timeout}")]""")
        launcher = start(
            [*ros2, "launch", str(path)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for name in ("leader", "child"):
            wait_for(lambda name=name: (pids / name).exists() and (pids / name).read_text().strip(), what=name)
        return launcher

    return begin


def gone(pids: Path) -> bool:
    return not any(runs(int((pids / name).read_text())) for name in ("leader", "child"))


def runs(pid: int) -> bool:
    """Whether a process lives; one that has ended and only waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_every_ending_signal_stops_children_and_their_children(stubborn, pids, number):
    launcher = stubborn("QUIT")  # a shell's background child ignores SIGINT, so it takes SIGTERM
    launcher.send_signal(number)
    text = launcher.communicate(timeout=60)[0]
    assert gone(pids) and launcher.returncode == 0
    assert "exit code -2" in text and "'SIGKILL'" not in text


@pytest.mark.parametrize(("ignored", "last"), [("INT", "SIGTERM"), ("INT TERM", "SIGKILL")])
def test_signals_escalate_in_order(stubborn, pids, ignored, last):
    launcher = stubborn(ignored, "60" if last == "SIGTERM" else "0.5")
    launcher.send_signal(signal.SIGINT)
    text = launcher.communicate(timeout=60)[0]
    sent = [name for name in ("SIGINT", "SIGTERM", "SIGKILL") if f"sending signal '{name}'" in text]
    assert gone(pids) and sent == ["SIGINT", "SIGTERM", "SIGKILL"][: ["SIGTERM", "SIGKILL"].index(last) + 2]
    assert sorted(sent, key=lambda name: text.index(f"sending signal '{name}'")) == sent


@pytest.mark.parametrize("ignored", ["QUIT", "INT TERM"])
def test_no_orphan_survives_a_killed_launcher(stubborn, pids, wait_for, ignored):
    launcher = stubborn(ignored)
    os.kill(launcher.pid, signal.SIGKILL)
    wait_for(lambda: gone(pids), timeout=60, what="the end of all children")


def test_a_background_child_of_a_finished_process_is_stopped_too(launch, pids, wait_for):
    launched = launch(f"""[sh("sleep 1000 >/dev/null 2>&1 & echo $! > {pids}/child")]""")
    assert launched.returncode == 0
    assert not runs(int((pids / "child").read_text()))
