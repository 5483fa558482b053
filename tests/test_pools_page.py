"""docs/pools.md: its pools can be assigned, and what it says of templates is in them."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from jinja2 import Environment, meta

import batchpilot as bp
from batchpilot.pools import check_pools
from batchpilot_agent.launchers.searching import SHIPPED


PAGE = (Path(__file__).parents[1] / "docs" / "pools.md").read_text(encoding="utf-8")
SECTIONS = {
    "slurm": "Slurm",
    "pbs": "PBS Pro and OpenPBS",
    "torque": "Torque",
    "lsf": "LSF",
    "sge": "Grid Engine",
}


def test_the_pools_of_the_page_can_be_assigned() -> None:
    kinds = set()
    for code in re.findall(r"```python\n(reg\.pools = .*?)```", PAGE, re.DOTALL):
        reg = SimpleNamespace()
        exec(code, {"bp": bp, "reg": reg})  # noqa: S102 - the page's code is what is tested
        kinds |= {type(pool).__name__ for pool in check_pools(reg.pools)}

    assert kinds >= {"Local", "Slurm", "PBS", "Torque", "LSF", "SGE", "SSH"}


@pytest.mark.parametrize("kind", SECTIONS)
def test_the_variables_of_each_template_are_those_of_the_page(kind: str) -> None:
    section = PAGE.partition(f"\n## {SECTIONS[kind]}\n")[2].partition("\n## ")[0]
    told = re.search(r"^Variables.*?: (.*)\.$", section, re.MULTILINE)
    general = PAGE.partition("\n## Templates\n")[2].partition("\nFilters: ")[0]
    template = (SHIPPED / f"{kind}.jinja").read_text(encoding="utf-8")
    used = meta.find_undeclared_variables(Environment(autoescape=True).parse(template))

    assert told
    assert set(re.findall(r"`(\w+)`", told[1])) == used - set(re.findall(r"`(\w+)`", general))


def test_the_links_of_the_page_lead_to_its_headings() -> None:
    headings = {
        re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", PAGE, re.MULTILINE)
    }

    assert set(re.findall(r"\]\(#([^)]+)\)", PAGE)) <= headings
