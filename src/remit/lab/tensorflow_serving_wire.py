"""TensorFlow Serving's messages in a private pool, and their ways into JSON and back: tensors, examples, results.

From `remit/googleapis/tensorflow_serving.binpb.gz`. A SavedModel's signatures are read out of its `saved_model.pb`
without TensorFlow. Left out: types that numpy has not, sparse tensors. Sources: tensorflow/core/framework/tensor.proto,
tensorflow/core/protobuf/saved_model.proto, tensorflow.org/tfx/serving/api_rest.
"""

import base64
import gzip
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc import StatusCode

from remit.lab.api_table import Proto
from remit.lab.errors import CloudError
from remit.lab.vertex.tensorflow_c import TensorFlowError, array

SERVING = "tensorflow.serving."
_STRING = 7  # DT_STRING
# tensorflow/core/framework/types.proto → numpy's type and the field of the values one by one
_KINDS: Mapping[int, tuple[Any, str]] = {
    1: (np.float32, "float_val"),
    2: (np.float64, "double_val"),
    3: (np.int32, "int_val"),
    4: (np.uint8, "int_val"),
    5: (np.int16, "int_val"),
    6: (np.int8, "int_val"),
    9: (np.int64, "int64_val"),
    10: (np.bool_, "bool_val"),
    17: (np.uint16, "int_val"),
    22: (np.uint32, "uint32_val"),
    23: (np.uint64, "uint64_val"),
}


@cache
def pool() -> descriptor_pool.DescriptorPool:
    """The messages, with those parts of a SavedModel that hold its signatures."""
    made = descriptor_pool.DescriptorPool()
    content = files("remit.googleapis").joinpath("tensorflow_serving.binpb.gz").read_bytes()
    for file in descriptor_pb2.FileDescriptorSet.FromString(gzip.decompress(content)).file:
        made.Add(file)
    made.Add(_saved_model())
    return made


def message(name: str) -> type[Any]:
    """The class of a message by its full name."""
    return message_factory.GetMessageClass(pool().FindMessageTypeByName(name))


def signatures(folder: Path) -> dict[str, Proto]:
    """The signatures of the SavedModel in a folder."""
    saved = message("remit.lab.SavedModel").FromString((folder / "saved_model.pb").read_bytes())
    found = saved.meta_graphs[0].signature_def
    return {name: each for name, each in found.items() if not name.startswith("__")}


def plain(tensor: Proto) -> Any:
    """A tensor as nested lists, strings as `{"b64": …}`; raises `CloudError` for what it cannot hold."""
    shape = [dimension.size for dimension in tensor.tensor_shape.dim]
    size = int(np.prod(shape))
    if tensor.dtype == _STRING:
        flat = [{"b64": base64.b64encode(value).decode()} for value in tensor.string_val]
        return _shaped(flat * size if len(flat) == 1 else flat, shape, size)
    if tensor.dtype not in _KINDS:
        raise CloudError(StatusCode.INVALID_ARGUMENT, f"Tensors of type {tensor.dtype} are not played here")
    kind, field = _KINDS[tensor.dtype]
    try:
        found = (
            np.frombuffer(tensor.tensor_content, kind)
            if tensor.tensor_content
            else np.array(list(getattr(tensor, field)), kind)
        )
    except (ValueError, OverflowError) as error:
        raise CloudError(StatusCode.INVALID_ARGUMENT, f"Tensor is not valid: {error}") from error
    values = found.tolist()
    return _shaped(values * size if len(values) == 1 else values, shape, size)


def tensor(value: Any, kind: int) -> Proto:
    """Nested lists as a tensor of a type."""
    try:
        found = array(_bytes(value), kind)
    except TensorFlowError as error:
        raise CloudError(StatusCode.INTERNAL, str(error)) from error
    made = message("tensorflow.TensorProto")(dtype=kind)
    for size in found.shape:
        made.tensor_shape.dim.add(size=size)
    if kind == _STRING:
        made.string_val.extend(found.reshape(-1).tolist())
    else:
        made.tensor_content = found.tobytes()
    return made


def example(features: Any) -> Proto:
    """A `tf.Example` out of the REST form: a value or a list of values for each feature."""
    if not isinstance(features, dict):
        raise CloudError(StatusCode.INVALID_ARGUMENT, "Example must be JSON object but got another")
    made = message("tensorflow.Example")()
    for name, given in features.items():
        values = given if isinstance(given, list) else [given]
        feature = made.features.feature[name]
        if all(isinstance(value, int) for value in values):
            feature.int64_list.value.extend(int(value) for value in values)
        elif all(isinstance(value, int | float) for value in values):
            feature.float_list.value.extend(values)
        else:
            feature.bytes_list.value.extend(
                _bytes(value) if isinstance(value, dict) else str(value).encode() for value in values
            )
    return made


def examples(given: Proto) -> list[Proto]:
    """The examples of an `Input`, each with the context that they share."""
    if given.WhichOneof("kind") != "example_list_with_context":
        found = list(given.example_list.examples)
    else:
        found = [
            merged(each, given.example_list_with_context.context) for each in given.example_list_with_context.examples
        ]
    if not found:
        raise CloudError(StatusCode.INVALID_ARGUMENT, "Input is empty.")
    return found


def merged(one: Proto, context: Proto) -> Proto:
    """An example with the features of its context, its own first."""
    made = type(one)()
    made.MergeFrom(context)
    for name, feature in one.features.feature.items():
        made.features.feature[name].CopyFrom(feature)
    return made


def _bytes(value: Any) -> Any:
    """`{"b64": …}` and texts, at any depth, as bytes."""
    if isinstance(value, list):
        return [_bytes(each) for each in value]
    if isinstance(value, dict) and set(value) == {"b64"}:
        return base64.b64decode(value["b64"])
    return value.encode() if isinstance(value, str) else value


def _shaped(values: list[Any], shape: list[int], size: int) -> Any:
    if len(values) != size:
        text = f"Expected {size} elements in the tensor, got {len(values)}"
        raise CloudError(StatusCode.INVALID_ARGUMENT, text)
    made = np.empty(size, object)
    made[:] = values
    return made.reshape(shape).tolist()


def _saved_model() -> descriptor_pb2.FileDescriptorProto:
    """SavedModel and MetaGraphDef as far as their signatures, which this set of messages has."""
    repeated, nested = 3, 11  # FieldDescriptorProto: label and type
    file = descriptor_pb2.FileDescriptorProto(name="remit/lab/saved_model.proto", package="remit.lab", syntax="proto3")
    file.dependency.append("tensorflow_serving/apis/get_model_metadata.proto")
    file.dependency.append("tensorflow/core/protobuf/meta_graph.proto")
    graph, saved = file.message_type.add(name="MetaGraph"), file.message_type.add(name="SavedModel")
    entry = graph.nested_type.add(name="SignatureDefEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=9, label=1)
    entry.field.add(name="value", number=2, type=nested, label=1, type_name=".tensorflow.SignatureDef")
    name = ".remit.lab.MetaGraph"
    graph.field.add(name="signature_def", number=5, type=nested, label=repeated, type_name=f"{name}.SignatureDefEntry")
    saved.field.add(name="meta_graphs", number=2, type=nested, label=repeated, type_name=name)
    return file
