"""What several test modules share: one small run of the demo, made once."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from hypothesis import HealthCheck, settings
from playwright.sync_api import sync_playwright

from lresnet_utils.data.packaged import orl_files
from lresnet_utils.data.readers.bin import write_bin
from lresnet_utils.data.readers.orl import encoded_face
from lresnet_utils.machine.locks import HELD
from lresnet_utils.run import RunFolder

# How long an example takes says how busy the machine is.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")
# Tests do not care how fast anything is, and two of them may run at the same time.
os.environ.setdefault(HELD, "by the tests")
ROOT = Path(__file__).parent.parent
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
SMALL = (
    "batch_sizes=[2, 16]",
    "targets=[torch-fp32, openvino-fp32]",
    "dataset.variants=[noise40]",
    "bootstrap=60",
    "build.search_seconds=0.01",
    "build.search_repeats=2",
    "perf.seconds=0.05",
    "perf.repeats=2",
)

# Words of a Chinese page that are no English prose: names, units, values, identifiers.
NAMES = set((ROOT / "tests" / "names.txt").read_text(encoding="utf-8").split())


@pytest.fixture(autouse=True)
def _environment_as_it_was():
    """Undo what a command changes for whatever it starts: here the next test would get it."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def english_in():
    """Return a function that lists the English words a reader of a Chinese page sees or hears."""

    def english(path):
        soup = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
        assert soup.html["lang"] == "zh"
        for hidden in soup(["script", "style", "code", "pre"]):
            hidden.decompose()
        spoken = [*soup.stripped_strings, soup.title.string]
        for name in ("aria-label", "alt", "title"):
            spoken += [element[name] for element in soup.find_all(attrs={name: True})]
        assert "的" in "".join(spoken)
        words = {word for text in spoken for word in re.findall(r"[A-Za-z][\w.+/#'-]*", text)}
        return sorted(w for w in words - NAMES if re.fullmatch("[A-Z]?[a-z']{2,}[.-]?", w))

    return english


def pytest_addoption(parser):
    parser.addoption("--kills", type=int, default=32, help="how often test_kill.py kills a run")


@pytest.fixture
def kills(request) -> int:
    """How often a run is killed; more with ``pytest tests/test_kill.py --kills 500``."""
    return request.config.getoption("--kills")


