"""A small batch system that starts jobs for real; the fakes of each kind only speak its language.

State is one SQLite file in the directory that `$FARM` names; the daemon (this module as a program)
starts queued elements, ends those over their limits, and sees how they end. `settings.json` there
says how it misbehaves; while there is a file `down`, nobody answers.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any


TICK = 0.02


@dataclass
class Settings:
    """How the farm behaves.

    Attributes:
        delay: Seconds from submission to start.
        linger: Seconds an element reads as running after its process has ended.
        second: How long a second of a time limit lasts.
        slots: Most elements at once.
        cores: Most cores that LSF gives to an element.
        max_array: Most elements of an array.
        forget: Seconds after which what has ended is forgotten.
        history: Whether PBS keeps a history.
        kill: Signals that end a job, each with the seconds after the first.
        limit: Signals at the end of the time limit, likewise.
        usual: Time limit of a job that asks for none, 0 for none.
        refuse: Words of refusal for the next submissions, one each.
    """

    delay: float = 0.0
    linger: float = 0.1
    second: float = 1.0
    slots: int = 100
    cores: int = 64
    max_array: int = 1000
    forget: float = 3600.0
    history: bool = False
    kill: list[tuple[str, float]] = field(default_factory=lambda: [("TERM", 0.0), ("KILL", 2.0)])
    limit: list[tuple[str, float]] = field(default_factory=lambda: [("TERM", 0.0), ("KILL", 20.0)])
    usual: float = 0.0
    refuse: list[str] = field(default_factory=list)


@dataclass
class Element:
    """One element of a job; a plain job has one with index 0."""

    job: int
    idx: int
    array: int
    name: str
    script: str
    env: str
    cwd: str
    out: str
    walltime: float
    throttle: int
    above: str
    submitted: float
    state: str = "queued"
    started: float = 0.0
    died: float = 0.0
    code: int = 0
    ending: float = 0.0
    why: str = ""
    pid: int = 0
    told: int = 0


_ABOVE = {
    "": (),
    "pbs": ("bash", "-c", '"$@"; exit $?', "-bash"),
    "lsf": ("sh", "-c", 'trap : HUP INT USR1 USR2 TERM; "$@"; exit $?', "job"),
}
"""What is above a script: a session's leader, or of all jobs one session with a group for each."""

_NAMES = [f.name for f in fields(Element)]


class Farm:
    """The state of the farm."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.db = sqlite3.connect(root / "farm.db", isolation_level=None, timeout=30)
        self.db.execute(
            f"CREATE TABLE IF NOT EXISTS element ({', '.join(_NAMES)}, PRIMARY KEY (job, idx))"
        )
        self.db.execute("CREATE TABLE IF NOT EXISTS number (n INTEGER PRIMARY KEY)")

    @property
    def settings(self) -> Settings:
        """Return how the farm behaves now."""
        path = self.root / "settings.json"
        return Settings(**json.loads(path.read_text())) if path.exists() else Settings()

    @settings.setter
    def settings(self, settings: Settings) -> None:
        aside = self.root / "settings.json.aside"
        aside.write_text(json.dumps(asdict(settings)))
        aside.replace(self.root / "settings.json")

    @property
    def down(self) -> bool:
        """Tell whether nobody answers the commands."""
        return (self.root / "down").exists()

    def refusal(self) -> str:
        """Return the words of refusal for this submission, "" for none."""
        settings = self.settings
        if not settings.refuse:
            return ""
        words, settings.refuse = settings.refuse[0], settings.refuse[1:]
        self.settings = settings
        return words

    def submit(  # noqa: PLR0913 - the fields of a job
        self,
        *,
        script: str,
        indices: Sequence[int],
        name: str,
        env: dict[str, str],
        cwd: str,
        out: str = "/dev/null",
        walltime: float = 0.0,
        throttle: int = 0,
        above: str = "",
    ) -> int:
        """Take a job and return its number; `above` says what is above its script."""
        job = int(self.db.execute("INSERT INTO number VALUES (NULL)").lastrowid or 0)
        path = self.root / f"{job}.sh"
        path.write_text(script)
        self.db.execute("BEGIN IMMEDIATE")
        for idx in indices or [0]:
            element = Element(
                job=job,
                idx=idx,
                array=int(bool(indices)),
                name=name,
                script=str(path),
                env=json.dumps(env),
                cwd=cwd,
                out=out,
                walltime=walltime or self.settings.usual,
                throttle=throttle,
                above=above,
                submitted=time.time(),
            )
            self._write(element)
        self.db.execute("COMMIT")
        return job

    def elements(self, job: int | None = None) -> list[Element]:
        """Return the elements that are remembered, in order."""
        rows = self.db.execute(f"SELECT {', '.join(_NAMES)} FROM element ORDER BY job, idx")  # noqa: S608 - our own names
        forgotten = time.time() - self.settings.forget
        return [
            element
            for element in (Element(*row) for row in rows)
            if job in (None, element.job)
            and not (element.state == "ended" and element.died < forgotten)
        ]

    def cancel(self, elements: Iterable[Element]) -> None:
        """Have elements ended."""
        for element in elements:
            self.db.execute(
                "UPDATE element SET ending = ?, why = 'kill'"
                " WHERE job = ? AND idx = ? AND ending = 0 AND state != 'ended'",
                (time.time(), element.job, element.idx),
            )

    def _write(self, element: Element) -> None:
        marks = ", ".join("?" * len(_NAMES))
        self.db.execute(
            f"INSERT OR REPLACE INTO element VALUES ({marks})",  # noqa: S608 - only question marks
            [getattr(element, n) for n in _NAMES],
        )

    def _update(self, element: Element, **changes: Any) -> None:
        for name, value in changes.items():
            setattr(element, name, value)
        sets = ", ".join(f"{name} = ?" for name in changes)
        self.db.execute(
            f"UPDATE element SET {sets} WHERE job = ? AND idx = ?",  # noqa: S608 - our own names
            (*changes.values(), element.job, element.idx),
        )


class Daemon(Farm):
    """What starts and ends elements."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._processes: dict[tuple[int, int], subprocess.Popen[bytes]] = {}

    def run(self) -> None:
        """Work until told to stop."""
        while True:
            self._tick(time.time())
            time.sleep(TICK)

    def close(self) -> None:
        """End whatever runs."""
        for process in self._processes.values():
            _signal(process.pid, "KILL")

    def _tick(self, now: float) -> None:
        settings, elements = self.settings, self.elements()
        running = [e for e in elements if e.state == "running"]
        for element in running:
            self._watch(element, settings, now)
        for element in elements:
            if element.state != "queued":
                continue
            if element.ending:
                self._update(element, state="ended", died=now, why="never ran")
                continue
            siblings = sum(e.job == element.job for e in running)
            room = not element.throttle or siblings < element.throttle
            if room and len(running) < settings.slots and now >= element.submitted + settings.delay:
                self._start(element, now)
                running.append(element)

    def _start(self, element: Element, now: float) -> None:
        env = json.loads(element.env) | _place(element)
        if element.above == "pbs":
            Path(env["TMPDIR"]).mkdir(mode=0o700)
        with Path(element.out).open("ab") as out:
            process = subprocess.Popen(
                [*_ABOVE[element.above], *_interpreter(element.script), element.script],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=element.cwd,
                env=env,
                start_new_session=element.above != "lsf",
                process_group=0 if element.above == "lsf" else None,
            )
        self._processes[element.job, element.idx] = process
        self._update(element, state="running", started=now, pid=process.pid)

    def _watch(self, element: Element, settings: Settings, now: float) -> None:
        code = self._processes[element.job, element.idx].poll()
        if code is not None and not element.died and (element.above != "pbs" or _over(element)):
            self._update(element, died=now, code=code)
        if element.died:
            if now >= element.died + settings.linger:
                self._update(element, state="ended")
            return
        limit = element.started + element.walltime * settings.second
        if element.walltime and not element.ending and now >= limit:
            self._update(element, ending=now, why="walltime")
        if element.ending:
            signals = settings.kill if element.why == "kill" else settings.limit
            due = [name for name, after in signals if now >= element.ending + after]
            for name in due[element.told :]:
                _signal(element.pid, name)
            self._update(element, told=len(due))


