"""gym-pusht in a process of its own: resets, steps, steps on trial and trial pushes as records on a socket.

Neither gymnasium nor pygame nor pymunk is among Kinema's own packages, so this file is run by the interpreter of
`.venv-pusht`: it imports nothing of Kinema.

    python server.py SOCKET

SOCKET is an inherited SOCK_SEQPACKET file descriptor. The first record that goes out is READY or FAILED; from then on
each record that comes in is answered by one. Ends when the socket's other end closes.

All lengths are the environment's: pixels of its window of 512 x 512, x to the right, y down, angles from x to y [rad].
"""

import contextlib
import os
import socket
import struct
import sys
from typing import Any

import numpy as np

READY, FAILED, RESET, STEP, PUSH, MOMENT, PUSHED, TRY = range(8)  # the first byte of a record

SIZE = 96  # [px] of the images, height and width
STEPS = 300  # that an episode has at most, as gym-pusht registers it

WORDS = struct.Struct("<Bx254s")  # READY: versions; FAILED: why

# the seed, colour of background and goal (RGB), how many objects lie about
RESET_RECORD = struct.Struct("<BxxxQ3B3BBx")
STEP_RECORD = struct.Struct("<B7xdd")  # target of the agent x, y

# Steps on trial: `count` float64 rows (2) follow, targets x y, one a step. The answer is the moment that they lead to.
TRY_RECORD = struct.Struct("<BxxxI")

# over, coverage [-], agent x y, its velocity [px/s] x y, block x y angle; the image follows: (SIZE, SIZE, 3) uint8 RGB
MOMENT_RECORD = struct.Struct("<BB6xd2d2d3d")

# Trial pushes from a set state, on a world beside: block x y angle; `count` float64 rows (4) follow, start of the agent
# x y and how far it goes in a physics step x y. Each goes `looks` times `between` physics steps.
PUSH_RECORD = struct.Struct("<BxHHH3d")
PUSHED_RECORD = struct.Struct("<BxHHxx")  # count, looks; then (count, looks, 3) float64 of the block

LARGEST = 200_000  # [bytes] of a record

WHITE, GREEN = (255, 255, 255), (144, 238, 144)  # as gym-pusht paints background and goal
_PICTURE = "pixels_agent_pos"  # the observation that has an image
_OBJECTS = ((196, 64, 64), (208, 168, 48), (120, 80, 168), (72, 152, 152))  # colours of what lies about


def words(kind: int, text: str) -> bytes:
    return WORDS.pack(kind, text.encode("utf-8")[:254])


