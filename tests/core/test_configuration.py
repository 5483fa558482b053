"""The configuration file: where it is looked for, what it may say, and what comes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import batchpilot as bp
from batchpilot.configuration import Configuration, configuration, find_file
from batchpilot.errors import DefinitionError, SubmissionError
from batchpilot.registry.whole import load_registry, make_registry


WHOLE = """
max_concurrent_jobs = 7

[registry]
seed = 42
work_dir = "{place}"
packages = ["json"]
source = "helpers.py"

[default_resources]
walltime = 60
partition = "long"

[[pools]]
kind = "Local"
slots = 3

[[pools]]
kind = "Local"
name = "large"
resources = {{ ncpus = 8 }}
"""


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Give the places where a file is looked for, in this order; none is there."""
    search, here, user, site = (tmp_path / name for name in ("search", "here", "user", "site"))
    for place in (search, here, user / "batchpilot", site / "batchpilot"):
        place.mkdir(parents=True)
    monkeypatch.setenv("BATCHPILOT_SEARCH_PATH", str(search))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(user))
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(site))
    monkeypatch.chdir(here)
    return [search, here, user / "batchpilot", site / "batchpilot"]


def write(place: Path, text: str) -> Path:
    path = place / "batchpilot.toml"
    path.write_text(text.format(place=place))
    return path


def test_the_first_file_found_counts(places: list[Path]) -> None:
    found = []
    for number, place in reversed(list(enumerate(places))):
        write(place, f"max_concurrent_jobs = {number + 1}")
        found.append(configuration().max_concurrent_jobs)

    assert found == [4, 3, 2, 1]
    assert find_file("other.toml") is None


def test_the_users_place_is_below_the_home(
    places: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".config" / "batchpilot").mkdir(parents=True)
    path = write(tmp_path / ".config" / "batchpilot", "")

    assert find_file("batchpilot.toml") == path
    assert not any(place.joinpath("batchpilot.toml").exists() for place in places)


def test_without_a_file_nothing_is_configured(places: list[Path]) -> None:
    assert configuration() == Configuration()

    write(places[1], "max_concurrent_jobs = 3")
    assert configuration(False) == Configuration()


def test_a_new_registry_begins_with_what_the_file_says(tmp_path: Path) -> None:
    (tmp_path / "helpers.py").write_text("x = 1\n")
    path = write(tmp_path, WHOLE)

    make_registry(tmp_path / "registry", conf_file=path).close()

    with load_registry(tmp_path / "registry") as registry:
        assert registry.seed == 42
        assert registry.work_dir == tmp_path
        assert registry.packages == ["json"]
        assert registry.source == ["helpers.py"]
        assert registry.default_resources == {"walltime": 60, "partition": "long"}
        assert registry.max_concurrent_jobs == 7
        assert registry.pools == [
            bp.pools.Local(slots=3),
            bp.pools.Local(name="large", resources={"ncpus": 8}),
        ]


def test_where_metrics_and_logs_go_is_kept_in_the_registry(tmp_path: Path) -> None:
    path = write(tmp_path, "[metrics]\nlisten = '127.0.0.1:9'\n[logs]\nformat = 'json'")

    with make_registry(tmp_path / "registry", conf_file=path) as registry:
        assert registry._setting("metrics")["listen"] == "127.0.0.1:9"
        assert registry._setting("log_format") == "json"


def test_arguments_go_before_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, WHOLE)
    (tmp_path / "work").mkdir()
    (tmp_path / "other.py").touch()

    with make_registry(
        tmp_path / "registry",
        seed=1,
        work_dir=tmp_path / "work",
        packages="math",
        source=tmp_path / "other.py",
        conf_file=path,
    ) as registry:
        assert registry.seed == 1
        assert registry.work_dir == tmp_path / "work"
        assert registry.packages == ["math"]
        assert registry.source == [str(tmp_path / "other.py")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sleep = 3", "unknown: sleep"),
        ("[registry]\nsede = 3", r"unknown: registry\.sede"),
        ("registry = 3", "registry is no table"),
        ("pools = 3", "pools are no tables"),
        ("[[pools]]\nslots = 3", "a pool of kind None"),
        ("[[pools]]\nkind = 'Lokal'", "a pool of kind 'Lokal'"),
        ("[[pools]]\nkind = 'Local'\nslotz = 3", "Local has no option 'slotz'"),
        ("[[pools]]\nkind = 'Local'\nslots = 0", "slots=0 must be at least 1"),
        ("max_concurrent_jobs = 0", "max_concurrent_jobs=0 is no positive"),
        ("[registry]\npackages = [1]", r"packages=\[1\] are no names"),
        ("metrics = 3", "metrics is no table"),
        ("[metrics]\nlisten = '9464'", "'9464' is no address"),
        ("[metrics]\nport = 9464", r"metrics\.port"),
        ("[metrics]\ntoken_file = '/no/where'", "token file /no/where cannot be read"),
        ("[logs]\nformat = 'xml'", r"logs\.format='xml' is no format"),
        ("[logs]\nlevel = 'debug'", r"unknown: logs\.level"),
        ("[[registry]\n", "cannot be read"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)

    with pytest.raises(DefinitionError, match=message) as caught:
        make_registry(tmp_path / "registry", conf_file=path)

    assert str(path) in str(caught.value)
    assert caught.value.remedy
    assert not (tmp_path / "registry").exists()


def test_resources_of_the_wrong_kind_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "[default_resources]\nwalltime = 'long'")

    with pytest.raises(SubmissionError, match="walltime='long'"):
        make_registry(tmp_path / "registry", conf_file=path)


def test_a_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match=r"nowhere\.toml cannot be read"):
        make_registry(tmp_path / "registry", conf_file=tmp_path / "nowhere.toml")


def test_default_resources_are_those_of_jobs_without(tmp_path: Path) -> None:
    with make_registry(tmp_path / "registry", work_dir=tmp_path) as registry:
        registry.pools = bp.pools.Interactive()
        registry.default_resources = {"walltime": 60, "memory": 100}
        registry.batch_map(lambda i: i, i=[1, 2, 3])
        registry.submit_jobs(1)
        registry.submit_jobs(2, {"walltime": 5, "account": "x"})
        registry.submit_jobs(3, {"memory": None})

        given: list[Any] = registry.get_job_resources()["resources"].tolist()
        assert given == [
            {"memory": 100, "walltime": 60},
            {"account": "x", "memory": 100, "walltime": 5},
            {"walltime": 60},
        ]


def test_impossible_settings_are_refused(tmp_path: Path) -> None:
    with make_registry(tmp_path / "registry", work_dir=tmp_path) as registry:
        with pytest.raises(SubmissionError, match="ncpus=0"):
            registry.default_resources = {"ncpus": 0}
        with pytest.raises(DefinitionError, match="no positive whole number"):
            registry.max_concurrent_jobs = 0
        with pytest.raises(SubmissionError, match="no resource of a job"):
            registry.submit_jobs(resources={"max_concurrent_jobs": 3})

        assert (registry.default_resources, registry.max_concurrent_jobs) == ({}, None)
