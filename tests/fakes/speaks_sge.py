"""Grid Engine 8.1: its words, ids and states, from its manual pages and sources."""

from __future__ import annotations

import os
import re
from pathlib import Path

from tests.fakes.farm import (
    Element,
    Farm,
    directives,
    fail,
    index_range,
    login_environment,
    open_farm,
    out,
    seconds,
)


UNREACHABLE = (
    "error: commlib error: got select error (Connection refused)\n"
    'error: unable to send message to qmaster using port 6444 on host "vm": got send error'
)


def qsub(argv: list[str]) -> int:
    farm = open_farm()
    if farm.down:
        return fail(UNREACHABLE, 1)
    refusal = farm.refusal()
    if refusal:
        return fail(f"Unable to run job: {refusal}\nExiting.", 1)
    if os.getuid() == 0:
        return fail("Unable to run job: root is not allowed to submit\nExiting.", 1)
    script = Path(argv[-1]).read_text()
    words = directives(script, "#$")
    options = dict(zip(words[::2], words[1::2], strict=True))
    if options.get("-q", "all.q") != "all.q":
        why = f'Job was rejected because job requests unknown queue "{options["-q"]}".'
        return fail(f"Unable to run job: {why}\nExiting.", 1)
    indices, _ = index_range(options["-t"])
    if len(indices) > farm.settings.max_array:
        return fail("Unable to run job: job rejected: too many tasks\nExiting.", 1)
    job = farm.submit(
        script=script,
        indices=indices,
        name=options["-N"],
        env=login_environment() | {"SGE_TASK_ID": "{i}", "JOB_ID": "{job}", "QUEUE": "all.q"},
        cwd=login_environment()["HOME"],
        out=options.get("-o", "/dev/null"),
        walltime=_requested(script),
        throttle=int(options.get("-tc", "0")),
    )
    out(f"{job}.{indices[0]}-{indices[-1]}:1")
    return 0


def qstat(argv: list[str]) -> int:
    farm = open_farm()
    if farm.down:
        return fail(UNREACHABLE, 1)
    if "-j" in argv:
        return _show_in_full(farm, argv[-1])
    elements = farm.elements()
    running = "".join(_shown(e, "r") for e in elements if e.state == "running")
    waiting = "".join(_shown(e, "qw") for e in elements if e.state == "queued")
    out(
        f"<?xml version='1.0'?><job_info><queue_info>{running}</queue_info>"
        f"<job_info>{waiting}</job_info></job_info>"
    )
    return 0


def _show_in_full(farm: Farm, id_: str) -> int:
    running = [e for e in _chosen(farm, id_) if e.state == "running"]
    if not running:
        return fail(f"Following jobs do not exist: \n{id_}", 1)
    out(f"{'=' * 62}\njob_number:                 {id_}")
    asked = _requested(Path(running[0].script).read_text())
    if asked:
        out(f"hard resource_list:         h_rt={asked:.0f}")
    return 0


def _requested(script: str) -> float:
    limit = re.search(r"-l h_rt=(\S+)", " ".join(directives(script, "#$")))
    return seconds(limit[1]) if limit else 0.0


def _shown(element: Element, state: str) -> str:
    return (
        f"<job_list><JB_job_number>{element.job}</JB_job_number><JB_name>{element.name}</JB_name>"
        f"<state>{'d' if element.ending else ''}{state}</state><slots>1</slots>"
        f"<tasks>{element.idx}</tasks></job_list>"
    )


def _chosen(farm: Farm, id_: str) -> list[Element]:
    match = re.fullmatch(r"(\d+)(?:\.(\d+))?", id_)
    if not match:
        return []
    elements = [e for e in farm.elements(int(match[1])) if e.state != "ended"]
    return [e for e in elements if not match[2] or e.idx == int(match[2])]


def qdel(argv: list[str]) -> int:
    farm = open_farm()
    if farm.down:
        return fail(UNREACHABLE, 1)
    code = 0
    for id_ in argv:
        elements = _chosen(farm, id_)
        if not elements:
            out(f'denied: job "{id_}" does not exist')
            code = 1
        else:
            out(f"tester has registered the job-array task {id_} for deletion")
        farm.cancel(elements)
    return code


def qconf(argv: list[str]) -> int:
    farm = open_farm()
    if farm.down:
        return fail(UNREACHABLE, 1)
    if argv == ["-sq", "all.q"]:
        usual = f"{farm.settings.usual:.0f}" if farm.settings.usual else "INFINITY"
        out(f"qname                 all.q\ns_rt                  INFINITY\nh_rt{usual:>24}")
        return 0
    out(f"#global:\nmax_aj_instances             2000\nmax_aj_tasks   {farm.settings.max_array}")
    return 0
