"""Arguments, conditions, includes, scopes, and the refusal of what is not supported."""

import subprocess
import sys

import pytest


def test_argument_defaults_values_and_choices(launch):
    body = """[DeclareLaunchArgument("a", default_value="1", choices=["1", "2"]),
               LogInfo(msg=["a is ", LaunchConfiguration("a")])]"""
    assert launch(body).logged() == ["a is 1"]
    assert launch(body, "a:=2").logged() == ["a is 2"]
    assert launch(body, "a:=1", "a:=2").logged() == ["a is 2"]  # the last one wins
    refused = launch(body, "a:=3")
    assert refused.returncode == 1 and refused.logged() == []
    assert "argument 'a': '3' is not valid; valid are ['1', '2']" in refused.text


def test_missing_argument_is_named_before_anything_starts(launch):
    launched = launch("""[show(), DeclareLaunchArgument("speed", description="how fast")]""")
    assert launched.returncode == 1
    assert "needs the argument 'speed' (how fast)" in launched.text and "process started" not in launched.text


@pytest.mark.parametrize("argument", ["a", "a:=", ":=1"])
def test_malformed_argument_is_refused(launch, argument):
    launched = launch("[]", argument)
    assert launched.returncode == 1
    assert f"malformed launch argument '{argument}'" in launched.text


def test_show_args(launch, launch_file, ros2, environment):
    path = launch_file(
        """[DeclareLaunchArgument("a", default_value="1", choices=["1", "2"], description="what"),
            DeclareLaunchArgument("b", condition=IfCondition("true")), show()]"""
    )
    for where in ([str(path)], ["demo", path.name]):
        done = subprocess.run([*ros2, "launch", "-s", *where], env=environment, capture_output=True, text=True)
        assert done.stdout == (
            "Arguments (pass arguments as '<name>:=<value>'):\n"
            "\n    'a':\n        what. Valid choices are: ['1', '2']\n        (default: '1')\n"
            "\n    'b':*\n        no description given\n"
            "\n* argument(s) which are only used if specific conditions occur\n"
        )


def test_conditions(launch):
    body = """[DeclareLaunchArgument("on"), LogInfo(msg="if", condition=IfCondition(LaunchConfiguration("on"))),
               LogInfo(msg="unless", condition=UnlessCondition(PythonExpression(["'", LaunchConfiguration("on"),
                                                                                 "' == 'true'"])))]"""
    assert launch(body, "on:=true").logged() == ["if"]
    assert launch(body, "on:=0").logged() == ["unless"]
    assert "condition 'maybe': allowed are true, 1, false, 0" in launch(body, "on:=maybe").text


def test_substitutions(launch, package):
    body = """[SetEnvironmentVariable("GREETING", "hello"), LogInfo(msg=[EnvironmentVariable("GREETING"), " ",
        EnvironmentVariable("ABSENT", default_value="there"), " ", Command("echo -n $HOME"), " ",
        PythonExpression(["2 * ", "3"]), " ", PathJoinSubstitution(["a", "b"]), " ", ThisLaunchFileDir(), " ",
        IfElseSubstitution(EqualsSubstitution("x", "x"), "same", "other")]), show()]"""
    launched = launch(body)
    folder = package / "share/demo/launch"
    assert launched.logged() == [f"hello there $HOME 6 a/b {folder} same"]  # a command is not a shell
    assert launched.shown()[0]["GREETING"] == "hello"


def test_include_passes_arguments(launch, package):
    (package / "share/demo/launch/inner.launch.py").write_text(
        "from launch import LaunchDescription\n"
        "from launch.actions import DeclareLaunchArgument, LogInfo\n"
        "from launch.substitutions import LaunchConfiguration\n"
        "def generate_launch_description():\n"
        "    return LaunchDescription([DeclareLaunchArgument('who'), LogInfo(msg=LaunchConfiguration('who'))])\n"
    )
    include = """IncludeLaunchDescription(PythonLaunchDescriptionSource([ThisLaunchFileDir(), "/inner.launch.py"]){})"""
    assert launch(f"""[{include.format(', launch_arguments={"who": "me"}.items()')}]""").logged() == ["me"]
    assert "needs the argument 'who'" in launch(f"[{include.format('')}]").text


def test_group_restores_configurations_and_environment(launch):
    say = """LogInfo(msg=[LaunchConfiguration("c"), EnvironmentVariable("GREETING", default_value="-")])"""
    body = f"""[SetLaunchConfiguration("c", "outer"), GroupAction([SetLaunchConfiguration("c", "inner"),
                SetEnvironmentVariable("GREETING", "hi"), {say}]), {say}]"""
    assert launch(body).logged() == ["innerhi", "outer-"]


def test_opaque_function_gets_context_and_yields_actions(launch):
    body = """[SetLaunchConfiguration("c", "1"), OpaqueFunction(args=[2], kwargs={"z": 3}, function=
               lambda context, a, z: [LogInfo(msg=LaunchConfiguration("c").perform(context) + str(a) + str(z))])]"""
    assert launch(body).logged() == ["123"]


@pytest.mark.parametrize(
    ("statement", "name"),
    [
        ("from launch.actions import OpaqueCoroutine", "launch.actions.OpaqueCoroutine"),
        ("from launch_ros.actions import LifecycleNode", "launch_ros.actions.LifecycleNode"),
        ("import launch.frontend", "module launch.frontend"),
        (
            "from launch.actions import ExecuteProcess as E; E(cmd=['a'], cached_output=True)",
            "ExecuteProcess(cached_output=…)",
        ),
        (
            "from launch.actions import ExecuteProcess as E; E(cmd=['a'], emulate_tty=True)",
            "ExecuteProcess(emulate_tty=True)",
        ),
    ],
)
def test_what_is_not_supported_is_refused_by_name(launch_file, ros2, environment, statement, name):
    path = launch_file("[]")
    path.write_text(f"{statement}\n{path.read_text()}")
    done = subprocess.run([*ros2, "launch", str(path)], env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert f"{name} is not in this stand-in `ros2`" in done.stdout + done.stderr


def test_the_launch_names_are_not_on_disk():
    done = subprocess.run([sys.executable, "-I", "-c", "import launch"], capture_output=True, text=True)
    assert "No module named 'launch'" in done.stderr
