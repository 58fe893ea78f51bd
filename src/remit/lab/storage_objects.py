"""The objects of Cloud Storage on disk: a flat name space per bucket, generations, checksums.

Every object is two files, `GENERATION.data` and `GENERATION.json`, since an object may be named `a`, `a/` and `a/b` at
once and a file may not. Overwritten objects are gone (no versioning). Source: the object resource,
cloud.google.com/storage/docs/json_api/v1/objects.
"""

import base64
import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import google_crc32c

Resource = dict[str, Any]
_SETTABLE = frozenset(
    {"contentType", "contentEncoding", "contentDisposition", "contentLanguage", "cacheControl", "metadata"}
)


class Objects:
    """All buckets under one folder. A bucket is a folder below it; nobody else writes there."""

    def __init__(self, folder: Path, buckets: tuple[str, ...]) -> None:
        self._folder = folder
        self._index: dict[str, dict[str, Resource]] = {}
        self._last = 0
        for bucket in buckets:
            (folder / bucket).mkdir(parents=True, exist_ok=True)
            found = (json.loads(path.read_text("utf-8")) for path in (folder / bucket).glob("*.json"))
            self._index[bucket] = {resource["name"]: resource for resource in found}

    def __contains__(self, bucket: object) -> bool:
        return bucket in self._index

    def find(self, bucket: str, name: str) -> Resource | None:
        """An object's resource, `None` when there is none."""
        return self._index[bucket].get(name)

    def named(self, bucket: str, prefix: str = "") -> Iterator[Resource]:
        """The objects whose names begin with `prefix`, by name."""
        for name in sorted(self._index[bucket]):
            if name.startswith(prefix):
                yield self._index[bucket][name]

    def read(self, resource: Mapping[str, Any]) -> bytes:
        """An object's content."""
        return self._path(resource, "data").read_bytes()

    def write(self, bucket: str, name: str, content: bytes, settings: Mapping[str, Any]) -> Resource:
        """Makes an object, in the place of one of the same name. `settings`: what the caller said of it."""
        self._last = max(self._last + 1, int(time.time() * 1_000_000))
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        link = f"https://www.googleapis.com/storage/v1/b/{bucket}/o/{quote(name, safe='')}"
        media = f"https://storage.googleapis.com/download/storage/v1/b/{bucket}/o/{quote(name, safe='')}"
        resource: Resource = {
            "kind": "storage#object",
            "id": f"{bucket}/{name}/{self._last}",
            "selfLink": link,
            "mediaLink": f"{media}?generation={self._last}&alt=media",
            "name": name,
            "bucket": bucket,
            "generation": str(self._last),
            "metageneration": "1",
            "contentType": "application/octet-stream",
            "storageClass": "STANDARD",
            "size": str(len(content)),
            "md5Hash": base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode(),
            "crc32c": base64.b64encode(google_crc32c.value(content).to_bytes(4, "big")).decode(),
            "etag": base64.b64encode(str(self._last).encode()).decode(),
            "timeCreated": now,
            "updated": now,
            **{key: value for key, value in settings.items() if key in _SETTABLE and value},
        }
        self._path(resource, "data").write_bytes(content)
        self._keep(resource)
        return resource

    def update(self, resource: Resource, settings: Mapping[str, Any]) -> Resource:
        """Changes what can be set of an object; a key of `metadata` set to null goes."""
        metadata = {**resource.get("metadata", {}), **(settings.get("metadata") or {})}
        changed = {key: value for key, value in settings.items() if key in _SETTABLE}
        changed["metadata"] = {key: value for key, value in metadata.items() if value is not None}
        new = {**resource, **changed, "metageneration": str(int(resource["metageneration"]) + 1)}
        self._path(resource, "json").write_text(json.dumps(new), "utf-8")
        self._index[resource["bucket"]][resource["name"]] = new
        return new

    def delete(self, resource: Mapping[str, Any]) -> None:
        """Removes an object."""
        del self._index[resource["bucket"]][resource["name"]]
        self._path(resource, "json").unlink()
        self._path(resource, "data").unlink()

    def _keep(self, resource: Resource) -> None:
        before = self.find(resource["bucket"], resource["name"])
        if before:
            self.delete(before)
        self._path(resource, "json").write_text(json.dumps(resource), "utf-8")
        self._index[resource["bucket"]][resource["name"]] = resource

    def _path(self, resource: Mapping[str, Any], ending: str) -> Path:
        return self._folder / str(resource["bucket"]) / f"{resource['generation']}.{ending}"
