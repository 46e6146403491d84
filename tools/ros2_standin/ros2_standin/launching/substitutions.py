"""Substitutions and conditions of `launch` and `launch_ros`."""

import importlib
import os
import shlex
import shutil
import subprocess
from dataclasses import dataclass

from ament_index_python.packages import PackageNotFoundError, get_package_prefix, get_package_share_directory

from ros2_standin.errors import LaunchError
from ros2_standin.launching.entities import Condition, Context, Substitution, Text, describe, perform, truth


@dataclass(eq=False)
class TextSubstitution(Substitution):
    text: str

    def __init__(self, *, text: str) -> None:
        self.text = text

    def perform(self, context: Context) -> str:
        return self.text

    def describe(self) -> str:
        return f"'{self.text}'"


@dataclass(eq=False)
class LaunchConfiguration(Substitution):
    variable_name: Text
    default: Text | None = None

    def perform(self, context: Context) -> str:
        name = perform(context, self.variable_name)
        if name in context.launch_configurations:
            return context.launch_configurations[name]
        if self.default is None:
            raise LaunchError(f"launch configuration '{name}' does not exist")
        return perform(context, self.default if not isinstance(self.default, bool | int | float) else str(self.default))

    def describe(self) -> str:
        return f"LaunchConfig({describe(self.variable_name)})"


@dataclass(eq=False)
class PathJoinSubstitution(Substitution):
    substitutions: list[Text]

    def perform(self, context: Context) -> str:
        return os.path.join(*(perform(context, part) for part in self.substitutions))

    def describe(self) -> str:
        return f"PathJoin({describe(self.substitutions)})"


@dataclass(eq=False)
class EnvironmentVariable(Substitution):
    name: Text
    default_value: Text | None = None

    def perform(self, context: Context) -> str:
        name = perform(context, self.name)
        if name in os.environ:
            return os.environ[name]
        if self.default_value is None:
            raise LaunchError(f"environment variable '{name}' does not exist")
        return perform(context, self.default_value)

    def describe(self) -> str:
        return f"EnvVar({describe(self.name)})"


@dataclass(eq=False)
class Command(Substitution):
    command: Text
    on_stderr: Text = "fail"

    def perform(self, context: Context) -> str:
        command, on_stderr = perform(context, self.command), perform(context, self.on_stderr)
        if on_stderr not in ("fail", "ignore", "warn", "capture"):
            raise LaunchError(f"Command(on_stderr={on_stderr!r}): allowed are fail, ignore, warn, capture")
        stderr = subprocess.STDOUT if on_stderr == "capture" else subprocess.PIPE
        try:  # not a shell
            done = subprocess.run(shlex.split(command), stdout=subprocess.PIPE, stderr=stderr, text=True)
        except FileNotFoundError as error:
            raise LaunchError(f"command not found: {command}") from error
        if done.returncode or (done.stderr and on_stderr == "fail"):
            raise LaunchError(f"command failed with exit code {done.returncode}: {command}\n{done.stderr or ''}")
        if done.stderr and on_stderr == "warn":
            print(done.stderr, end="", flush=True)
        return done.stdout


@dataclass(eq=False)
class FindExecutable(Substitution):
    name: Text

    def __init__(self, *, name: Text) -> None:
        self.name = name

    def perform(self, context: Context) -> str:
        name = perform(context, self.name)
        path = shutil.which(name)
        if path is None:
            raise LaunchError(f"executable '{name}' not found on the PATH")
        return path


@dataclass(eq=False)
class PythonExpression(Substitution):
    expression: Text
    python_modules: tuple[Text, ...] = ("math",)

    def perform(self, context: Context) -> str:
        modules = {name: importlib.import_module(name) for name in (perform(context, m) for m in self.python_modules)}
        names = {**vars(modules["math"]), **modules} if "math" in modules else modules
        return str(eval(perform(context, self.expression), dict(names)))