class Server:
    """One environment that is stepped, and a second whose block is pushed about to see what would come of it."""

    def __init__(self) -> None:
        import cv2
        import gymnasium
        from gym_pusht.envs.pusht import PushTEnv

        class Disturbed(PushTEnv):
            """The same, painted otherwise; what is painted as usual is as gym-pusht paints it."""

            ground, goal, objects, scene = WHITE, GREEN, 0, 0

            def _draw(self) -> Any:
                screen = super()._draw()
                if (self.ground, self.goal, self.objects) != (WHITE, GREEN, 0):
                    _repaint(screen, self.ground, self.goal, self.objects, self.scene)
                return screen

        arguments = {"obs_type": _PICTURE, "observation_width": SIZE, "observation_height": SIZE}
        self._inner = Disturbed(**arguments)
        self._env = gymnasium.wrappers.TimeLimit(self._inner, STEPS)
        self._beside = PushTEnv()
        cv2.setNumThreads(1)
        self._beside.reset(seed=0)
        self._beside.collision_handeler.post_solve = lambda arbiter, space, data: None  # contacts needn't be counted

    def reset(self, record: bytes) -> bytes:
        _, seed, *look = RESET_RECORD.unpack(record)
        inner = self._inner
        inner.ground, inner.goal, inner.objects, inner.scene = tuple(look[:3]), tuple(look[3:6]), look[6], seed
        observation, _ = self._env.reset(seed=seed)
        return self._moment(observation, False)

    def step(self, record: bytes) -> bytes:
        _, x, y = STEP_RECORD.unpack(record)
        observation, _, terminated, truncated, _ = self._env.step(np.array([x, y]))
        return self._moment(observation, terminated or truncated)

    def _moment(self, observation: Any, over: bool) -> bytes:
        agent, block = self._inner.agent, self._inner.block
        numbers = (*agent.position, *agent.velocity, *block.position, block.angle)
        told = MOMENT_RECORD.pack(MOMENT, over, self._inner._get_coverage(), *numbers)
        return told + np.ascontiguousarray(observation["pixels"], np.uint8).tobytes()

    def attempt(self, record: bytes) -> bytes:
        """The moment that targets would lead to from the present one, which stays.

        It is a copy of the process that goes on: what contacts have been through counts, too, and neither pymunk's own
        copy of a world has that right, nor a world beside whose state is set.
        """
        found, told = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                with os.fdopen(told, "wb") as stream:
                    stream.write(_answered(self._attempted, record))
            finally:
                os._exit(0)  # whatever comes: there is but one server
        os.close(told)
        with os.fdopen(found, "rb") as stream:
            answer = stream.read()
        os.waitpid(child, 0)
        return answer or words(FAILED, "a trial ended without an answer")

    def _attempted(self, record: bytes) -> bytes:
        _, count = TRY_RECORD.unpack_from(record)
        targets, over = np.frombuffer(record, np.float64, 2 * count, TRY_RECORD.size).reshape(count, 2), False
        self._inner.obs_type = "state"  # nobody looks on the way
        for target in targets:
            *_, terminated, truncated, _ = self._env.step(target)
            over = terminated or truncated
            if over:
                break
        self._inner.obs_type = _PICTURE
        return self._moment(self._inner.get_obs(), over)

    def push(self, record: bytes) -> bytes:
        _, count, looks, between, *block = PUSH_RECORD.unpack_from(record)
        rows = np.frombuffer(record, np.float64, 4 * count, PUSH_RECORD.size).reshape(count, 4)
        seen = [self._pushed(block, row.tolist(), looks, between) for row in rows]
        return PUSHED_RECORD.pack(PUSHED, count, looks) + np.array(seen, np.float64).tobytes()

    def _pushed(self, block: list, push: list, looks: int, between: int) -> list:
        env, dt = self._beside, self._beside.dt
        env.agent.velocity = (0.0, 0.0)
        env.block.velocity, env.block.angular_velocity = (0.0, 0.0), 0.0
        env.agent.position = tuple(push[:2])
        env.block.angle = block[2]  # first, since it turns about the centre of mass and so moves the position
        env.block.position = tuple(block[:2])
        env.space.reindex_shapes_for_body(env.block)
        env.space.reindex_shapes_for_body(env.agent)
        env.agent.velocity = (push[2] / dt, push[3] / dt)
        poses = []
        for _ in range(looks):
            for _ in range(between):
                env.space.step(dt)
            poses.append((*env.block.position, env.block.angle))
        return poses


def _answered(act: Any, *arguments: Any) -> bytes:
    """What comes of it, or what went wrong."""
    try:
        answer: bytes = act(*arguments)
    except Exception as error:
        return words(FAILED, f"{type(error).__name__}: {error}")
    return answer


def _repaint(screen: Any, ground: tuple, goal: tuple, objects: int, scene: int) -> None:
    """Other colours for background and goal; objects lie on the background, where and how large the scene says."""
    import pygame

    random = np.random.default_rng((scene, 1))
    bare = np.all(pygame.surfarray.array3d(screen) == WHITE, axis=2)
    marked = np.all(pygame.surfarray.array3d(screen) == GREEN, axis=2)
    painted = pygame.Surface(screen.get_size())
    painted.fill(ground)
    for i in range(objects):
        (x, y), (width, height) = random.integers(20, 440, 2), random.integers(40, 90, 2)
        draw = pygame.draw.ellipse if i % 2 else pygame.draw.rect
        draw(painted, _OBJECTS[i % len(_OBJECTS)], (x, y, width, height))
    pixels = pygame.surfarray.pixels3d(screen)
    pixels[bare] = pygame.surfarray.array3d(painted)[bare]
    pixels[marked] = goal


def main(arguments: list) -> int:
    channel = socket.socket(fileno=int(arguments[0]))
    try:
        from importlib.metadata import version

        server = Server()
        channel.send(words(READY, " ".join(version(name) for name in ("gym-pusht", "pymunk", "gymnasium"))))
    except Exception as error:  # whatever keeps it from starting is told to whoever started it
        channel.send(words(FAILED, f"{type(error).__name__}: {error}"))
        return 1
    answers = {RESET: server.reset, STEP: server.step, TRY: server.attempt, PUSH: server.push}
    while record := channel.recv(LARGEST):
        channel.send(_answered(lambda some: answers[some[0]](some), record))
    return 0


if __name__ == "__main__":
    os.environ["SDL_VIDEODRIVER"] = "dummy"
    os.environ["PYGAME_HIDE_SUPPORT_PROMPT"] = "1"
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        sys.exit(main(sys.argv[1:]))
