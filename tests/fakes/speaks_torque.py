"""Torque 6: its words, ids and states, from its manual pages."""

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
from tests.fakes.speaks_pbs import limit_lines


SERVER = "pali"
UNREACHABLE = "{}: cannot connect to server pali (errno=111) Connection refused"


def qsub(argv: list[str]) -> int:
    farm = open_farm()
    if os.getuid() == 0:
        return fail("qsub: submit error (Bad UID for job execution MSG=root user not allowed)", 175)
    if farm.down:
        return fail(UNREACHABLE.format("qsub"), 111)
    refusal = farm.refusal()
    if refusal:
        return fail(refusal, 38)
    script = Path(argv[-1]).read_text()
    words = directives(script, "#PBS")
    options = dict(zip(words[::2], words[1::2], strict=True))
    indices, throttle = index_range(options.get("-t", ""))
    if options.get("-q", "batch") != "batch":
        return fail("qsub: submit error (Unknown queue MSG=cannot locate queue)", 170)
    if len(indices) > farm.settings.max_array:
        return fail("qsub: submit error (Bad Job Array Request)", 255)
    limit = re.search(r"-l walltime=(\S+)", " ".join(words))
    job = farm.submit(
        script=script,
        indices=indices,
        name=options["-N"],
        env=login_environment() | {"PBS_ARRAYID": "{i}", "PBS_JOBID": f"{{job}}[{{i}}].{SERVER}"},
        cwd=login_environment()["HOME"],
        out=options.get("-o", "/dev/null"),
        walltime=seconds(limit[1]) if limit else 0.0,
        throttle=throttle,
    )
    out(f"{job}[].{SERVER}")
    return 0


def qstat(argv: list[str]) -> int:
    farm = open_farm()
    if farm.down:
        return fail(UNREACHABLE.format("qstat"), 111)
    if "-x" not in argv:
        return _show_in_full(farm, argv[-1])
    code, shown = 0, ""
    for id_ in argv[2:]:
        elements = _chosen(farm, id_)
        shown += "".join(map(_shown, elements))
        if not elements:
            code = fail(f"qstat: Unknown Job Id Error {id_}", 153)
    if shown:
        out(f"<Data>{shown}</Data>")
    return code


def _show_in_full(farm: Farm, id_: str) -> int:
    running = [e for e in _chosen(farm, id_) if e.state == "running"]
    if not running:
        return fail(f"qstat: Unknown Job Id Error {id_}", 153)
    out(f"Job Id: {id_}\n    Job_Name = {running[0].name}\n    job_state = R")
    out(f"{limit_lines(running[0])}    Walltime.Remaining = {int(running[0].walltime)}\n")
    return 0


def _shown(element: Element) -> str:
    name = f"{element.job}[{element.idx}].{SERVER}"
    state = {"queued": "Q", "running": "R", "ended": "C"}[element.state]
    code = {"kill": 271, "walltime": -11, "never ran": 271}.get(element.why, element.code)
    status = f"<exit_status>{code}</exit_status>" if state == "C" else ""
    return f"<Job><Job_Id>{name}</Job_Id><job_state>{state}</job_state>{status}</Job>"


def _chosen(farm: Farm, id_: str) -> list[Element]:
    match = re.fullmatch(r"(\d+)\[(\d*)\](?:\.pali)?", id_)
    if not match:
        return []
    elements = farm.elements(int(match[1]))
    return [e for e in elements if not match[2] or e.idx == int(match[2])]


def qdel(argv: list[str]) -> int:
    farm = open_farm()
    if farm.down:
        return fail(UNREACHABLE.format("qdel"), 111)
    code = 0
    for id_ in argv:
        elements = _chosen(farm, id_)
        if not elements:
            code = fail(f"qdel: Unknown Job Id {id_}", 153)
        elif all(e.state == "ended" for e in elements):
            code = fail(f"qdel: Request invalid for state of job MSG=invalid state {id_}", 170)
        farm.cancel(elements)
    return code


def qmgr(_argv: list[str]) -> int:
    farm = open_farm()
    if farm.down:
        return fail(UNREACHABLE.format("qmgr"), 111)
    out(f"Server {SERVER}\n\tserver_state = Active\n\tpbs_version = 6.1.3")
    out(f"\tmax_job_array_size = {farm.settings.max_array}")
    return 0
