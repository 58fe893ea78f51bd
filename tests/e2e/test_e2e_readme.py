"""README's terminal block, run against the lab: every command prints what README says that it prints."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from remit.cli.story import digits
from remit.cli.story.installation import example

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
PROJECTS = ("contoso-fraud-test", "contoso-fraud-prod")


def known(line: str) -> str:
    """A line without what is another each time: ids, codes, ports, times, numbers, and how wide columns are."""
    for pattern, name in (
        (r"\bd-[0-9a-z]{26}\b", "DECISION"),
        (r"\bj-[0-9a-z]{26}\b", "RUN"),
        (r"127\.0\.0\.1:\d+", "ADDRESS"),
        (r"(?<=code )[A-Z0-9]+", "CODE"),
        (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "TIME"),
        (r" {2,}", "  "),
        (r"\d+", "N"),
    ):
        line = re.sub(pattern, name, line)
    return line


def block() -> list[str]:
    return [known(line) for line in README.partition("```console\n")[2].partition("```")[0].splitlines()]


def lines_after(start: str) -> list[str]:
    """What README says that the command prints."""
    found = block()
    begin = next(index for index, line in enumerate(found) if line.startswith(f"$ {start}")) + 1
    until = next((index for index, line in enumerate(found) if index >= begin and line.startswith("$ ")), len(found))
    return found[begin:until]


@pytest.mark.e2e
@pytest.mark.promise("V1")
def test_the_block_prints_what_it_says(world, tmp_path: Path) -> None:
    digits.seed(world.lab.control, PROJECTS, example("digits"))
    dana = world.person("dana")
    dana.remit("logout")
    config = ["--config", str(world.config)]

    assert signed_in(world, dana) == lines_after("remit login")
    script = [str(example("digits") / "launch.py")]
    permitted, refused = (dana.run(project, script) for project in PROJECTS)
    assert permitted.code == 0, permitted.err
    shown = [*permitted.err.splitlines(), permitted.out.splitlines()[-1]]
    assert [known(line) for line in shown] == lines_after("remit run --project contoso-fraud-test")
    assert refused.code != 0
    assert [known(line) for line in refused.err.splitlines()] == lines_after("remit run --project contoso-fraud-prod")

    asked = dana.remit("audit", "query", "--action", "customJobs.create", *config)
    rows = [known(line) for line in asked.out.splitlines() if " decision " in line]
    assert set(lines_after("remit audit query")) <= set(rows)
    verified = dana.remit("audit", "verify", *config)
    assert verified.code == 0, verified.err
    assert [known(line) for line in verified.err.splitlines()] == lines_after("remit audit verify")


def signed_in(world, dana) -> list[str]:
    """What `remit login` tells a person, who does as it says."""
    command = [sys.executable, "-m", "remit.cli", "login", "--device", "--url", world.url]
    said = []
    with subprocess.Popen(command, env=dana._environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            said.append(known(line.rstrip("\n")))
            if found := re.fullmatch(r"open (\S+) and enter the code (\S+)\n", line):
                dana.approve({"verification_uri": found[1], "user_code": found[2]})
    assert process.returncode == 0, said
    return said
