"""An LSF-compatible system (volclava 2.2) as it was observed, its misunderstandings included."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from pathlib import Path

from tests.fakes.farm import Element, Farm, directives, fail, index_range, open_farm, out, seconds


KNOWN = ("jobid", "user", "stat", "queue", "job_name", "start_time", "finish_time")


def _wait_for_daemons(farm: Farm) -> None:
    while farm.down:
        sys.stderr.write("batch system daemon not responding ... still trying\n")
        sys.stderr.flush()
        time.sleep(0.2)


def bsub(argv: list[str]) -> int:
    farm = open_farm()
    if argv:
        return fail(f"{argv[0]}: the fake reads its script from its standard input only", 255)
    script = sys.stdin.read()
    _wait_for_daemons(farm)
    if os.getuid() == 0:
        return fail("User permission denied. Job not submitted.", 255)
    refusal = farm.refusal()
    if refusal:
        return fail(refusal, 255)
    words = directives(script, "#BSUB")
    options = dict(zip(words[::2], words[1::2], strict=True))
    refused = _refused(farm, words, options)
    if refused:
        return fail(f"{refused} Job not submitted.", 255)
    name, indices, throttle = _array(options["-J"], farm)
    env = {"LSB_JOBID": "{job}", "LSB_JOBINDEX": "{i}", "LSB_JOBNAME": options["-J"]}
    job = farm.submit(
        script=script,
        indices=indices,
        name=name,
        env=dict(os.environ) | env | {"LS_SUBCWD": str(Path.cwd())},
        cwd=str(Path.cwd()),
        out=options.get("-o", "/dev/null"),
        walltime=seconds(options.get("-W", "0") + ":00"),
        throttle=throttle,
        above="lsf",
    )
    out(f"Job <{job}> is submitted to default queue <normal>.")
    return 0


def _refused(farm: Farm, words: list[str], options: dict[str, str]) -> str:
    if "-gpu" in options:
        return "gpu: Illegal option."
    if words.count("-R") > 1:
        return "Invalid syntax; the -R option was used more than once."
    if not options.get("-M", "1").isdecimal():
        return f"{options['-M']}: MEMLIMT value should be a positive integer."
    if int(options.get("-n", "1")) > farm.settings.cores:
        return "Too many processors requested."
    if options.get("-q", "normal") != "normal":
        return f"{options['-q']}: No such queue."
    return ""


def _array(text: str, farm: Farm) -> tuple[str, list[int], int]:
    """Read an array; what is not understood is the literal name of one plain job."""
    match = re.fullmatch(r"(.*)\[(.*)\](%\d+)?", text)
    indices, throttle = index_range(match[2] + (match[3] or "")) if match else ([], 0)
    if not match or not indices or indices[0] < 1 or len(indices) > farm.settings.max_array:
        return text, [], 0
    return match[1], indices, throttle


def bjobs(argv: list[str]) -> int:
    farm = open_farm()
    _wait_for_daemons(farm)
    if "-l" in argv:
        codes = [_show_in_full(farm, id_) for id_ in argv if id_ != "-l"]
        return max(codes)
    columns = argv[argv.index("-o") + 1].split()
    records: list[dict[str, str]] = []
    for id_ in argv[argv.index("-o") + 2 :]:
        elements = _chosen(farm, id_)
        for column in columns if elements else ():
            if column not in KNOWN:
                words = "in the format string is not a valid field name."
                return fail(f"<{column.upper()}> {words}", 99)
        records += [_record(element, columns) for element in elements]
        if not elements:
            records.append({"JOBID": id_, "ERROR": f"Job <{id_}> is not found"})
    out(json.dumps({"COMMAND": "bjobs", "JOBS": len(records), "RECORDS": records}))
    return 0 if any("STAT" in record for record in records) else 255


def _show_in_full(farm: Farm, id_: str) -> int:
    elements = _chosen(farm, id_)
    if not elements:
        return fail(f"Job <{id_}> is not found", 255)
    for element in elements:
        index = f"[{element.idx}]" if element.array else ""
        name = f"Job <{element.job}{index}>, Job Name <{element.name}{index}>"
        out(f"\n{name}, User <tester>, Project <default>")
        out(f"                     , Status <{_stat(element)}>, Queue <normal>")
        out("Sun Nov 22 11:25:02: Submitted from host <vm>, CWD <$HOME>;")
        if element.state == "ended":
            out(f"Sun Nov 22 11:25:12: {_end(element)}")
        if element.walltime:
            out(f"\n RUNLIMIT                \n {element.walltime / 60:.1f} min of vm")
        out("\n SCHEDULING PARAMETERS:\n           r15s   r1m  r15m   ut      pg\n")
    return 0


def _end(element: Element) -> str:
    if element.why == "never ran":
        return "Exited"
    used = "The CPU time used is 0.1 seconds."
    if element.code < 0:
        return f"Exited by signal {-element.code}. {used}"
    return f"Exited with exit code {element.code}. {used}" if element.code else "Done successfully."


def _record(element: Element, columns: list[str]) -> dict[str, str]:
    index = f"[{element.idx}]" if element.array else ""
    told = {"jobid": str(element.job), "stat": _stat(element), "job_name": element.name + index}
    return {column.upper(): told.get(column, "-") for column in columns}


def _stat(element: Element) -> str:
    if element.state != "ended":
        return {"queued": "PEND", "running": "RUN"}[element.state]
    return "EXIT" if element.code or element.why == "never ran" else "DONE"


def _chosen(farm: Farm, id_: str) -> list[Element]:
    match = re.fullmatch(r"(\d+)(?:\[(\d+)\])?", id_)
    if not match:
        return []
    elements = farm.elements(int(match[1]))
    return [e for e in elements if not match[2] or e.idx == int(match[2])]


def bkill(argv: list[str]) -> int:
    farm = open_farm()
    _wait_for_daemons(farm)
    code = 0
    for id_ in argv:
        elements = _chosen(farm, id_)
        if not elements:
            code = fail(f"Job <{id_}>: No matching job found", 255)
        elif all(e.state == "ended" for e in elements):
            code = fail(f"Job <{id_}>: Job has already finished", 255)
        elif "[" not in id_ and any(e.state == "running" for e in elements):
            code = fail(f"Job <{id_}>: Operation is in progress", 255)
        else:
            out(f"Job <{id_}> is being terminated")
        farm.cancel(elements)
    return code


def bparams(_argv: list[str]) -> int:
    farm = open_farm()
    _wait_for_daemons(farm)
    out(f"Maximal job array size:\n    MAX_JOB_ARRAY_SIZE = {farm.settings.max_array}")
    return 0
