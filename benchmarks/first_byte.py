"""What `startup.py` measures: a script that reads by whatever identity it finds, and says when the first byte came.

    python benchmarks/first_byte.py storage|three BEGAN
    python benchmarks/first_byte.py hold

The same script for a key file and for a run: Google's default credentials and azure-identity's, each service with
credentials of its own, as their clients make them. BEGAN is the monotonic time at which it was started; `hold` says
its environment and waits. Leaves out the services' own clients, whose imports take longer than all that is measured.
"""

import time

ENTERED = time.monotonic()

import json  # noqa: E402 - the first line is the clock's
import os  # noqa: E402 - likewise
import signal  # noqa: E402 - likewise
import sys  # noqa: E402 - likewise

PROJECT, LOCATION = "contoso-fraud-test", "us-central1"
OBJECT = f"https://storage.googleapis.com/{PROJECT}-data/digits/questions.json"
ENDPOINTS = f"https://{LOCATION}-aiplatform.googleapis.com/v1/projects/{PROJECT}/locations/{LOCATION}/endpoints"
BLOB = "https://contosofraudtest.blob.core.windows.net/features/questions.json"
SCOPE = "https://www.googleapis.com/auth/cloud-platform"


def google(url: str) -> None:
    """The first byte of an answer of Google's."""
    import google.auth  # noqa: PLC0415 - what the script needs, and no more
    from google.auth.transport.requests import AuthorizedSession  # noqa: PLC0415 - likewise

    credentials, _ = google.auth.default(scopes=[SCOPE])
    with AuthorizedSession(credentials) as session, session.get(url, stream=True, timeout=30) as answer:
        answer.raise_for_status()
        next(answer.iter_content(1))


def azure(url: str) -> None:
    """The first byte of a blob."""
    import requests  # noqa: PLC0415 - what the script needs, and no more
    from azure.identity import DefaultAzureCredential  # noqa: PLC0415 - likewise

    with DefaultAzureCredential() as credential:
        token = credential.get_token("https://storage.azure.com/.default").token
    headers = {"authorization": f"Bearer {token}", "x-ms-version": "2023-11-03"}
    with requests.get(url, headers=headers, stream=True, timeout=30) as answer:
        answer.raise_for_status()
        next(answer.iter_content(1))


def main() -> None:
    """Reads, and says the milliseconds from the start and from the script's first line."""
    if sys.argv[1] == "hold":
        sys.stdout.write(json.dumps(dict(os.environ)) + "\n")
        sys.stdout.flush()
        signal.pause()
    google(OBJECT)
    if sys.argv[1] == "three":
        google(ENDPOINTS)
        azure(BLOB)
    came = time.monotonic()
    sys.stdout.write(json.dumps({"start": (came - float(sys.argv[2])) * 1000, "entered": (came - ENTERED) * 1000}))


if __name__ == "__main__":
    main()
