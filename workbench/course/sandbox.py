"""Where answers run: bubblewrap where there is one, limits and a kill elsewhere.

Inside bubblewrap an answer has no network, no processes but its own, an empty ``/tmp``
in memory, and of the disk only the system, Python, NumPy and the library as its question
sees it (:mod:`workbench.course.library`), all of it read-only.  Course folders, other
submissions, checks and the gradebook are not there.

Elsewhere the same process runs under the limits that the system has, in a folder of its
own, and is killed with all its children when it is late or too large.  It can read what
the user who grades can read; so every row of such a run says UNISOLATED.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import importlib.util
import os
import secrets
import shutil
import signal
import site
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from workbench.course.channel import ClosedError, TooLateError

__all__ = ["BUBBLEWRAP", "UNISOLATED", "Ended", "Limits", "Sandbox", "isolation"]

BUBBLEWRAP, UNISOLATED = "bubblewrap", "UNISOLATED"
PACKAGES = (
    "numpy",
    "llvmlite",
    "threadpoolctl",
    "safetensors",
    "platformdirs",
    "typing_extensions",
)
SYSTEM = ("/usr", "/lib", "/lib64", "/lib32", "/bin", "/sbin", "/etc/alternatives",
          "/etc/ld.so.cache")  # fmt: skip
# No bytecode is written, and nothing is on the path but what is named: not the user's own
# packages, not this folder, not what an installer's .pth files would add.
FLAGS = ("-B", "-s", "-S", "-P", "-m", "workbench.course.worker")
STARTED = 20.0  # Seconds that Python may take to start on a busy machine.
CAN_FORK = sys.platform == "linux"  # Elsewhere a process that has threads is not forked safely.


@dataclass(frozen=True)
class Limits:
    """What the process of one check may take.

    Parameters
    ----------
    seconds : float
        Processor time; by the clock it may take six times as long.
    megabytes : int
        Memory beyond what Python and the libraries take.
    processes : int
        At a time.
    """

    seconds: float = 10.0
    megabytes: int = 1500
    processes: int = 12


@dataclass(frozen=True)
class Ended:
    """How a process ended: the signal that killed it (0 for none), and its largest memory."""

    signal: int = 0
    memory: int = 0


@functools.cache
def isolation() -> tuple[str, str]:
    """Return what holds answers on this machine, and for UNISOLATED the reason."""
    if sys.platform != "linux":
        return UNISOLATED, f"bubblewrap is for Linux; this is {sys.platform}"
    if shutil.which("bwrap") is None:
        return UNISOLATED, "bubblewrap is not installed (Debian, Ubuntu: apt install bubblewrap)"
    try:
        _namespaces()
    except OSError as error:
        return UNISOLATED, f"bubblewrap does not work here: {error}"
    return BUBBLEWRAP, ""


@functools.cache
def _namespaces() -> tuple[str, ...]:
    """Return the options that part an answer from the system, as far as this user may."""
    everything = ("--unshare-all",)
    # Root can do without a user namespace, and then each sandbox gets a user id of its own,
    # so that the limit on processes counts: the kernel exempts root from it.
    as_root = ("--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts",
               "--unshare-cgroup-try", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID")  # fmt: skip
    for options in (as_root, everything) if _is_root() else (everything,):
        done = subprocess.run(["bwrap", *options, "--ro-bind", "/", "/", "true"],
                              capture_output=True, text=True, errors="replace")  # fmt: skip
        if done.returncode == 0:
            return options
    raise OSError(done.stderr.strip()[-200:])


class Sandbox:
    """A place for the processes of one submission, started when first needed.

    Parameters
    ----------
    library : Path
        Folder with the package that answers may import.
    preload : tuple of str
        Modules that each process finds imported.
    mode : str
        :data:`BUBBLEWRAP` or :data:`UNISOLATED`.
    limits : Limits
        Of each process.
    """

    def __init__(self, library: Path, preload: tuple[str, ...], mode: str, limits: Limits) -> None:
        self.library, self.preload, self.mode, self.limits = library, preload, mode, limits
        self.process: subprocess.Popen[bytes] | None = None
        self.control: socket.socket | None = None
        self.folder: Path | None = None
        self._ended = Ended()

    def connect(self) -> socket.socket:
        """Start a fresh process for one check; return the connection to it.

        Raises
        ------
        ClosedError, TooLateError
            If none can be started.
        """
        self._ended = Ended()
        for attempt in (1, 2):
            try:
                if self.process is None:
                    self._start()
                if not CAN_FORK:
                    assert self.control is not None
                    return self.control
                return self._fork()
            except (OSError, ClosedError):  # An earlier check killed the process that forks.
                self.stop()
                if attempt == 2:
                    raise ClosedError from None
        raise AssertionError("not reached")

    def _fork(self) -> socket.socket:
        assert self.control is not None
        ours, theirs = socket.socketpair()
        with theirs:
            words = (int(self.limits.seconds) + 1, self.limits.megabytes, self.limits.processes)
            try:
                socket.send_fds(
                    self.control, [" ".join(map(str, words)).encode()], [theirs.fileno()]
                )
            except OSError:
                ours.close()
                raise
        return ours

    def ended(self) -> Ended:
        """Wait for the end of the last check's process; stop everything if it lingers."""
        if self.process is None or self.control is None:
            return self._ended
        if not CAN_FORK:
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = self.process.wait(2)
                self._ended = Ended(-status if status < 0 else 0, self._ended.memory)
            self.stop()
            return self._ended
        try:
            status, memory = map(int, _line(self.control, 2.0).split())
        except (ClosedError, TooLateError, ValueError, OSError):
            status = self.process.poll() or 0
            self.stop()
            # bwrap repeats the fate of the process in it: 128 + signal.
            number = status - 128 if status > 128 else -status if status < 0 else 0
            return Ended(number, self._ended.memory)
        return Ended(os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0, memory)

    def watch(self) -> int:
        """Return the memory of all processes in the sandbox, in bytes."""
        import psutil

        if self.process is None:
            return 0
        total = 0
        with contextlib.suppress(psutil.Error):
            for each in psutil.Process(self.process.pid).children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    total += each.memory_info().rss
        return total

    def stop(self) -> None:
        """Kill whatever runs, and forget it; :meth:`connect` starts anew."""
        if self.process is not None:
            _kill(self.process, tree=self.mode == UNISOLATED)
            self.process = None
        if self.control is not None:
            self.control.close()
            self.control = None
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder = None

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def _start(self) -> None:
        options = ["--preload", *self.preload] if self.preload else []
        if CAN_FORK:
            options += ["--fork", *(["--alone"] if self.mode == BUBBLEWRAP else [])]
        else:
            words = (int(self.limits.seconds) + 1, self.limits.megabytes, self.limits.processes)
            options += ["--limits", " ".join(map(str, words))]
        if self.mode == BUBBLEWRAP:
            self._start_walled(options)
        else:
            self._start_open(options)
        assert self.control is not None
        if _line(self.control, STARTED) != "ready":
            raise ClosedError

    def _start_walled(self, options: list[str]) -> None:
        self.control, theirs = socket.socketpair()
        with theirs:
            number = str(theirs.fileno())
            own = "CAP_SETUID" in _namespaces()
            user = ["--uid", str(100_000 + secrets.randbelow(1_000_000))] if own else []
            command = [*_walls(), "--ro-bind", str(self.library), "/library",
                       "--setenv", "PYTHONPATH", "/library:/site",
                       _python(), *FLAGS, number,
                       *user, *options]  # fmt: skip
            self.process = subprocess.Popen(
                command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=_environment(),
                start_new_session=True)  # fmt: skip

    def _start_open(self, options: list[str]) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="workbench-answer-"))
        environment = {
            **_environment(),
            "PYTHONPATH": os.pathsep.join([str(self.library), *_found()]),
        }
        command = [sys.executable, *FLAGS]
        common = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL,
                  "stderr": subprocess.DEVNULL, "cwd": self.folder, "env": environment}  # fmt: skip
        if os.name == "posix":
            self.control, theirs = socket.socketpair()
            with theirs:
                self.process = subprocess.Popen(  # type: ignore[call-overload]
                    [*command, str(theirs.fileno()), *options], pass_fds=[theirs.fileno()],
                    start_new_session=True, **common)  # fmt: skip
            return
        token = secrets.token_hex(16)
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.settimeout(STARTED)
            address = f"{server.getsockname()[1]}:{token}"
            self.process = subprocess.Popen([*command, address, *options], **common)  # type: ignore[call-overload]
            self.control, _ = server.accept()
            if self.control.recv(len(token), socket.MSG_WAITALL) != token.encode():
                raise ClosedError


