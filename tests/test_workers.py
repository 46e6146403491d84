"""Work over processes: results come as they are ready, and no worker outlives who asked."""

import os
import subprocess
import sys
from pathlib import Path

from kinema.workers import on_all_cores

_ASKS = """
import os, time
from kinema.workers import workers
with workers(1) as pool:
    print(pool.submit(os.getpid).result(), flush=True)
    pool.submit(time.sleep, 600).result()
"""


def test_every_tuple_of_arguments_has_its_result():
    assert sorted(on_all_cores(divmod, [(n, 3) for n in range(5)], 2)) == [divmod(n, 3) for n in range(5)]


def test_a_worker_ends_with_who_asked_even_in_the_middle_of_its_work(tmp_path, wait_for):
    script = tmp_path / "asks.py"
    script.write_text(f"if __name__ == '__main__':\n{''.join(f'    {line}' for line in _ASKS.splitlines(True))}")
    asking = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=os.environ.copy())
    worker = int(asking.stdout.readline())
    assert Path(f"/proc/{worker}").exists()
    asking.kill()
    asking.wait()
    wait_for(lambda: not _runs(worker), timeout=30.0, what="the worker's end")


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
