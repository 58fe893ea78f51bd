"""Objects alone, with Google's own client: `remit run -- python stored.py`. Prints one JSON line for each step."""

import json
import warnings
from types import SimpleNamespace

import program
import works


def _elsewhere(_: object) -> None:
    from google.cloud import storage

    storage.Client(project=program.PROJECT).bucket("contoso-churn-prod-data").blob("x").download_as_bytes()


def main() -> None:
    warnings.simplefilter("ignore")  # the SDK's own dependencies warn
    own = SimpleNamespace(tag="stored", facts={})
    for step in (works.objects, works.large_object, _elsewhere):
        print(json.dumps(program.run(own, step.__name__, step)), flush=True)


if __name__ == "__main__":
    main()
