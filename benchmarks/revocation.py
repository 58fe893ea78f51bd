"""How long a revocation takes, over three gateways at 200 requests a second: until the last permit, and in all.

Three `remit serve` over one PostgreSQL; twenty sign-ins of four people read without a pause through all three doors,
under leases. A hundred times somebody is revoked (a person, a session, a job, everything issued until then) at one of
the three, and the moment that the API answers is held against the last permit that the revoked got anywhere: what came
back later than a second after it must be nothing. The planes, the database, the lab and the callers share one machine,
so that a busy one shows in the figures. Run: `make bench`; the same, shorter, is `tests/e2e/test_e2e_revocation.py`.
"""

import argparse
import importlib.util
import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from figures import RESULTS, keep, machine

TESTS = Path(__file__).parents[1] / "tests"
RATE = 200.0  # requests a second
PEOPLE = {"dana": 6, "ada": 5, "olga": 5, "gil": 4}  # sign-ins of each
SETTLE = 3.0  # seconds of traffic before the first


def beside(name: str, path: Path) -> Any:
    """A module that the tests use."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None  # noqa: S101 - it stands there
    assert spec.loader is not None  # noqa: S101 - likewise
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def spread(seconds: Sequence[float]) -> dict[str, float]:
    """Milliseconds."""
    ordered = sorted(seconds)
    ninety_ninth = ordered[min(len(ordered) - 1, round(0.99 * (len(ordered) - 1)))]
    return {
        "median_ms": round(statistics.median(ordered) * 1e3, 1),
        "p99_ms": round(ninety_ninth * 1e3, 1),
        "max_ms": round(ordered[-1] * 1e3, 1),
    }


def summary(cuts: Sequence[Any], got: Sequence[Any]) -> dict[str, Any]:
    """The figures. A last permit before the acknowledgement counts as none after it: 0 ms."""
    answers = Counter(f"{one.status} {one.reason}".strip() for one in got)
    by_kind = {
        kind: spread([max(0.0, one.last) for one in cuts if one.what == kind])
        for kind in dict.fromkeys(one.what for one in cuts)
    }
    return {
        "revocations": len(cuts),
        "asked_to_acknowledged": spread([one.took for one in cuts]),
        "acknowledged_to_last_permit": spread([max(0.0, one.last) for one in cuts]),
        "asked_to_last_permit": spread([max(0.0, one.took + one.last) for one in cuts]),
        "by_kind": by_kind,
        "permitted_after_acknowledgement": sum(one.after for one in cuts),
        "permitted_later_than_a_second": sum(one.late for one in cuts),
        "fenced": sum(one.fenced for one in cuts),
        "others_refused": dict(Counter(f"{one.status} {one.reason}" for cut in cuts for one in cut.others)),
        "requests": len(got),
        "requests_per_second": round(len(got) / (got[-1].at - got[0].at), 1),
        "answers": dict(answers.most_common()),
    }


def show(found: dict[str, Any]) -> None:
    """For people."""
    rate, count = found["requests_per_second"], found["revocations"]
    print(f"{count} revocations over three gateways at {rate} requests a second, milliseconds")
    for name in ("asked_to_acknowledged", "acknowledged_to_last_permit", "asked_to_last_permit"):
        row = found[name]
        words = name.replace("_", " ")
        print(f"  {words:28} median {row['median_ms']:7.1f}  p99 {row['p99_ms']:7.1f}  max {row['max_ms']:7.1f}")
    print(f"  permitted after the acknowledgement: {found['permitted_after_acknowledgement']}")
    print(f"  permitted later than a second after it: {found['permitted_later_than_a_second']}")
    print(f"  others that were not permitted meanwhile: {found['others_refused'] or 'none'}")


def measure(folder: Path, revocations: int, rate: float) -> dict[str, Any]:
    """Everything up, everything down again."""
    conftest, lib = beside("bench_conftest", TESTS / "conftest.py"), beside("bench_fleet", TESTS / "e2e" / "fleet.py")
    with conftest.postgres_server() as database:
        fleet = lib.Fleet(folder, database)
        try:
            fleet.start()
            security = lib.Security(fleet)
            sessions = [lib.Session(name, fleet.sign_in(name)) for name, many in PEOPLE.items() for _ in range(many)]
            with lib.Traffic(fleet, sessions, rate) as traffic:
                traffic.until_all(permitted=True, whose=lambda _: True, seconds=60)
                time.sleep(SETTLE)
                began = len(traffic.got)
                cuts = [lib.cut(fleet, traffic, security, number) for number in range(revocations)]
                got = traffic.got[began:]
            security.close()
        finally:
            fleet.end()
    return summary(cuts, got)


def main() -> int:
    """Measures, prints, writes `results/revocation.json`; 1 when something was permitted too late."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--revocations", type=int, default=100)
    parser.add_argument("--rate", type=float, default=RATE)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="remit-b-"))
    try:
        found = measure(folder, options.revocations, options.rate)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    show(found)
    document = {"what": "revocation over three gateways", "machine": machine(), "gateways": 3, **found}
    keep("revocation", document, options.results)
    return 1 if found["permitted_later_than_a_second"] else 0


if __name__ == "__main__":
    sys.exit(main())