class ThisLaunchFile(Substitution):
    def perform(self, context: Context) -> str:
        return _local(context, "current_launch_file_path")


class ThisLaunchFileDir(Substitution):
    def perform(self, context: Context) -> str:
        return _local(context, "current_launch_file_directory")


def _local(context: Context, name: str) -> str:
    value = context.get_locals_as_dict().get(name)
    if value is None:
        raise LaunchError("not in a launch file, so it has no path")
    return value


@dataclass(eq=False)
class NotSubstitution(Substitution):
    value: Text

    def perform(self, context: Context) -> str:
        return str(not truth(context, self.value)).lower()


@dataclass(eq=False)
class AndSubstitution(Substitution):
    left: Text
    right: Text

    def perform(self, context: Context) -> str:
        return str(truth(context, self.left) and truth(context, self.right)).lower()


@dataclass(eq=False)
class OrSubstitution(Substitution):
    left: Text
    right: Text

    def perform(self, context: Context) -> str:
        return str(truth(context, self.left) or truth(context, self.right)).lower()


@dataclass(eq=False)
class EqualsSubstitution(Substitution):
    left: Text
    right: Text

    def perform(self, context: Context) -> str:
        return str(perform(context, self.left) == perform(context, self.right)).lower()


@dataclass(eq=False)
class NotEqualsSubstitution(Substitution):
    left: Text
    right: Text

    def perform(self, context: Context) -> str:
        return str(perform(context, self.left) != perform(context, self.right)).lower()


@dataclass(eq=False)
class IfElseSubstitution(Substitution):
    condition: Text
    if_value: Text = ""
    else_value: Text = ""

    def perform(self, context: Context) -> str:
        return perform(context, self.if_value if truth(context, self.condition) else self.else_value)


@dataclass(eq=False)
class FindPackageShare(Substitution):
    package: Text

    def perform(self, context: Context) -> str:
        return _in_index(get_package_share_directory, perform(context, self.package))


@dataclass(eq=False)
class FindPackagePrefix(Substitution):
    package: Text

    def perform(self, context: Context) -> str:
        return _in_index(get_package_prefix, perform(context, self.package))


@dataclass(eq=False)
class ExecutableInPackage(Substitution):
    executable: Text
    package: Text

    def perform(self, context: Context) -> str:
        return executable_in_package(perform(context, self.package), perform(context, self.executable))


def executable_in_package(package: str, executable: str) -> str:
    """The path of a package's node; raises LaunchError naming the executables there are."""
    folder = os.path.join(_in_index(get_package_prefix, package), "lib", package)
    path = os.path.join(folder, executable)
    if not os.access(path, os.X_OK):
        there = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
        raise LaunchError(
            f"executable '{executable}' not found in {folder}, which has: {', '.join(there) or 'nothing'}"
        )
    return path


def _in_index(look_up, package: str) -> str:
    try:
        return look_up(package)
    except (PackageNotFoundError, ValueError) as error:
        raise LaunchError(str(error)) from error


@dataclass(eq=False)
class IfCondition(Condition):
    predicate_expression: Text

    def evaluate(self, context: Context) -> bool:
        return truth(context, self.predicate_expression)


@dataclass(eq=False)
class UnlessCondition(Condition):
    predicate_expression: Text

    def evaluate(self, context: Context) -> bool:
        return not truth(context, self.predicate_expression)


@dataclass(eq=False)
class LaunchConfigurationEquals(Condition):
    launch_configuration_name: Text
    expected_value: Text | None

    def evaluate(self, context: Context) -> bool:
        name = perform(context, self.launch_configuration_name)
        expected = None if self.expected_value is None else perform(context, self.expected_value)
        return context.launch_configurations.get(name) == expected


@dataclass(eq=False)
class LaunchConfigurationNotEquals(LaunchConfigurationEquals):
    def evaluate(self, context: Context) -> bool:
        return not super().evaluate(context)
