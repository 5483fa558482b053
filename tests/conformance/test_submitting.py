"""Every launcher submits agents as arrays, and says in the batch system's words why not."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from batchpilot_agent.errors import LaunchPostponed, LaunchRefused
from batchpilot_agent.launchers.keeping import read_submitted

from .conftest import Bed, FakeBed, OpenBed


def test_one_agent_is_started_by_one_command(bed: Bed) -> None:
    request = bed.request()
    assert bed.launcher.parameters.max_array >= 1
    bed.recorder.calls.clear()

    submitted = bed.submit(request)

    assert len(bed.recorder.calls) == 1
    assert len(submitted.ids) == len(submitted.elements) == 1
    assert bed.said(request)[0]["argv"] == ["--element", "1"]
    assert read_submitted(bed.launcher.paths.allocation(request.id)) == submitted


def test_several_agents_are_one_array(bed: Bed) -> None:
    request = bed.request(agents=4)

    submitted = bed.submit(request)

    assert len(submitted.ids) == 1
    assert len(set(submitted.elements)) == 4
    for element in range(1, 5):
        assert bed.said(request, element)[0]["argv"] == ["--element", str(element)]


def test_a_throttled_array_runs_no_more_at_once(bed: Bed) -> None:
    submitted = bed.submit(bed.request(agents=4, throttle=2))
    bed.wait_for(submitted, "running", "running", "queued", "queued")

    bed.open()

    bed.wait_for(submitted, "ended", "ended", "ended", "ended")


def test_what_is_too_large_for_one_array_becomes_several(bed: Bed) -> None:
    bed.launcher._parameters = replace(bed.launcher.parameters, max_array=3)
    request = bed.request(agents=7)

    submitted = bed.submit(request)

    assert len(submitted.ids) == 3
    assert len(set(submitted.elements)) == 7
    for element in range(1, 8):
        assert bed.said(request, element)[0]["argv"] == ["--element", str(element)]
    scripts = sorted(bed.launcher.paths.allocation(request.id).glob("*.sh"))
    assert [script.name for script in scripts] == ["script-2.sh", "script-3.sh", "script.sh"]


def test_the_batch_system_is_asked_once_how_large_an_array_may_be(bed: Bed) -> None:
    sizes = {bed.launcher.parameters.max_array for _ in range(2)}
    asked = len(bed.recorder.calls)
    sizes |= {bed.launcher.parameters.max_array}

    assert sizes == {1000}
    assert len(bed.recorder.calls) == asked


def test_an_agent_gets_the_environment_and_runs_after_the_setup(bed: Bed) -> None:
    odd = "b c'\"$HOME`\\é"
    request = bed.request(
        env={"ODD": odd}, setup=('export AFTER="$ODD!"', "echo hello"), work_dir=str(bed.place)
    )
    bed.submit(request)

    (said,) = bed.said(request)

    assert (said["env"]["ODD"], said["env"]["AFTER"]) == (odd, f"{odd}!")
    assert said["cwd"] == str(bed.place)


def test_memory_is_asked_for_in_words_that_are_understood(fake: FakeBed) -> None:
    request = fake.request(memory=100.5)

    fake.submit(request)

    assert fake.said(request)


def test_agents_run_as_the_user_who_submits(bed: Bed) -> None:
    request = bed.request()
    bed.submit(request)

    (said,) = bed.said(request)

    assert said["uid"] == (os.getuid() or bed.place.stat().st_uid) != 0


@pytest.mark.parametrize("name", ["a b'c/registry", 'a"#$x/registry', "100%j%%/%a\\n\\", "é\tü"])
def test_odd_paths_are_no_trouble(open_bed: OpenBed, name: str) -> None:
    with open_bed(name) as bed:
        plain = bed.request(agents=2)
        request = replace(plain, command=(*plain.command, "x y", "it's", '"$A"', "#"))
        bed.submit(request)

        for element in (1, 2):
            (said,) = bed.said(request, element)
            assert said["argv"] == ["x y", "it's", '"$A"', "#", "--element", str(element)]


def test_a_place_that_is_not_there_is_refused_in_the_batch_systems_words(bed: Bed) -> None:
    request = bed.request(variables=bed.elsewhere)

    with pytest.raises(LaunchRefused, match=bed.words):
        bed.submit(request)

    log = bed.launcher.paths.allocation(request.id) / "scheduler.log"
    assert bed.words in log.read_text()
    assert read_submitted(log.parent) is None


def test_a_refusal_for_now_is_told_from_one_for_ever(bed: Bed) -> None:
    assert bed.launcher.parameters.max_array >= 1
    words = bed.refuse_next()
    try:
        with pytest.raises(LaunchPostponed) as caught:
            bed.submit(bed.request())
    finally:
        bed.accept_again()

    assert words in str(caught.value)
    request = bed.request()
    bed.submit(request)
    assert bed.said(request)


def test_what_was_submitted_stands_when_a_later_part_is_refused(fake: FakeBed) -> None:
    fake.change(max_array=2, refuse=["", fake.refusal])
    request = fake.request(agents=4)

    submitted = fake.submit(request)

    assert len(submitted.ids) == 1
    assert len(submitted.elements) == 2
    assert fake.refusal in submitted.shortfall
    assert read_submitted(fake.launcher.paths.allocation(request.id)) == submitted


def test_what_is_kept_is_for_the_user_alone(bed: Bed) -> None:
    request = bed.request()
    bed.submit(request)
    bed.said(request)

    place = bed.launcher.paths.allocation(request.id)

    assert place.stat().st_mode & 0o777 == 0o700
    kept = [place / name for name in ("script.sh", "scheduler.log", "submitted.json")]
    assert {path.stat().st_mode & 0o777 for path in kept} == {0o600}