@pytest.fixture
def strangers(tmp_path):
    """Return a function that runs the command line where everything is somebody else's.

    In its current folder modules have the names of Python's and of ours, notebooks that of a
    stage, programs those of the system's; each leaves its name behind when it runs, and the
    function sees that none did. The lists in which the system looks name the folder too.
    """
    folder, ran, script = tmp_path / "theirs", tmp_path / "ran", tmp_path / "bin" / "lresnet"
    for path in (folder / "notebooks", folder / "params", script.parent):
        path.mkdir(parents=True)
    mark = f"with open({str(ran)!r}, 'a') as f: f.write(__file__ + '\\n')\n"
    modules = ("cv2", "psutil", "random", "selectors", "sitecustomize")
    settings = (
        "ipython_config",
        "ipython_kernel_config",
        "jupyter_config",
        "jupyter_client_config",
    )
    for name in (*modules, *settings, "profile_default/startup/00-first"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.py").write_text(mark)
    for name in ("git", "g++", "python3", "chromium", "atc"):
        (folder / name).write_text(f"#!{sys.executable} -I\n{mark}")
        (folder / name).chmod(0o755)
    # As pip writes it: its own folder is the first where Python looks.
    script.write_text(
        "if __name__ == '__main__':\n    from lresnet_utils.cli import main\n    main()\n"
    )
    lists = {name: f".::{os.environ.get(name, '')}" for name in ("PATH", "LD_LIBRARY_PATH")}
    environment = os.environ | lists | {"PYTHONPATH": str(ROOT)}

    def run(*arguments, status=0, start=(script,)):
        done = subprocess.run(
            [sys.executable, *start, *map(str, arguments)],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=500,
        )
        assert not ran.exists(), ran.read_text()
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout

    run.folder = folder
    return run


@pytest.fixture(scope="session")
def execute():
    """Return a function that runs a params file through the command line.

    ``execute(params, folder, *overrides)`` gives the run and what the command printed; the
    command must end with status 0.
    """

    def run(params, folder, *overrides):
        sets = [part for override in overrides for part in ("--set", override)]
        done = subprocess.run(
            [sys.executable, "-m", "lresnet_utils", "run", params, "--output", str(folder), *sets],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=3600,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return RunFolder(folder), done.stdout

    return run


# The largest of a command's processes, and the processor time of all of them: whoever is orphaned
# on the way, as multiprocessing's servers are, becomes this process's to wait for.
METER = """
import ctypes, json, os, resource, subprocess, sys
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
done = subprocess.run(sys.argv[1:], capture_output=True, text=True)
try:
    while True:
        os.wait()
except ChildProcessError:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([done.returncode, done.stdout, done.stderr, used.ru_maxrss * 1024,
                  used.ru_utime + used.ru_stime]))
"""


@pytest.fixture(scope="session")
def metered():
    """Return a function that runs a command under the meter: status, output, bytes, seconds."""

    def run(*command):
        words = [sys.executable, "-c", METER, *(os.fsencode(str(part)) for part in command)]
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=True)
        return json.loads(done.stdout)

    return run


# In every Python process below: notes and stops what would ask or reach another machine.
EAR = """
import os, sys

def hear(event, args):
    if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        host = args[0]
    elif event in ("socket.connect", "socket.sendto") and isinstance(args[1], tuple):
        host = args[1][0]
    else:
        return
    if host not in (None, "", "localhost", "127.0.0.1", "::1"):
        with open(os.environ["HEARD"], "a") as file:
            file.write(f"{event} {args!r}\\n")
        raise OSError("tests reach nobody")

sys.addaudithook(hear)
"""


@pytest.fixture(scope="session")
def watched():
    """Return a function that makes the environment of a process whose reports would be noticed.

    ``watched(folder)`` makes ``folder/home``, which is the home and every cache of the process
    and of those that it starts, and has every look-up and connection written to ``folder/heard``.
    """

    def watch(folder):
        (folder / "home").mkdir(parents=True)
        (folder / "heard").touch()
        (folder / "sitecustomize.py").write_text(EAR)
        known = os.environ.get("PYTHONPATH")
        return {
            "HOME": str(folder / "home"),
            "HEARD": str(folder / "heard"),
            "PYTHONPATH": os.pathsep.join([str(folder), *([known] if known else [])]),
            **{f"XDG_{name}_HOME": "" for name in ("CACHE", "CONFIG", "DATA", "STATE")},
        }

    return watch


@pytest.fixture(scope="session")
def demo_run(tmp_path_factory, execute, watched) -> RunFolder:
    """Run the demo with fewer cells, watched; ``home`` and ``heard`` lie beside its folder."""
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in watched(folder).items():
            patch.setenv(name, value)
        run, told = execute("params/demo.yaml", folder / "small", *SMALL)
    assert "4 cells: 4 ok" in told
    return run


@pytest.fixture(scope="session")
def small_lfw(tmp_path_factory, request) -> Path:
    """Write 24 pairs of real faces, or as many as asked for, in the form of ``lfw.bin``."""
    half = getattr(request, "param", 24) // 2
    faces = [encoded_face(path)[0] for _, path in orl_files()[:48]]
    people = [person for person, _ in orl_files()[:48]]
    # Neighbours are the same person; crossing halves are different people.
    pairs = [(i, i + 1) for i in range(0, 2 * half, 2)] + [(i, i + 24) for i in range(half)]
    same = [people[a] == people[b] for a, b in pairs]
    assert 0 < sum(same) < len(same)
    path = tmp_path_factory.mktemp("small") / "lfw.bin"
    return write_bin(path, [faces[i] for pair in pairs for i in pair], same)


@pytest.fixture(scope="session")
def browser():
    """Start the system's Chromium; on a CI machine its absence is a failure."""
    if CHROMIUM is None and os.environ.get("CI") != "true":
        pytest.skip("no chromium on this machine")
    assert CHROMIUM is not None, "the browser tests need chromium: apt-get install chromium"
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser):
    """Return a function that opens a page; `visit.heard` gathers requests and complaints.

    It waits for the threshold explorer, which unpacks its data before it takes the place of its
    static figure, unless told that the page's scripts do not run.
    """
    heard, contexts = [], []

    def open_page(path, width=1280, scheme="light", scripts=True):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        own = path.as_uri()
        page.on("request", lambda r: heard.append(r.url) if not _harmless(r.url, own) else None)
        page.on("console", lambda message: heard.append(message.text))
        page.on("pageerror", lambda problem: heard.append(str(problem)))
        page.goto(own)
        if scripts and page.locator(".lr-explorer").count():
            page.wait_for_selector(".lr-x-live")
        return page

    open_page.heard = heard
    yield open_page
    for context in contexts:
        context.close()


def _harmless(url, own):
    return url.split("#")[0] == own or url.startswith("data:")
