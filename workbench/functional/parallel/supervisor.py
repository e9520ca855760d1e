"""Run a script as a child, and say which rank it was if it is killed: nobody else can.

Run by its path, before anything is imported: ``mpiexec -n 4 python supervisor.py script.py``.
"""

import os
import signal
import sys


def supervise(command: list[str]) -> int:
    """Run a command with this process's rank; return its exit status."""
    child = os.fork()
    if child == 0:
        os.execv(command[0], command)
    # Whoever ends this process means the child.
    signal.signal(signal.SIGTERM, lambda number, frame: os.kill(child, number))
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
    if code not in (0, -signal.SIGTERM):
        rank, size = os.environ.get("PMI_RANK", "?"), os.environ.get("PMI_SIZE", "?")
        print(f"rank {rank} of {size} {how}", file=sys.stderr, flush=True)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(supervise([sys.executable, *sys.argv[1:]]))
