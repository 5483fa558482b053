"""How an agent ended, where the query about many does not tell: words as they were observed."""

from __future__ import annotations

import json

import pytest

from batchpilot_agent.errors import LaunchPostponed
from batchpilot_agent.launchers.running import Completed

from .conftest import MakeLauncher


PAST = "Job has finished, use -x or -H to obtain historical job information"
IN_FULL = """
Job <29[1]>, Job Name <arr[1]>, User <tester>, Project <default>, Status <EXIT>
                     , Queue <normal>, Command <#!/bin/bash;echo 1:00:00: Exited by
                      signal 5>
Sun Nov 22 11:25:02: Submitted from host <vm>, CWD <$HOME>;
Sun Nov 22 11:25:12: {}

 SCHEDULING PARAMETERS:
           r15s   r1m  r15m   ut      pg    io   ls    it    tmp    swp    mem
"""


def pbs_answer(jobs: dict[str, object], *complaints: str, code: int = 0) -> Completed:
    stdout = json.dumps({"Jobs": jobs} if jobs else {})
    return Completed(code=code, stdout=stdout, stderr="\n".join(complaints))


def lsf_answer(*records: dict[str, str], code: int = 0) -> Completed:
    return Completed(code=code, stdout=json.dumps({"COMMAND": "bjobs", "RECORDS": records}))


def element(stat: str, index: int = 1) -> dict[str, str]:
    return {"JOBID": "29", "STAT": stat, "JOB_NAME": f"arr[{index}]"}


def test_the_history_of_pbs_is_asked_how_those_ended_that_are_over(
    make_launcher: MakeLauncher,
) -> None:
    launcher, answers = make_launcher("PBS")
    answers.will(
        pbs_answer(
            {"2[].vm": {"job_state": "B"}, "2[1].vm": {"job_state": "R"}},
            f"qstat: 1[].vm {PAST}",
            f"qstat: 3.vm {PAST}",
            "qstat: Unknown Job Id 9.vm",
            code=153,
        ),
        pbs_answer(
            {
                "1[].vm": {"job_state": "F", "substate": 93, "Exit_status": 1},
                "1[1].vm": {"job_state": "F", "substate": 93, "Exit_status": 127},
                "1[2].vm": {"job_state": "F", "substate": 70, "Exit_status": 1},
                "1[3].vm": {"job_state": "F", "substate": 91, "Exit_status": 271},
                "3.vm": {"job_state": "F", "substate": 93, "Exit_status": -4},
            }
        ),
    )

    found = launcher.states(["1[1].vm", "1[2].vm", "1[3].vm", "1[4].vm", "2[1].vm", "3.vm", "9.vm"])

    assert [s.state for s in found.values()] == [*["ended"] * 4, "running", "ended", "unknown"]
    assert [id_ for id_, status in found.items() if status.failed] == ["1[1].vm"]
    assert " ".join(answers.calls[1]) == "qstat -t -f -F json -x 1[].vm 3.vm"


@pytest.mark.parametrize(
    "answer",
    [
        Completed(code=0, stderr="qstat: PBS is not configured to maintain job history"),
        Completed(code=159, stderr="qstat: Unauthorized Request"),
        Completed(code=0, stdout="[]"),
    ],
)
def test_what_is_over_has_ended_also_where_the_history_does_not_answer(
    make_launcher: MakeLauncher, answer: Completed
) -> None:
    launcher, answers = make_launcher("PBS")
    answers.will(pbs_answer({}, f"qstat: 3.vm {PAST}", code=35), answer)

    (status,) = launcher.states(["3.vm"]).values()

    assert (status.state, status.failed, status.known) == ("ended", False, True)


@pytest.mark.parametrize(
    ("words", "failed"),
    [
        ("Exited with exit code 3. The CPU time used is 0.1 seconds.", True),
        ("Exited with exit code 137. The CPU time used is 0.1 seconds.", True),
        ("Exited by signal 11. The CPU time used is 0.1 seconds.", True),
        ("Exited with exit code 130. The CPU time used is 0.1 seconds.", False),
        ("Exited with exit code 140. The CPU time used is 0.1 seconds.", False),
        ("Exited by signal 9. The CPU time used is 0.1 seconds.", False),
        ("Exited The CPU time used is unknown.", False),
        ("Exited", False),
    ],
)
def test_lsf_without_exit_codes_is_asked_at_length_how_a_job_ended(
    make_launcher: MakeLauncher, words: str, failed: bool
) -> None:
    launcher, answers = make_launcher("LSF")
    answers.will(
        lsf_answer(element("EXIT"), element("EXIT", 2), element("RUN", 3)),
        Completed(code=0, stdout=IN_FULL.format(words)),
    )

    found = launcher.states(["29[1]", "29[3]"])

    assert [s.state for s in found.values()] == ["ended", "running"]
    assert [s.failed for s in found.values()] == [failed, False]
    assert found["29[1]"].reason == f"EXIT {words}"
    assert answers.calls[1:] == [["bjobs", "-l", "29[1]"]]


def test_lsf_that_tells_exit_codes_is_asked_once(make_launcher: MakeLauncher) -> None:
    launcher, answers = make_launcher("LSF")
    answers.will(lsf_answer(element("EXIT") | {"EXIT_CODE": "3"}, element("DONE", 2)))

    found = launcher.states(["29[1]", "29[2]"])

    assert [s.failed for s in found.values()] == [True, False]
    assert len(answers.calls) == 1


@pytest.mark.parametrize(
    "answer",
    [
        lsf_answer({"JOBID": "29", "ERROR": "A socket operation has failed"}, code=255),
        lsf_answer(
            {"JOBID": "9", "ERROR": "Job <9> is not found"},
            {"JOBID": "29", "ERROR": "Communication time out"},
            code=255,
        ),
        lsf_answer({"JOBID": "29"}),
        lsf_answer(code=255),
        Completed(code=0, stdout="[]"),
    ],
)
def test_an_error_of_lsf_is_no_look_unless_it_says_that_a_job_is_not_there(
    make_launcher: MakeLauncher, answer: Completed
) -> None:
    launcher, answers = make_launcher("LSF")
    answers.will(answer)

    with pytest.raises(LaunchPostponed):
        launcher.states(["9[1]", "29[1]"])


def test_only_a_job_that_lsf_does_not_find_is_not_known(make_launcher: MakeLauncher) -> None:
    launcher, answers = make_launcher("LSF")
    answers.will(lsf_answer({"JOBID": "9", "ERROR": "Job <9> is not found"}, code=255))

    (status,) = launcher.states(["9[1]"]).values()

    assert (status.state, status.known) == ("unknown", False)


def test_a_name_with_a_tab_in_the_answer_of_pbs_is_no_trouble(make_launcher: MakeLauncher) -> None:
    launcher, answers = make_launcher("PBS")
    raw = '{"Jobs": {"3.vm": {"job_state": "R", "Variable_List": {"PBS_O_WORKDIR": "/a\tb"}}}}'
    answers.will(Completed(code=0, stdout=raw))

    assert launcher.states(["3.vm"])["3.vm"].state == "running"


def test_an_answer_of_pbs_that_is_no_object_is_none(make_launcher: MakeLauncher) -> None:
    launcher, answers = make_launcher("PBS")
    answers.will(Completed(code=0, stdout='["3.vm"]'))

    with pytest.raises(LaunchPostponed):
        launcher.states(["3.vm"])
