"""A node of the test's own on the graph."""

import threading


class Spun:
    """`node` of this name; from `spin` until `close` a thread does what comes to it."""

    def __init__(self, name: str) -> None:
        import rclpy
        from rclpy.signals import SignalHandlerOptions

        self._shutdown = rclpy.shutdown
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        self.node = rclpy.create_node(name)

    def spin(self) -> None:
        from rclpy.experimental import EventsExecutor

        self._executor, self._over = EventsExecutor(), threading.Event()
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.is_set():
            self._executor.spin_once(timeout_sec=0.1)

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        self.node.destroy_node()
        self._shutdown()
