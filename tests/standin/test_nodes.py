"""A node is started with the arguments that the real launch gives it (compared with launch_ros 0.26)."""

import json


def parameters(name: str, **values: object) -> str:
    return "yaml " + json.dumps({name: {"ros__parameters": values}}, sort_keys=True)


def test_plain_node_gets_an_empty_ros_section(launch):
    assert launch("[show()]").shown()[0]["argv"] == ["--ros-args"]


def test_name_namespace_arguments_remappings_in_the_real_order(launch):
    body = """[show(name="n", namespace="left", arguments=["--x", "1"], ros_arguments=["--log-level", "info"],
                    parameters=[{"a": 1}], remappings=[("from", "to")])]"""
    assert launch(body).shown()[0]["argv"] == [
        *("--x", "1", "--ros-args", "--log-level", "info", "--ros-args", "-r", "__node:=n", "-r", "__ns:=/left"),
        *("--params-file", parameters("/left/n", a=1), "-r", "from:=to"),
    ]


def test_parameters_hold_for_every_node_unless_name_and_namespace_are_both_given(launch):
    shown = launch("""[show(name="n", parameters=[{"a": 1}]), show(namespace="/b", parameters=[{"a": 1}])]""").shown()
    assert [node["argv"][-1] for node in shown] == [parameters("/**", a=1)] * 2


def test_empty_namespace_is_the_root(launch):
    argv = launch("""[show(name="n", namespace="", parameters=[{"a": 1}])]""").shown()[0]["argv"]
    assert argv[3:5] == ["-r", "__ns:=/"]
    assert argv[-1] == parameters("/n", a=1)


def test_parameter_values_keep_their_types(launch):
    body = """[DeclareLaunchArgument("rate", default_value="5"), show(parameters=[{
        "text": "0.5", "flag": True, "empty": "", "mixed": [1, 2.5], "texts": ["1", "true"],
        "read": LaunchConfiguration("rate"), "joined": ["a", LaunchConfiguration("rate")],
        "forced": ParameterValue(LaunchConfiguration("rate"), value_type=str), "outer": {"a": 1, "inner": {"b": "x"}},
    }])]"""
    expected = {"text": "0.5", "flag": True, "empty": "", "mixed": [1.0, 2.5], "texts": ["1", "true"], "read": 5}
    expected |= {"joined": "a5", "forced": "5", "outer.a": 1, "outer.inner.b": "x"}
    assert launch(body).shown()[0]["argv"][-1] == parameters("/**", **expected)


def test_parameter_file_is_passed_as_it_is_and_a_missing_one_left_out(launch, package):
    (package / "share/demo/p.yaml").write_text("/**: {ros__parameters: {a: 1}}\n")
    given = """PathJoinSubstitution([FindPackageShare("demo"), "p.yaml"])"""
    launched = launch(f"""[show(parameters=[{given}, ParameterFile({given}), "/absent.yaml"])]""")
    path = str(package / "share/demo/p.yaml")
    assert launched.shown()[0]["argv"] == ["--ros-args", "--params-file", path, "--params-file", path]
    assert "not a file: /absent.yaml" in launched.text


def test_group_scopes_namespace_parameters_and_remappings(launch):
    body = """[GroupAction([PushRosNamespace("arm"), PushRosNamespace("left"), SetParameter("use_sim_time", True),
                            SetRemap("x", "y"), show(name="n"), show(namespace="/elsewhere")]), show()]"""
    inner, absolute, outside = (node["argv"] for node in launch(body).shown())
    assert inner == [
        *("--ros-args", "-r", "__node:=n", "-r", "__ns:=/arm/left", "-p", "use_sim_time:=True", "-r", "x:=y")
    ]
    assert absolute[:3] == ["--ros-args", "-r", "__ns:=/elsewhere"]
    assert outside == ["--ros-args"]


def test_parameter_lists_that_ros_cannot_hold_are_refused(launch):
    for value in ("[1, 'a']", "[]", "object()"):
        launched = launch(f"""[show(parameters=[{{"p": {value}}}])]""")
        assert launched.returncode == 1
        assert "parameter 'p'" in launched.text


def test_unknown_executable_names_those_there_are(launch):
    launched = launch("""[Node(package="demo", executable="absent")]""")
    assert launched.returncode == 1
    assert "executable 'absent' not found" in launched.text and "which has: show" in launched.text
