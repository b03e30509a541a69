"""Vendors' programs: found, and run without a shell, with a time limit, their whole log kept."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from lresnet_utils.errors import TargetError
from lresnet_utils.machine.disk import write_json

# What a tool gets between being asked to stop and being killed, seconds.
GRACE_S = 5.0

# The words by which tools mark the line that matters, then words that only hint at it.
_MARKED = re.compile(r"\[ERROR\]|\[E\]|^E[0-9A-Z]\d{4}\b")
_HINT = re.compile(r"\b(error|fail(ed|ure)?|exception|fault|abort(ed)?|cannot)\b", re.IGNORECASE)


def find_tool(
    name: str, *, variable: str | None = None, folders: Iterable[Path] = ()
) -> Path | None:
    """Find a program.

    Parameters
    ----------
    name : str
        Such as ``'atc'``.
    variable : str, optional
        Environment variable that names the file; where it is set, nothing else is looked at.
    folders : iterable of Path, optional
        Where to look after the ``PATH``.

    Returns
    -------
    Path or None
        Absolute path of an executable file.

    Examples
    --------
    >>> find_tool("no-such-tool") is None
    True
    """
    given = os.environ.get(variable) if variable else None
    if given:
        found = shutil.which(Path(given).expanduser().absolute())
    else:
        found = shutil.which(name) or shutil.which(
            name, path=os.pathsep.join(str(folder) for folder in folders)
        )
    return Path(found).absolute() if found else None


def run_tool(
    argv: Sequence[str | Path],
    *,
    log: Path,
    timeout_s: float,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    success: str | None = None,
    explain: Callable[[str], str | None] | None = None,
) -> Path:
    """Run a program to its end and judge by its exit code and its own log.

    The program gets its own process group, which is ended as a whole: when the time is up, when
    this process is interrupted, and for children that outlive it.

    Parameters
    ----------
    argv : sequence of str or Path
        Absolute path of the program, then its arguments.
    log : Path
        Gets everything the program prints, standard output and standard error together, also
        when it fails.
    timeout_s : float
        Seconds until it is stopped.
    cwd : Path
        Folder it is started in; made when missing.
    env : mapping of str to str, optional
        Variables beside those of this process.
    success : str, optional
        Regular expression that a line of the log must match; without one the exit code decides.
    explain : callable, optional
        Takes the log's failing line and returns what to do about it, or None.

    Returns
    -------
    Path
        The log, absolute. Beside it, ``{log}.run.json`` keeps the arguments, the folder, the
        seconds of wall-clock time and the exit code (negative for a signal).

    Raises
    ------
    TargetError
        When the program cannot be started, does not end in time, ends with another exit code
        than 0, or did not print its line of success. Names the failing line and the log.
    """
    argv = tuple(str(part) for part in argv)
    if not Path(argv[0]).is_absolute():
        raise ValueError(f"the program's path must be absolute: {argv[0]}")
    log, cwd = Path(log).absolute(), Path(cwd)
    cwd.mkdir(parents=True, exist_ok=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    # A variable that would hide from a script the modules beside it is left out.
    hidden = {"PYTHONSAFEPATH"} if "-m" not in argv else set()
    ours = {name: value for name, value in os.environ.items() if name not in hidden}
    in_time, started = True, time.perf_counter()
    with log.open("wb") as file:
        try:
            process = subprocess.Popen(  # noqa: S603 (a list of arguments, no shell)
                argv,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env=ours | dict(env or {}),
                start_new_session=True,
            )
        except OSError as error:
            raise TargetError(
                f"{Path(argv[0]).name} cannot be started: {error.strerror}.", where=argv[0]
            ) from error
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            # Ask the group to end, so that it can free its device, then insist.
            in_time = False
            _signal_group(process, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(GRACE_S)
        finally:
            _signal_group(process, signal.SIGKILL)
            process.wait()
    seconds, code = round(time.perf_counter() - started, 3), process.returncode
    write_json(
        log.with_name(f"{log.name}.run.json"),
        {"argv": argv, "cwd": cwd, "seconds": seconds, "exit_code": code},
    )
    succeeded, line = _read_outcome(log, success)
    if in_time and code == 0 and succeeded:
        return log
    if not in_time:
        what = f"did not end within {timeout_s:g} s and was stopped"
    elif code < 0:
        what = f"was ended by {signal.Signals(-code).name}"
    elif code > 0:
        what = f"failed with exit code {code}"
    else:
        what = "ended without its line of success"
    # ``python3 -m ais_bench`` is ais_bench.
    tool = argv[2] if argv[1:2] == ("-m",) else Path(argv[0]).name
    raise TargetError(
        f"{tool} {what}: {line[:240] if line else 'it printed nothing'}",
        where=str(log),
        fix=(explain(line) if explain and line else None) or "read the log",
    )


def _signal_group(process: subprocess.Popen, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _read_outcome(log: Path, success: str | None) -> tuple[bool, str | None]:
    """Return whether the log has the line of success, and the line that tells of a failure."""
    wanted = re.compile(success) if success is not None else None
    succeeded = wanted is None
    marked = hint = last = None
    with log.open(encoding="utf-8", errors="replace") as lines:
        for text in lines:
            line = text.strip()
            if not line:
                continue
            succeeded = succeeded or bool(wanted.search(line))
            marked = marked or (line if _MARKED.search(line) else None)
            hint = line if _HINT.search(line) else hint
            last = line
    return succeeded, marked or hint or last