def _is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("SYSTEMROOT",) if name in os.environ}
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {**kept, **one, "PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8", "HOME": "/tmp"}


@functools.cache
def _python() -> str:
    """Return the interpreter without the virtual environment around it."""
    return str(Path(sys.executable).resolve())


@functools.cache
def _found() -> tuple[str, ...]:
    """Return the folders in which the packages lie that answers may import."""
    found = []
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None:
            package = spec.submodule_search_locations
            found.append(str(Path(spec.origin).parent.parent if package
                             else Path(spec.origin).parent))  # fmt: skip
    return tuple(dict.fromkeys(found))


@functools.cache
def _walls() -> tuple[str, ...]:
    """Return the call of bubblewrap, up to what differs between submissions."""
    words = ["bwrap", "--cap-drop", "ALL", *_namespaces(), "--die-with-parent", "--new-session",
             "--clearenv"]  # fmt: skip
    shared = []
    prefix = str(Path(sys.base_prefix).resolve())
    for path in dict.fromkeys([*SYSTEM, prefix, sys.base_prefix]):
        if os.path.islink(path) and path in SYSTEM:
            words += ["--symlink", os.readlink(path), path]
        elif os.path.exists(path):
            if "CAP_SETUID" in words:  # Folders on the way are root's alone, if not told otherwise.
                for parent in reversed(Path(path).parents[:-1]):
                    words += ["--perms", "0755", "--dir", str(parent)]
            words += ["--ro-bind", path, path]
            shared.append(path)
    # Other packages are no part of the library that a question names.
    hidden = {sysconfig.get_path(kind, vars={"base": prefix, "platbase": prefix})
              for kind in ("purelib", "platlib")}  # fmt: skip
    hidden |= {*site.getsitepackages([prefix, "/usr", "/usr/local"]), "/usr/lib/python3/dist-packages",
               "/usr/src", "/usr/share", os.getcwd()}  # fmt: skip
    masks = [real for real in map(os.path.realpath, sorted(hidden)) if os.path.isdir(real)
             and any(real.startswith(f"{each}/") for each in shared)]  # fmt: skip
    for path in masks:
        words += ["--tmpfs", path]
    words += ["--proc", "/proc", "--dev", "/dev", "--dir", "/site", "--dir", "/library",
              "--dir", "/tmp", "--dir", "/dev/shm"]  # fmt: skip
    for name, value in _environment().items():
        words += ["--setenv", name, value]
    for name in PACKAGES:
        for part in _files(name):
            words += ["--ro-bind", str(part), f"/site/{part.name}"]
    # What bubblewrap made on the way lies in memory too, and must not be filled.
    for path in [*masks, "/dev", "/"]:
        words += ["--remount-ro", path]
    for path, megabytes in (("/dev/shm", 16), ("/tmp", 64)):
        words += ["--perms", "1777", "--size", str(megabytes << 20), "--tmpfs", path]
    words += ["--chdir", "/tmp"]
    return tuple(words)


def _files(name: str) -> list[Path]:
    """Return a package's folder or module, and the folder of its bundled libraries."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        return []
    path = Path(spec.origin)
    path = path.parent if path.name == "__init__.py" else path
    return [each for each in (path, path.with_name(f"{name}.libs")) if each.exists()]


def _line(control: socket.socket, seconds: float) -> str:
    """Read a short line from the process that forks."""
    deadline, text = time.monotonic() + seconds, b""
    while not text.endswith(b"\n") and len(text) < 100:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TooLateError
        control.settimeout(left)
        try:
            part = control.recv(1)
        except TimeoutError:
            raise TooLateError from None
        if not part:
            raise ClosedError
        text += part
    return text.decode("ascii", "replace").strip()


def _kill(process: subprocess.Popen[bytes], *, tree: bool) -> None:
    family = []
    if tree:  # bubblewrap takes its own with it; here they have to be looked up.
        import psutil

        with contextlib.suppress(psutil.Error):
            family = psutil.Process(process.pid).children(recursive=True)
        if os.name == "posix":
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    for each in family:
        with contextlib.suppress(Exception):
            each.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(5)
