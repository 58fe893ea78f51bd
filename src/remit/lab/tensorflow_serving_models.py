"""The models that the lab's TensorFlow Serving serves: a folder with `NAME/VERSION/` in it, SavedModels.

All versions are available; the highest is the one that a request without a version means. `NAME/labels.json` gives
labels to versions, `{"stable": 1}`. A version's process starts when it is first asked, since each takes 400 MB. Left
out: batching, warm-up, polling of the folder (`ModelService` reloads it). Source:
tensorflow.org/tfx/serving/serving_config.
"""

import asyncio
import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from grpc import StatusCode

from remit.lab.api_table import Proto
from remit.lab.errors import CloudError
from remit.lab.tensorflow_serving_wire import signatures
from remit.lab.vertex.served_model import ServedModel

DEFAULT = "serving_default"
CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"
_KINDS = {CLASSIFY: "classification", REGRESS: "regression"}


@dataclass(slots=True)
class Version:
    """One version of a model."""

    model: str
    number: int
    folder: Path
    signatures: Mapping[str, Proto]
    process: ServedModel | None = None
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    def signature(self, name: str) -> tuple[str, Proto]:
        """A signature with its name; the usual one where none is named."""
        name = name or DEFAULT
        if name not in self.signatures:
            text = f'Serving signature name: "{name}" not found in signature def'
            raise CloudError(StatusCode.INVALID_ARGUMENT, text)
        return name, self.signatures[name]

    async def ask(self, body: Any) -> Any:
        """The answer to a body of the REST API; raises `CloudError`."""
        async with self.turn:
            if self.process is None:
                self.process = await ServedModel.start(self.folder)
        try:
            return await self.process.predict(body)
        except CloudError as error:
            raise CloudError(error.code, _said(error.message)) from error

    async def run(self, signature: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The outputs of a signature by name."""
        name, found = self.signature(signature)
        outputs = (await self.ask({"signature_name": name, "inputs": dict(inputs)}))["outputs"]
        return {next(iter(found.outputs)): outputs} if len(found.outputs) == 1 else outputs

    async def infer(self, signature: str, method: str, given: list[Proto]) -> list[Any]:
        """What a signature of `CLASSIFY` or `REGRESS` says of each example: `[label, score]` pairs, or a number."""
        _, found = self.signature(signature)
        if found.method_name != method:
            kind = _KINDS[method]
            text = f"Expected {kind} signature method_name to be {method}. Was: {found.method_name}"
            raise CloudError(StatusCode.INVALID_ARGUMENT, text)
        serialized = [{"b64": base64.b64encode(each.SerializeToString()).decode()} for each in given]
        outputs = await self.run(signature, {"inputs": serialized})
        if method == REGRESS:
            return [value[0] if isinstance(value, list) else value for value in outputs["outputs"]]
        scores = outputs.get("scores") or [[0.0] * len(each) for each in outputs["classes"]]
        classes = outputs.get("classes") or [[""] * len(each) for each in scores]
        return [[list(pair) for pair in zip(*each, strict=True)] for each in zip(classes, scores, strict=True)]


class Models:
    """Every model below a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._models: dict[str, dict[int, Version]] = {}
        self._labels: dict[str, dict[str, int]] = {}
        self.load()

    def load(self) -> None:
        """Reads the folder again: what is new is served, what is gone is not."""
        for path in sorted(self._folder.glob("*/[0-9]*/saved_model.pb")):
            name, number = path.parent.parent.name, path.parent.name
            if number.isdecimal() and int(number) not in self._models.setdefault(name, {}):
                self._models[name][int(number)] = Version(name, int(number), path.parent, signatures(path.parent))
        for name in list(self._models):
            kept = {number: each for number, each in self._models[name].items() if each.folder.is_dir()}
            self._models[name] = kept
            labels = self._folder / name / "labels.json"
            if labels.exists():
                self.label(name, json.loads(labels.read_text(encoding="utf-8")))

    def label(self, name: str, labels: Mapping[str, int]) -> None:
        """Gives versions of a model their labels, instead of those that it had."""
        versions = self.versions(name)
        for label, number in labels.items():
            if number not in versions:
                text = f"Cannot assign label {label} to version {number} of model {name}: it is not available"
                raise CloudError(StatusCode.FAILED_PRECONDITION, text)
        self._labels[name] = dict(labels)

    def versions(self, name: str) -> Mapping[int, Version]:
        """The versions of a model; raises `NOT_FOUND`."""
        found = self._models.get(name)
        if not found:
            raise CloudError(StatusCode.NOT_FOUND, f"Servable not found for request: Latest({name})")
        return found

    def find(self, name: str, number: int | None = None, label: str = "") -> Version:
        """One version, the highest where neither number nor label is given."""
        if not name:
            raise CloudError(StatusCode.INVALID_ARGUMENT, "Missing ModelSpec")
        versions = self.versions(name)
        if label:
            number = self._labels.get(name, {}).get(label)
            if number is None:
                raise CloudError(StatusCode.INVALID_ARGUMENT, f"Unrecognized servable version label: {label}")
        if number is not None and number not in versions:
            raise CloudError(StatusCode.NOT_FOUND, f"Servable not found for request: Specific({name}, {number})")
        return versions[max(versions) if number is None else number]

    async def close(self) -> None:
        """Ends every process."""
        for versions in self._models.values():
            for version in versions.values():
                if version.process is not None:
                    await version.process.stop()
                    version.process = None


def _said(text: str) -> str:
    """The words of a model server's error, which come as JSON."""
    try:
        return str(json.loads(text)["error"])
    except (ValueError, KeyError, TypeError):
        return text
