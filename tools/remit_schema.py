"""Makes `docs/remit.schema.json`: remit.yaml for editors, from the table of keys and from what the page says of each.

Editors show it, `remit trust schema` prints it.

    python tools/remit_schema.py            writes the file
    python tools/remit_schema.py --check    exits 1 when the file is not what the sources give
"""

import argparse
import json
import re
import sys
from pathlib import Path

from remit.settings.json_schema import schema

DOCS = Path(__file__).resolve().parent.parent / "docs"
FILE = DOCS / "remit.schema.json"
_ROW = re.compile(r"^\| `([^`]+)` \| .*? \| .*? \| (.*?) \|$", re.MULTILINE)


def made() -> str:
    """What belongs into the file."""
    meanings = dict(_ROW.findall((DOCS / "configuration.md").read_text(encoding="utf-8")))
    return json.dumps(schema(meanings), indent=2, ensure_ascii=False) + "\n"


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    if parser.parse_args().check:
        return int(not FILE.exists() or FILE.read_text(encoding="utf-8") != made())
    FILE.write_text(made(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