def _place(element: Element) -> dict[str, str]:
    """Return the environment of one element: `{i}` and `{job}` of the submission are filled in."""
    env = json.loads(element.env)
    return {
        name: value.replace("{i}", str(element.idx)).replace("{job}", str(element.job))
        for name, value in env.items()
        if "{" in value and name.startswith(("PBS_", "LSB_", "SGE_", "JOB_", "TMPDIR"))
    }


def _over(element: Element) -> bool:
    """Tell whether nothing is left of a session without its leader; end it, unless that is done."""
    if not element.ending:
        _signal(element.pid, "KILL")
    if any(_is_of_group(path, element.pid) for path in Path("/proc").glob("[0-9]*/stat")):
        return False
    shutil.rmtree(_place(element)["TMPDIR"], ignore_errors=True)
    return True


def _is_of_group(stat: Path, group: int) -> bool:
    """Tell whether a process is of a group; not a dead one whose new parent has not looked yet."""
    try:
        state, _, its, *_ = stat.read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return int(its) == group and state != "Z"


def _interpreter(script: str) -> list[str]:
    first = Path(script).read_text().partition("\n")[0]
    return shlex.split(first[2:]) if first.startswith("#!") else ["/bin/sh"]


def _signal(pid: int, name: str) -> None:
    try:
        os.killpg(pid, signal.Signals[f"SIG{name}"])
    except ProcessLookupError:
        return


def login_environment() -> dict[str, str]:
    """Return what a job gets where the submitter's environment does not come along."""
    user = pwd.getpwuid(os.getuid())
    return {
        "HOME": user.pw_dir,
        "USER": user.pw_name,
        "LOGNAME": user.pw_name,
        "SHELL": user.pw_shell,
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "ENVIRONMENT": "BATCH",
    }


def directives(script: str, prefix: str) -> list[str]:
    """Return the words of all directives of a script."""
    lines = [line for line in script.splitlines() if line.startswith(f"{prefix} ")]
    return [word for line in lines for word in shlex.split(line.removeprefix(prefix))]


def seconds(text: str) -> float:
    """Return the seconds of `[[H:]M:]S`."""
    total = 0.0
    for part in text.split(":"):
        total = total * 60 + float(part)
    return total


def index_range(text: str) -> tuple[list[int], int]:
    """Return the indices and the throttle of `1-4%2`."""
    match = re.fullmatch(r"(\d+)(?:-(\d+))?(?:%(\d+))?", text)
    if not match:
        return [], 0
    first, last = int(match[1]), int(match[2] or match[1])
    return list(range(first, last + 1)), int(match[3] or 0)


def open_farm() -> Farm:
    return Farm(Path(os.environ["FARM"]))


def out(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def fail(text: str, code: int) -> int:
    sys.stderr.write(f"{text}\n")
    return code


def main() -> None:
    with closing(Daemon(Path(sys.argv[1]))) as daemon:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit())
        daemon.run()


if __name__ == "__main__":
    main()
