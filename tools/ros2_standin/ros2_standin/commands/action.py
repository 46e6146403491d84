"""`ros2 action`: send_goal."""

import argparse

import rclpy
from action_msgs.msg import GoalStatus
from rclpy.action import ActionClient

from ros2_standin.commands.graph import PATIENCE, answer, as_yaml, filled, interface, observer
from ros2_standin.errors import CommandError

STATUS = {
    GoalStatus.STATUS_SUCCEEDED: "SUCCEEDED",
    GoalStatus.STATUS_CANCELED: "CANCELED",
    GoalStatus.STATUS_ABORTED: "ABORTED",
}


def add(verbs: argparse._SubParsersAction) -> None:
    commands = verbs.add_parser("action", help="send goals").add_subparsers(metavar="send_goal", required=True)
    parser = commands.add_parser("send_goal", help="send a goal and wait for its result; ctrl-c cancels it")
    parser.add_argument("-f", "--feedback", action="store_true", help="print feedback")
    parser.add_argument("action")
    parser.add_argument("type", help="such as kinema_interfaces/action/RunPolicy")
    parser.add_argument("goal", nargs="?", default="{}", help="the goal's fields as YAML")
    parser.set_defaults(main=send)


def send(options: argparse.Namespace) -> int:
    kind = interface(options.type)
    goal = filled(kind.Goal(), options.goal)
    with observer() as node:
        client = ActionClient(node, kind, options.action)
        if not client.wait_for_server(PATIENCE):
            raise CommandError(f"action '{options.action}' did not appear within {PATIENCE:.0f} s")
        listener = (
            (lambda message: print("Feedback:\n" + as_yaml(message.feedback), flush=True)) if options.feedback else None
        )
        handle = answer(node, client.send_goal_async(goal, feedback_callback=listener), f"action '{options.action}'")
        if not handle.accepted:
            raise CommandError("the goal was rejected")
        print("Goal accepted", flush=True)
        result = handle.get_result_async()
        try:
            rclpy.spin_until_future_complete(node, result)
        except KeyboardInterrupt:
            answer(node, handle.cancel_goal_async(), f"action '{options.action}'")
            rclpy.spin_until_future_complete(node, result, timeout_sec=PATIENCE)
        if not result.done():
            raise CommandError("the goal was cancelled; no result came")
        status = result.result().status
        print(f"Result:\n{as_yaml(result.result().result)}Goal finished with status: {STATUS.get(status, status)}")
        return 0 if status == GoalStatus.STATUS_SUCCEEDED else 1
