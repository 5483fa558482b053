"""What is read of an allocation: the variables are those that real systems have set."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from batchpilot_agent.allocation import Allocation, own_group, read_allocation, usable_cores


NOWHERE = Path("/nowhere")


def given(host: str = "n1", **environment: str) -> Allocation:
    return read_allocation(environment, host, NOWHERE)


@pytest.fixture(autouse=True)
def many_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the machine of the tests have 64 cores: how many it has is not what is asked here."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    monkeypatch.setattr(os, "cpu_count", lambda: 64)


def test_outside_of_any_batch_system_nothing_is_given() -> None:
    assert given(PATH="/bin", HOME="/root") == Allocation()


def test_an_element_of_a_slurm_array_is_named_by_array_and_task() -> None:
    found = given(
        SLURM_JOB_ID="2",
        SLURM_ARRAY_JOB_ID="1",
        SLURM_ARRAY_TASK_ID="4",
        SLURM_CPUS_ON_NODE="8",
        SLURM_MEM_PER_NODE="16000",
        SLURM_JOB_END_TIME="1795372931",
        CUDA_VISIBLE_DEVICES="0,1",
    )

    assert found == Allocation(
        element="1_4", cores=8, memory=16000, devices=("0", "1"), ends=1795372931
    )


def test_memory_per_core_counts_for_each_core() -> None:
    found = given(SLURM_JOB_ID="7", SLURM_CPUS_ON_NODE="4", SLURM_MEM_PER_CPU="2000")

    assert (found.element, found.memory) == ("7", 8000)


def test_pbs_says_its_cores_by_ncpus() -> None:
    found = given(PBS_JOBID="33[2].vm", NCPUS="2", PBS_NODEFILE="/nowhere")

    assert (found.element, found.cores) == ("33[2].vm", 2)


def test_torque_lists_a_host_once_a_core(tmp_path: Path) -> None:
    nodes = tmp_path / "33[2].vm"
    nodes.write_text("n2.site\nn1.site\nn1.site\nn1.site\n")

    assert given(PBS_JOBID="33[2].vm", PBS_NODEFILE=str(nodes)).cores == 3
    assert given("n9", PBS_JOBID="33[2].vm", PBS_NODEFILE=str(nodes)).cores == 0


def test_a_node_file_of_one_name_means_this_host_whatever_it_is_called(tmp_path: Path) -> None:
    nodes = tmp_path / "nodes"
    nodes.write_text("localhost\nlocalhost\n")

    assert given(PBS_JOBID="1.vm", PBS_NODEFILE=str(nodes)).cores == 2


@pytest.mark.parametrize(("index", "element"), [("0", "3"), ("2", "3[2]")])
def test_lsf_pairs_hosts_with_cores_and_calls_no_array_index_0(index: str, element: str) -> None:
    found = given(LSB_JOBID="3", LSB_JOBINDEX=index, LSB_MCPU_HOSTS="n2 8 n1 4 ")

    assert (found.element, found.cores) == (element, 4)


@pytest.mark.parametrize(("task", "element"), [("undefined", "12"), ("4", "12.4")])
def test_sge_says_undefined_where_there_is_no_array(task: str, element: str) -> None:
    found = given(JOB_ID="12", SGE_TASK_ID=task, NSLOTS="6")

    assert (found.element, found.cores) == (element, 6)


@pytest.mark.parametrize("value", ["", "-1", "NoDevFiles"])
def test_a_value_that_means_no_device_gives_none(value: str) -> None:
    assert given(SLURM_JOB_ID="1", CUDA_VISIBLE_DEVICES=value).devices == ()


def test_cores_are_never_more_than_the_affinity_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})

    assert given(SLURM_JOB_ID="1", SLURM_CPUS_ON_NODE="8").cores == 2


def test_where_the_batch_system_counts_more_cores_than_there_are_its_word_stands() -> None:
    assert given(SLURM_JOB_ID="1", SLURM_CPUS_ON_NODE="96").cores == 96


def test_a_control_group_bounds_cores_and_memory(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("250000 100000\n")
    (tmp_path / "memory.max").write_text(f"{512 << 20}\n")
    variables = {"SLURM_JOB_ID": "1", "SLURM_CPUS_ON_NODE": "8", "SLURM_MEM_PER_NODE": "4000"}

    found = read_allocation(variables, "n1", tmp_path)

    assert (found.cores, found.memory) == (3, 512)
    assert usable_cores(tmp_path) == 3


def test_a_control_group_without_limits_bounds_nothing(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "memory.max").write_text("max\n")

    assert read_allocation({"SLURM_JOB_ID": "1"}, "n1", tmp_path) == Allocation(element="1")
    assert usable_cores(tmp_path) == 64


def test_where_no_group_of_ours_is_mounted_the_root_is_looked_at(tmp_path: Path) -> None:
    assert own_group(tmp_path) in {tmp_path, *tmp_path.parents}


@pytest.mark.parametrize("text", ["abc", "1e3", "4-2", ""])
def test_what_is_no_number_counts_as_unsaid(text: str) -> None:
    assert given(SLURM_JOB_ID="1", SLURM_CPUS_ON_NODE=text).cores == 0


def test_a_number_with_a_count_of_nodes_is_read_up_to_it() -> None:
    assert given(SLURM_JOB_ID="1", SLURM_CPUS_ON_NODE="4(x2)").cores == 4
