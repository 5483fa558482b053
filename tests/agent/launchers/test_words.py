"""What batch systems say when they refuse, and what that means: words as they were observed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from batchpilot_agent.errors import LaunchPostponed, LaunchRefused
from batchpilot_agent.launchers.nouns import AllocationRequest
from batchpilot_agent.launchers.running import Completed

from .conftest import MakeLauncher


FAILED = "sbatch: error: Batch job submission failed: "

FOR_NOW = [
    ("Slurm", FAILED + "Socket timed out on send/recv operation"),
    ("Slurm", FAILED + "Unable to contact slurm controller (connect failure)"),
    (
        "Slurm",
        "sbatch: error: AssocMaxSubmitJobLimit\n" + FAILED + "Job violates accounting policy",
    ),
    ("Slurm", "sbatch: error: QOSMaxSubmitJobPerUserLimit"),
    ("Slurm", "Submission rate too high, suggest using job arrays"),
    ("Slurm", "sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying."),
    ("PBS", "Connection refused\nqsub: cannot connect to server vm (errno=15010)"),
    ("PBS", "qsub: would exceed complex's per-user limit of jobs in 'Q' state"),
    ("Torque", "qsub: submit error (Maximum number of jobs already in queue MSG=x)"),
    ("LSF", "LSF daemon (LIM) not responding ... still trying"),
    ("LSF", "User <u>: Pending job threshold reached. Retrying in 60 seconds..."),
    ("SGE", "Unable to run job: unable to contact qmaster using port 6444 on host vm.\nExiting."),
    ("SGE", "Unable to run job: job rejected: only 3 jobs are allowed per user (now: 3)."),
]
FOR_EVER = [
    ("Slurm", FAILED + "Invalid partition name specified"),
    ("Slurm", FAILED + "Invalid account or account/partition combination specified"),
    ("Slurm", FAILED + "Requested time limit is invalid (missing or exceeds some limit)"),
    ("Slurm", "sbatch: error: Invalid generic resource (gres) specification"),
    ("PBS", "qsub: Unknown resource Resource_List.nosuchres"),
    ("PBS", "qsub: Unknown queue"),
    ("PBS", "qsub: Bad UID for job execution"),
    ("Torque", "qsub: submit error (Unauthorized Request  MSG=group ACL is not satisfied)"),
    ("LSF", "nope: No such queue. Job not submitted."),
    ("LSF", "User permission denied. Job not submitted."),
    ("SGE", 'Unable to run job: Job was rejected because job requests unknown queue "no".'),
]


@pytest.mark.parametrize(("kind", "words"), FOR_NOW)
def test_what_may_be_accepted_later_is_postponed(
    make_launcher: MakeLauncher, request_: AllocationRequest, kind: str, words: str
) -> None:
    launcher, answers = make_launcher(kind)
    answers.will(Completed(code=1, stderr=words))

    with pytest.raises(LaunchPostponed) as caught:
        launcher.submit(request_)

    assert words in str(caught.value)


@pytest.mark.parametrize(("kind", "words"), FOR_EVER)
def test_what_will_never_be_accepted_is_refused(
    make_launcher: MakeLauncher, request_: AllocationRequest, kind: str, words: str
) -> None:
    launcher, answers = make_launcher(kind)
    answers.will(Completed(code=1, stderr=words))

    with pytest.raises(LaunchRefused) as caught:
        launcher.submit(request_)

    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "words", "first"),
    [
        ("Slurm", "36\n", "36_1"),
        ("Slurm", "Welcome to cluster 7\n36;blue\n", "36_1"),
        ("Slurm", "Submitted batch job 36 on cluster blue", "36_1"),
        ("PBS", "12[].vm\n", "12[1].vm"),
        ("PBS", "NOTE: 3 projects\n12[].server.site.org\n", "12[1].server.site.org"),
        ("Torque", "189[].pali\n", "189[1].pali"),
        ("LSF", "Job <3> is submitted to default queue <normal>.\n", "3[1]"),
        ("LSF", "Charged to <x>\nJob <3> is submitted to queue <long>.\n", "3[1]"),
        ("SGE", "12.1-3:1\n", "12.1"),
    ],
)
def test_the_id_is_found_among_what_the_site_says(
    make_launcher: MakeLauncher, request_: AllocationRequest, kind: str, words: str, first: str
) -> None:
    launcher, answers = make_launcher(kind)
    answers.will(Completed(code=0, stdout=words))

    assert launcher.submit(request_).elements[0] == first


@pytest.mark.parametrize("kind", ["Slurm", "PBS", "Torque", "LSF", "SGE"])
def test_an_answer_without_an_id_is_no_success(
    make_launcher: MakeLauncher, request_: AllocationRequest, kind: str
) -> None:
    launcher, answers = make_launcher(kind)
    answers.will(Completed(code=0, stdout="Have a nice day\n"))

    with pytest.raises(LaunchRefused, match="Have a nice day"):
        launcher.submit(request_)


def test_a_single_agent_of_pbs_is_a_plain_job(
    make_launcher: MakeLauncher, request_: AllocationRequest
) -> None:
    launcher, answers = make_launcher("PBS")
    answers.will(Completed(code=0, stdout="12.vm\n"))

    submitted = launcher.submit(replace(request_, agents=1))

    assert submitted.ids == submitted.elements == ("12.vm",)
    assert "#PBS -J" not in (launcher.paths.allocation("a1") / "script.sh").read_text()


def test_mixed_answers_of_pbs_are_read_id_by_id(make_launcher: MakeLauncher) -> None:
    launcher, answers = make_launcher("PBS")
    answers.will(
        Completed(
            code=153,
            stdout='{"Jobs": {"2[].vm": {"job_state": "B"}, "2[1].vm": {"job_state": "X",'
            ' "substate": 93, "Exit_status": 3}, "2[2].vm": {"job_state": "R"}}}',
            stderr="qstat: 1[].vm Job has finished, use -x or -H to obtain historical job"
            " information\nqstat: Unknown Job Id 9[].vm\n",
        )
    )

    found = launcher.states(["1[1].vm", "2[1].vm", "2[2].vm", "9[1].vm"])

    assert [s.state for s in found.values()] == ["ended", "ended", "running", "unknown"]
    assert [s.failed for s in found.values()] == [False, True, False, False]
    assert [s.known for s in found.values()] == [True, True, True, False]


@pytest.mark.parametrize(
    ("kind", "answer", "element"),
    [
        ("Slurm", Completed(code=0, stdout="1_1|DREAMING|Why\n"), "1_1"),
        ("PBS", Completed(code=0, stdout='{"Jobs": {"1[1].vm": {"job_state": "?"}}}'), "1[1].vm"),
        (
            "LSF",
            Completed(
                code=0, stdout='{"RECORDS":[{"JOBID":"1","STAT":"UNKWN","JOB_NAME":"n[1]"}]}'
            ),
            "1[1]",
        ),
    ],
)
def test_a_state_that_nobody_knows_is_unknown_and_no_end(
    make_launcher: MakeLauncher, kind: str, answer: Completed, element: str
) -> None:
    launcher, answers = make_launcher(kind)
    answers.will(answer)

    (status,) = launcher.states([element]).values()

    assert (status.state, status.known) == ("unknown", True)


@pytest.mark.parametrize("kind", ["PBS", "Torque", "LSF", "SGE"])
def test_an_answer_that_cannot_be_read_is_none(make_launcher: MakeLauncher, kind: str) -> None:
    launcher, answers = make_launcher(kind)
    answers.will(Completed(code=0, stdout="{<not what was asked for"))

    with pytest.raises(LaunchPostponed):
        launcher.states(["1[1].vm"])


def test_only_lsf_that_knows_exit_codes_is_asked_for_them_twice(
    make_launcher: MakeLauncher,
) -> None:
    launcher, answers = make_launcher("LSF")
    launcher._parameters = None
    record = '{"RECORDS":[{"JOBID":"1","STAT":"RUN","JOB_NAME":"n[1]"}]}'
    answers.will(
        Completed(code=0, stdout="MAX_JOB_ARRAY_SIZE = 7"),
        Completed(code=99, stderr="<EXIT_CODE> in the format string is not a valid field name."),
        Completed(code=0, stdout=record),
        Completed(code=0, stdout=record),
    )

    states = [launcher.states(["1[1]"])["1[1]"].state for _ in range(2)]

    assert states == ["running", "running"]
    assert launcher.parameters.max_array == 7
    assert ["exit_code" in " ".join(call) for call in answers.calls[1:]] == [True, False, False]


@pytest.mark.parametrize("kind", ["Slurm", "PBS", "Torque", "LSF", "SGE"])
def test_where_nobody_answers_one_command_is_waited_for(
    make_launcher: MakeLauncher, request_: AllocationRequest, kind: str
) -> None:
    launcher, answers = make_launcher(kind)
    launcher._parameters = None
    answers.will(*[LaunchPostponed("it did not end within 60 s")] * 3)

    with pytest.raises(LaunchPostponed, match="did not end"):
        launcher.submit(request_)

    assert len(answers.calls) == 1


@pytest.mark.parametrize("kind", ["Slurm", "PBS", "Torque", "LSF", "SGE"])
@pytest.mark.parametrize("answer", [LaunchRefused("no such command"), Completed(code=1)])
def test_what_is_allowed_is_asked_once_a_submission_and_as_usual_where_it_is_not_told(
    make_launcher: MakeLauncher,
    request_: AllocationRequest,
    kind: str,
    answer: Completed | LaunchRefused,
) -> None:
    launcher, answers = make_launcher(kind)
    launcher._parameters = None
    answers.will(answer, Completed(code=1, stderr="a refusal"))

    with pytest.raises(LaunchRefused, match="a refusal"):
        launcher.submit(request_)

    assert len(answers.calls) == 2
    assert launcher.parameters.max_array == launcher.usual.max_array
