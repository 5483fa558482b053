"""Job scripts: where their templates come from, and what goes into them."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from batchpilot_agent.errors import TemplateBroken
from batchpilot_agent.launchers.choosing import BATCH_SYSTEMS
from batchpilot_agent.launchers.nouns import AllocationRequest
from batchpilot_agent.launchers.searching import SHIPPED, find_template

from .conftest import MakeLauncher


KINDS = list(BATCH_SYSTEMS)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_asked_for_gives_no_directive(
    make_launcher: MakeLauncher, request_: AllocationRequest, kind: str
) -> None:
    launcher, _ = make_launcher(kind)

    (script,) = launcher.scripts(request_)

    for word in ("walltime", "time=", "mem", "gpu", "queue=", "account", "-q ", "h_rt", "-W", "-M"):
        assert word not in script


@pytest.mark.parametrize("kind", KINDS)
def test_a_shipped_script_is_sound_shell(
    make_launcher: MakeLauncher, request_: AllocationRequest, kind: str
) -> None:
    launcher, _ = make_launcher(kind)
    full = replace(
        request_, ncpus=4, memory=100.5, gpus=1, walltime=90, throttle=2, setup=("true",)
    )

    (script,) = launcher.scripts(full)

    done = subprocess.run(["bash", "-n"], input=script, text=True, check=False)  # noqa: S607 - as in its first line
    assert done.returncode == 0
    assert script.startswith("#!/bin/bash\n")


@pytest.mark.parametrize(
    ("kind", "lines"),
    [
        ("Slurm", ["--time=2", "--mem=101M", "--cpus-per-task=4", "--array=1-3%2"]),
        ("PBS", ["-l walltime=0:01:30", "-l select=1:ncpus=4:mem=101mb", "-J 1-3%2"]),
        ("Torque", ["-l walltime=0:01:30", "-l nodes=1:ppn=4", "-l mem=101mb", "-t 1-3%2"]),
        ("LSF", ["-W 2", "-M 102912", "-n 4", '-J "bp-pool[1-3]%2"']),
        ("SGE", ["-l h_rt=0:01:30", "-l h_vmem=26M", "-pe smp 4", "-t 1-3", "-tc 2"]),
    ],
)
def test_resources_are_written_as_the_batch_system_counts(
    make_launcher: MakeLauncher, request_: AllocationRequest, kind: str, lines: list[str]
) -> None:
    launcher, _ = make_launcher(kind)

    (script,) = launcher.scripts(replace(request_, ncpus=4, memory=100.5, walltime=90, throttle=2))

    assert {f"{launcher.prefix} {line}" for line in lines} <= set(script.splitlines())


@pytest.mark.parametrize(
    ("conf", "limit"),
    [
        ("", 16_384_000),
        ("LSF_UNIT_FOR_LIMITS=KB\n", 16_384_000),
        ("#LSF_UNIT_FOR_LIMITS=GB\nLSF_TOP=/lsf\nLSF_UNIT_FOR_LIMITS=MB\n", 16_000),
        ('LSF_UNIT_FOR_LIMITS="gb"\n', 16),
        ("LSF_UNIT_FOR_LIMITS = T\n", 1),
    ],
)
def test_lsf_limits_memory_in_the_unit_that_its_site_has_chosen(
    make_launcher: MakeLauncher,
    request_: AllocationRequest,
    tmp_path: Path,
    conf: str,
    limit: int,
) -> None:
    launcher, _ = make_launcher("LSF")
    launcher.environment = {"LSF_ENVDIR": str(tmp_path)}
    if conf:
        (tmp_path / "lsf.conf").write_text(conf)

    (script,) = launcher.scripts(replace(request_, memory=16_000.0))

    assert f"#BSUB -M {limit}\n" in script


def test_directives_are_left_out_and_added(
    make_launcher: MakeLauncher, request_: AllocationRequest
) -> None:
    launcher, _ = make_launcher("Slurm")
    request = replace(
        request_,
        memory=5.0,
        directives_skip=("--mem", "--no-requeue"),
        directives_extra=("--exclusive", "--comment=x"),
    )

    (script,) = launcher.scripts(request)

    directives = [line for line in script.splitlines() if line.startswith("#SBATCH")]
    assert directives[-2:] == ["#SBATCH --exclusive", "#SBATCH --comment=x"]
    assert not any("--mem" in line or "requeue" in line for line in directives)


@pytest.mark.parametrize(
    ("kind", "directive"),
    [
        ("Slurm", "#SBATCH --no-requeue"),
        ("SGE", "#$ -r n"),
    ],
)
def test_no_agent_is_run_again_by_its_batch_system(
    make_launcher: MakeLauncher, request_: AllocationRequest, kind: str, directive: str
) -> None:
    launcher, _ = make_launcher(kind)

    assert f"{directive}\n" in launcher.scripts(request_)[0]


@pytest.mark.parametrize(("agents", "answer"), [(1, "n"), (2, "y")])
def test_pbs_runs_only_elements_of_arrays_again_since_it_takes_no_others(
    make_launcher: MakeLauncher, request_: AllocationRequest, agents: int, answer: str
) -> None:
    launcher, _ = make_launcher("PBS")

    (script,) = launcher.scripts(replace(request_, agents=agents))

    assert f"#PBS -r {answer}\n" in script


def test_a_requirement_of_ones_own_takes_the_place_of_lsfs(
    make_launcher: MakeLauncher, request_: AllocationRequest
) -> None:
    launcher, _ = make_launcher("LSF")
    both = '-R "span[hosts=1] select[bigdisk]"'
    request = replace(request_, ncpus=4, directives_skip=("-R",), directives_extra=(both,))

    (script,) = launcher.scripts(request)

    assert [line for line in script.splitlines() if " -R " in line] == [f"#BSUB {both}"]


def test_variables_of_the_job_go_to_the_template(
    make_launcher: MakeLauncher, request_: AllocationRequest
) -> None:
    launcher, _ = make_launcher("Slurm")

    (script,) = launcher.scripts(replace(request_, variables={"partition": "long", "qos": 7}))

    assert "#SBATCH --partition=long\n" in script
    assert "#SBATCH --qos=7\n" in script


def test_a_variable_of_several_lines_is_refused(
    make_launcher: MakeLauncher, request_: AllocationRequest
) -> None:
    launcher, _ = make_launcher("Slurm")

    with pytest.raises(TemplateBroken, match="partition="):
        launcher.scripts(replace(request_, variables={"partition": "a\nrm -r ~"}))


def test_a_template_of_ones_own_is_used_and_its_errors_are_told(
    make_launcher: MakeLauncher, request_: AllocationRequest, tmp_path: Path
) -> None:
    launcher, _ = make_launcher("Slurm")
    own = tmp_path / "batchpilot.slurm.jinja"
    own.write_text(
        '#!/bin/sh\n#SBATCH -a {{ array }} -p {{ partition }}\n{% include "agent.jinja" %}'
    )

    (script,) = launcher.scripts(replace(request_, variables={"partition": "p"}))
    assert "#SBATCH -a 1-3 -p p\n" in script
    assert script.endswith('exec python -m agent --element "$element"\n')

    with pytest.raises(TemplateBroken, match="'partition' is undefined") as caught:
        launcher.scripts(request_)
    assert str(own) in str(caught.value)
    own.write_text("{% if %}")
    with pytest.raises(TemplateBroken, match=r"template .*batchpilot\.slurm\.jinja: "):
        launcher.scripts(request_)


def test_templates_are_looked_for_as_batchtools_does(tmp_path: Path) -> None:
    environment = {
        "BATCHPILOT_SEARCH_PATH": f"{tmp_path / 'a'}{os.pathsep}{tmp_path / 'b'}",
        "XDG_CONFIG_HOME": str(tmp_path / "home"),
        "XDG_CONFIG_DIRS": str(tmp_path / "etc"),
    }
    places = [
        tmp_path / "a" / "batchpilot.slurm.jinja",
        tmp_path / "b" / "batchpilot.slurm.jinja",
        tmp_path / "batchpilot.slurm.jinja",
        tmp_path / "home" / "batchpilot" / "slurm.jinja",
        tmp_path / "etc" / "batchpilot" / "slurm.jinja",
    ]
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()

    found = []
    for place in places:
        found.append(find_template("slurm", environment, tmp_path))
        place.unlink()

    assert found == places
    assert find_template("slurm", environment, tmp_path) == SHIPPED / "slurm.jinja"


def test_a_template_may_be_named_by_its_path(tmp_path: Path) -> None:
    own = tmp_path / "own.jinja"
    own.touch()

    assert find_template("own.jinja", {}, tmp_path) == find_template(str(own), {}) == own
    with pytest.raises(TemplateBroken, match="there is no template 'nosuch'"):
        find_template("nosuch", {}, tmp_path)


@pytest.mark.parametrize("mode", [0o646, 0o664])
def test_a_template_in_this_directory_that_others_may_have_written_is_refused_unless_named(
    make_launcher: MakeLauncher, request_: AllocationRequest, tmp_path: Path, mode: int
) -> None:
    launcher, answers = make_launcher("Slurm")
    found = tmp_path / "batchpilot.slurm.jinja"
    found.write_text("#!/bin/sh\n")
    if mode == 0o664:
        if os.getuid():
            pytest.skip("only root can give a file to another group")
        os.chown(found, -1, 12345)
    found.chmod(mode)

    with pytest.raises(TemplateBroken, match=r"others may have written it; .*chmod go-w") as caught:
        launcher.submit(request_)

    assert str(found) in str(caught.value)
    assert answers.calls == []
    assert launcher.scripts(replace(request_, template=str(found))) == ["#!/bin/sh\n"]
    found.chmod(0o644)
    assert launcher.scripts(request_) == ["#!/bin/sh\n"]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_a_template_of_somebody_else_is_refused_and_one_of_a_group_of_ones_own_is_not(
    tmp_path: Path,
) -> None:
    found = tmp_path / "batchpilot.slurm.jinja"
    found.touch()
    found.chmod(0o664)

    assert find_template("slurm", {}, tmp_path) == found
    os.chown(found, 12345, 12345)
    with pytest.raises(TemplateBroken, match="is not used"):
        find_template("slurm", {}, tmp_path)
    assert find_template("slurm", {"BATCHPILOT_SEARCH_PATH": str(tmp_path)}, Path("/")) == found


def test_a_template_that_cannot_be_read_or_looked_for_is_told(
    make_launcher: MakeLauncher, request_: AllocationRequest, tmp_path: Path
) -> None:
    launcher, _ = make_launcher("Slurm")
    with pytest.raises(TemplateBroken, match=r"cannot be looked for: .*; name its whole path"):
        launcher.scripts(replace(request_, template="~no.such.user/own.jinja"))
    with pytest.raises(TemplateBroken, match="cannot be looked for: "):
        find_template("x" * 300, {}, tmp_path)
    with pytest.raises(TemplateBroken, match=r"cannot be read: .*; make it readable"):
        launcher.scripts(replace(request_, template="/proc/self/mem"))


def test_where_the_directory_is_gone_templates_are_not_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()

    with pytest.raises(TemplateBroken, match="cannot be looked for: "):
        find_template("slurm", {})
    assert find_template("slurm", {}, tmp_path) == SHIPPED / "slurm.jinja"


def test_who_has_no_home_gets_the_template_that_is_shipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "~no.such.user")

    assert find_template("slurm", {}, tmp_path) == SHIPPED / "slurm.jinja"


@pytest.mark.parametrize("kind", KINDS)
def test_no_secret_goes_into_a_script(
    make_launcher: MakeLauncher,
    request_: AllocationRequest,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BATCHPILOT_BROKER_URL", "redis://:hush@x")
    monkeypatch.setenv("REDISCLI_AUTH", "hush")
    launcher, _ = make_launcher(kind)

    assert "hush" not in "".join(launcher.scripts(request_))


@pytest.mark.parametrize(
    ("walltime", "grace", "seconds"), [(0.0, 10.0, 0), (299.0, 10.0, 0), (300.0, 20.5, 21)]
)
def test_slurm_is_asked_for_a_warning_where_there_is_time_for_one(
    make_launcher: MakeLauncher,
    request_: AllocationRequest,
    walltime: float,
    grace: float,
    seconds: int,
) -> None:
    launcher, _ = make_launcher("Slurm")

    (script,) = launcher.scripts(replace(request_, walltime=walltime, grace=grace))

    warnings = [line for line in script.splitlines() if "--signal" in line]
    assert warnings == ([f"#SBATCH --signal=B:USR1@{seconds}"] if seconds else [])
