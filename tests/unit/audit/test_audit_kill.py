"""Processes that are really killed, at moments that nobody chose."""

import json
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

WRITER = """
    import json, signal, sys, time
    from pathlib import Path

    log, acked = Path(sys.argv[1]), open(sys.argv[2], "a", buffering=1)
    wanted = False

    def asked(*_):
        global wanted
        wanted = True

    signal.signal(signal.SIGUSR1, asked)
    file = log.open("a", buffering=1)
    number = 0
    print("ready", flush=True)
    while True:
        if wanted:
            wanted = False
            file = log.open("a", buffering=1)
        number += 1
        file.write(json.dumps({"time": str(number), "decision": f"d-{number}"}) + "\\n")
        acked.write(f"{number}\\n")
        time.sleep(0.002)
"""

SEALER = """
    import os, signal, sys
    from pathlib import Path
    from remit.audit.keys import load_key
    from remit.audit.ledger import Ledger
    from remit.audit.recorder import LedgerRecorder
    from remit.audit.sealer import Sealer
    from remit.audit.spool import Spool
    from remit.audit.store import FolderStore
    from remit.model.errors import NotRecorded
    from remit.state.database import open_database
    from remit.state.settings import StateSettings

    folder, writer = Path(sys.argv[1]), int(sys.argv[2])

    class Envoy:
        def reopen(self):
            os.kill(writer, signal.SIGUSR1)

    engine = open_database(StateSettings(f"sqlite:///{folder}/remit.db"))
    signer = load_key(folder / "audit" / "ledger.key", "contoso.example/remit")
    ledger = Ledger(engine, signer, folder=folder, database=folder / "remit.db")
    with LedgerRecorder(ledger, patience=20) as recorder:
        sealer = Sealer(
            node="node-1",
            spool=Spool(folder / "audit" / "spool" / "access.log"),
            store=FolderStore(folder / "audit" / "segments"),
            enter=recorder.record_now,
            last=lambda: ledger.last_segment("node-1"),
            reopener=Envoy(),
        )
        print("ready", flush=True)
        rounds = 0
        while True:
            rounds += 1
            recorder.record_now({"type": "decision", "decision": f"{os.getpid()}-{rounds}", "at": rounds})
            sealer.seal()
"""


def start(program: str, *arguments: object) -> subprocess.Popen:
    command = [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


def end(process: subprocess.Popen, kill: int = signal.SIGKILL) -> None:
    process.send_signal(kill)
    process.wait()
    process.stdout.close()


def test_killed_collectors_lose_and_double_nothing(place, rng):
    acked = place.folder / "acked"
    writer = start(WRITER, place.settings.access_log, acked)
    try:
        for _ in range(5):
            sealer = start(SEALER, place.folder, writer.pid)
            time.sleep(rng.random() * 0.2)
            end(sealer)
            report = place.verify()
            assert report.passed, report.findings
    finally:
        end(writer)
    place.writer.alive = False
    place.sealer(place.ledger()).seal()
    report = place.verify()
    assert report.passed, report.findings
    assert report.segments > 5
    written = [int(line) for line in Path(acked).read_text().split()]
    sealed = [int(json.loads(row)["time"]) for number in place.store.numbers() for row in place.store.rows(number)]
    assert len(sealed) == len(set(sealed))
    # the writer may die between a line and its acknowledgement, never the other way round
    assert set(written) <= set(sealed) <= {*written, len(written) + 1}
    assert report.rejected <= 1
