"""OpenPBS 23.06 as it was observed: its words, ids, states and exit codes."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

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


SERVER = "vm"
UNREACHABLE = "Connection refused\n{}: cannot connect to server vm (errno=15010)"


def qsub(argv: list[str]) -> int:
    farm = open_farm()
    if os.getuid() == 0:
        return fail("qsub: Bad UID for job execution", 175)
    if farm.down:
        return fail(UNREACHABLE.format("qsub"), 162)
    script = Path(argv[-1]).read_text()
    words = directives(script, "#PBS")
    options = dict(zip(words[::2], words[1::2], strict=True))
    refused = _refused(farm, options)
    if refused is not None:
        return refused
    indices, throttle = index_range(options.get("-J", ""))
    array = "[{i}]" if indices else ""
    id_ = f"{{job}}{array}.{SERVER}"
    env = {"PBS_JOBID": id_, "PBS_O_WORKDIR": str(Path.cwd())}
    env["TMPDIR"] = str(farm.root / f"pbs.{id_}")
    if indices:
        env |= {"PBS_ARRAY_INDEX": "{i}", "PBS_ARRAY_ID": f"{{job}}[].{SERVER}"}
    limit = re.search(r"-l walltime=(\S+)", " ".join(words))
    job = farm.submit(
        script=script,
        indices=indices,
        name=options["-N"],
        env=login_environment() | env,
        cwd=login_environment()["HOME"],
        out=options.get("-o", "/dev/null"),
        walltime=seconds(limit[1]) if limit else 0.0,
        throttle=throttle,
        above="pbs",
    )
    out(f"{job}[].{SERVER}" if indices else f"{job}.{SERVER}")
    return 0


def _refused(farm: Farm, options: dict[str, str]) -> int | None:
    refusal = farm.refusal()
    if refusal:
        return fail(refusal, 38)
    if not re.fullmatch(r"[A-Za-z0-9._+-]{1,236}", options["-N"]):
        return fail("qsub: illegal -N value", 2)
    if options.get("-q", "workq") != "workq":
        return fail("qsub: Unknown queue", 170)
    return _refused_array(farm, options) if "-J" in options else None


def _refused_array(farm: Farm, options: dict[str, str]) -> int | None:
    indices, _ = index_range(options["-J"])
    if len(indices) < 2:
        return fail("qsub: illegal -J value", 2)
    if options.get("-r") == "n":
        return fail("qsub: cannot submit non-rerunable Array Job", 255)
    if len(indices) > farm.settings.max_array:
        return fail("qsub: Array job exceeds server or queue size limit", 3)
    return None


def qstat(argv: list[str]) -> int:
    farm = open_farm()
    answer: dict[str, Any] = {"timestamp": 0, "pbs_version": "23.06.06", "pbs_server": SERVER}
    if farm.down:
        out(json.dumps(answer))
        return fail(UNREACHABLE.format("qstat"), 255)
    if "json" not in argv:
        return _show_in_full(farm, argv[-1])
    if "-B" in argv:
        out(json.dumps(answer | {"Server": {SERVER: {"max_array_size": farm.settings.max_array}}}))
        return 0
    if "-x" in argv and not farm.settings.history:
        out(json.dumps(answer))
        return fail("qstat: PBS is not configured to maintain job history", 0)
    code, jobs = 0, {}
    for id_ in (word for word in argv[argv.index("json") + 1 :] if word != "-x"):
        found, code = _look(farm, id_, code, past="-x" in argv)
        jobs.update(found)
    if jobs:
        answer["Jobs"] = jobs
    out(json.dumps(answer))
    return code


def _show_in_full(farm: Farm, id_: str) -> int:
    running = [e for e in _chosen(farm, id_) if e.state == "running"]
    if not running:
        return fail(f"qstat: Unknown Job Id {id_}", 153)
    out(f"Job Id: {id_}\n    Job_Name = {running[0].name}\n    job_state = R")
    out(f"    Resource_List.ncpus = 1\n{limit_lines(running[0])}    substate = 42\n")
    return 0


def limit_lines(element: Element) -> str:
    hours, rest = divmod(int(element.walltime), 3600)
    clock = f"{hours:02}:{rest // 60:02}:{rest % 60:02}"
    used = "    resources_used.walltime = 00:00:01\n"
    return f"{used}    Resource_List.walltime = {clock}\n" if element.walltime else used


def _look(farm: Farm, id_: str, code: int, *, past: bool) -> tuple[dict[str, Any], int]:
    elements = _chosen(farm, id_)
    if not elements:
        return {}, fail(f"qstat: Unknown Job Id {id_}", 153)
    over = all(e.state == "ended" for e in elements)
    if over and not past:
        if not farm.settings.history:
            return {}, fail(f"qstat: Unknown Job Id {id_}", 153)
        told = "Job has finished, use -x or -H to obtain historical job information"
        return {}, fail(f"qstat: {id_} {told}", 35)
    shown = {_name(e): _shown(e) | ({"job_state": "F"} if over else {}) for e in elements}
    if elements[0].array:
        end = {"job_state": "F", "substate": 93, "Exit_status": 1}
        array = end if over else {"job_state": "B", "substate": 70}
        shown[f"{elements[0].job}[].{SERVER}"] = array | {"array": "True"}
    return shown, code


def _shown(element: Element) -> dict[str, Any]:
    shown: dict[str, Any] = {"Job_Name": element.name}
    if element.state == "queued":
        return shown | {"job_state": "Q", "substate": 10, "comment": "Not Running: Job limit"}
    if element.state == "running":
        return shown | {
            "job_state": "R",
            "substate": 42,
            "comment": "Job run at ... on (vm:ncpus=1)",
        }
    if element.why == "never ran" and not element.array:
        return shown | {"job_state": "F", "substate": 91}
    if element.why == "never ran":
        return shown | {"job_state": "X", "substate": 70, "Exit_status": 1, "comment": "finished"}
    code = {"kill": 271, "walltime": -29}.get(element.why, element.code)
    code = 128 - code if code < 0 and code != -29 else code
    return shown | {"job_state": "X", "substate": 93 if code else 92, "Exit_status": code}


def _name(element: Element) -> str:
    index = f"[{element.idx}]" if element.array else ""
    return f"{element.job}{index}.{SERVER}"


def _chosen(farm: Farm, id_: str) -> list[Element]:
    match = re.fullmatch(r"(\d+)(?:\[(\d*)\])?(?:\.vm)?", id_)
    if not match:
        return []
    index = match[2]
    elements = [e for e in farm.elements(int(match[1])) if bool(e.array) == (index is not None)]
    return [e for e in elements if not index or e.idx == int(index)]


def qdel(argv: list[str]) -> int:
    farm = open_farm()
    if farm.down:
        return fail("Connection refused\nCouldn't connect to cluster: vm", 162)
    code = 0
    for id_ in argv:
        elements = _chosen(farm, id_)
        if not elements:
            code = fail(f"qdel: Unknown Job Id {id_}", 153)
        elif all(e.state == "ended" for e in farm.elements(elements[0].job)):
            code = fail(f"qdel: Job has finished {id_}", 35)
        elif all(e.state == "ended" for e in elements):
            code = fail(f"qdel: Request invalid for finished array subjob {id_}", 55)
        farm.cancel(elements)
    sys.stdout.flush()
    return code
