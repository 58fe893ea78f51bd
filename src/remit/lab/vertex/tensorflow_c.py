"""TensorFlow's C library, as far as a SavedModel needs it: load, run, tensors in and out of numpy.

The library inside the tensorflow wheel exports the C API; loading it takes 0.3 s where `import tensorflow` takes 7 to
10 s. It is loaded with RTLD_LOCAL (ctypes' default): made global, its symbols break other extension modules. Source:
tensorflow/c/c_api.h, tensorflow/c/tf_tensor.h, tensorflow/core/protobuf/meta_graph.proto.
"""

import ctypes
import importlib.util
from collections.abc import Mapping
from ctypes import POINTER, c_char_p, c_int, c_int64, c_size_t, c_void_p
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_STRING = 7  # DT_STRING
_STRING_SIZE = 24  # bytes of a TF_TString
_TYPES: Mapping[int, Any] = {  # tensorflow/core/framework/types.proto
    1: np.float32,
    2: np.float64,
    3: np.int32,
    4: np.uint8,
    5: np.int16,
    6: np.int8,
    9: np.int64,
    10: np.bool_,
    17: np.uint16,
    22: np.uint32,
    23: np.uint64,
}
_FUNCTIONS: Mapping[str, tuple[Any, tuple[Any, ...]]] = {
    "TF_NewStatus": (c_void_p, ()),
    "TF_GetCode": (c_int, (c_void_p,)),
    "TF_Message": (c_char_p, (c_void_p,)),
    "TF_DeleteStatus": (None, (c_void_p,)),
    "TF_NewGraph": (c_void_p, ()),
    "TF_NewBuffer": (c_void_p, ()),
    "TF_NewSessionOptions": (c_void_p, ()),
    "TF_LoadSessionFromSavedModel": (
        c_void_p,
        (c_void_p, c_void_p, c_char_p, POINTER(c_char_p), c_int, c_void_p, c_void_p, c_void_p),
    ),
    "TF_GraphOperationByName": (c_void_p, (c_void_p, c_char_p)),
    "TF_AllocateTensor": (c_void_p, (c_int, POINTER(c_int64), c_int, c_size_t)),
    "TF_DeleteTensor": (None, (c_void_p,)),
    "TF_TensorData": (c_void_p, (c_void_p,)),
    "TF_TensorByteSize": (c_size_t, (c_void_p,)),
    "TF_TensorType": (c_int, (c_void_p,)),
    "TF_NumDims": (c_int, (c_void_p,)),
    "TF_Dim": (c_int64, (c_void_p, c_int)),
    "TF_StringInit": (None, (c_void_p,)),
    "TF_StringCopy": (None, (c_void_p, c_char_p, c_size_t)),
    "TF_StringGetDataPointer": (c_void_p, (c_void_p,)),
    "TF_StringGetSize": (c_size_t, (c_void_p,)),
    "TF_StringDealloc": (None, (c_void_p,)),
}


class TensorFlowError(Exception):
    """What TensorFlow says went wrong."""


class _Output(ctypes.Structure):
    _fields_ = (("operation", c_void_p), ("index", c_int))


class _Buffer(ctypes.Structure):
    _fields_ = (("data", c_void_p), ("length", c_size_t), ("deallocate", c_void_p))


class Library:
    """The C functions of the installed wheel; raises `TensorFlowError` when there is none."""

    def __init__(self) -> None:
        found = importlib.util.find_spec("tensorflow")
        if found is None or not found.origin:
            raise TensorFlowError("no tensorflow package is installed here")
        folder = Path(found.origin).parent
        framework = ctypes.CDLL(str(folder / "libtensorflow_framework.so.2"))
        self._core = ctypes.CDLL(str(folder / "libtensorflow_cc.so.2"))
        outputs, tensors = POINTER(_Output), POINTER(c_void_p)
        run = (
            c_void_p,
            c_void_p,
            outputs,
            tensors,
            c_int,
            outputs,
            tensors,
            c_int,
            c_void_p,
            c_int,
            c_void_p,
            c_void_p,
        )
        for name, (result, arguments) in {**_FUNCTIONS, "TF_SessionRun": (None, run)}.items():
            source = self._core if hasattr(self._core, name) else framework
            function = getattr(source, name)
            function.restype, function.argtypes = result, arguments
            setattr(self, name.removeprefix("TF_"), function)

    def __getattr__(self, name: str) -> Any:
        """Only for what is not there."""
        raise TensorFlowError(f"the TensorFlow library has no TF_{name}")


class SavedModel:
    """A SavedModel, loaded with the tag `serve`. `signatures`: SignatureDef messages by name."""

    def __init__(self, folder: Path, library: Library) -> None:
        self._tf = library
        self._graph = library.NewGraph()
        status, buffer = library.NewStatus(), library.NewBuffer()
        tags = (c_char_p * 1)(b"serve")
        self._session = library.LoadSessionFromSavedModel(
            library.NewSessionOptions(), None, str(folder).encode(), tags, 1, self._graph, buffer, status
        )
        self._check(status)
        content = ctypes.cast(buffer, POINTER(_Buffer)).contents
        meta = _meta_graph()().FromString(ctypes.string_at(content.data, content.length))
        self.signatures = {key: value for key, value in meta.signature_def.items() if not key.startswith("__")}

    def run(self, signature: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Arrays in, arrays out, by the names of the signature; raises `TensorFlowError`."""
        names, outputs, status = sorted(inputs), sorted(signature.outputs), self._tf.NewStatus()
        given = [self._tensor(inputs[name], signature.inputs[name].dtype) for name in names]
        taken = (c_void_p * len(outputs))()
        self._tf.SessionRun(
            self._session,
            None,
            (_Output * len(names))(*[self._place(signature.inputs[name].name) for name in names]),
            (c_void_p * len(names))(*given),
            len(names),
            (_Output * len(outputs))(*[self._place(signature.outputs[name].name) for name in outputs]),
            taken,
            len(outputs),
            None,
            0,
            None,
            status,
        )
        for tensor in given:
            self._tf.DeleteTensor(tensor)
        self._check(status)
        found = {name: self._array(tensor) for name, tensor in zip(outputs, taken, strict=True)}
        for tensor in taken:
            self._tf.DeleteTensor(tensor)
        return found

    def _place(self, name: str) -> _Output:
        operation, _, index = name.rpartition(":")
        return _Output(self._tf.GraphOperationByName(self._graph, operation.encode()), int(index))

    def _tensor(self, array: Any, kind: int) -> Any:
        dimensions = (c_int64 * array.ndim)(*array.shape)
        if kind != _STRING:
            tensor = self._tf.AllocateTensor(kind, dimensions, array.ndim, array.nbytes)
            ctypes.memmove(self._tf.TensorData(tensor), array.ctypes.data, array.nbytes)
            return tensor
        tensor = self._tf.AllocateTensor(kind, dimensions, array.ndim, _STRING_SIZE * array.size)
        for at, value in enumerate(array.reshape(-1)):
            place = self._tf.TensorData(tensor) + _STRING_SIZE * at
            self._tf.StringInit(place)
            self._tf.StringCopy(place, value, len(value))
        return tensor

    def _array(self, tensor: Any) -> Any:
        shape = [self._tf.Dim(tensor, at) for at in range(self._tf.NumDims(tensor))]
        kind, data = self._tf.TensorType(tensor), self._tf.TensorData(tensor)
        if kind != _STRING:
            if kind not in _TYPES:
                raise TensorFlowError(f"tensors of type {kind} are not played here")
            content = ctypes.string_at(data, self._tf.TensorByteSize(tensor))
            return np.frombuffer(content, _TYPES[kind]).reshape(shape)
        found = np.empty(int(np.prod(shape)), object)
        for at in range(found.size):
            place = data + _STRING_SIZE * at
            found[at] = ctypes.string_at(self._tf.StringGetDataPointer(place), self._tf.StringGetSize(place))
        return found.reshape(shape)

    def _check(self, status: Any) -> None:
        code, text = self._tf.GetCode(status), self._tf.Message(status)
        message = text.decode("utf-8", "replace") if text else ""
        self._tf.DeleteStatus(status)
        if code:
            raise TensorFlowError(message)


def array(value: Any, kind: int) -> Any:
    """A JSON value as an array of a TensorFlow type; raises `TensorFlowError` for what does not fit."""
    if kind != _STRING and kind not in _TYPES:
        raise TensorFlowError(f"tensors of type {kind} are not played here")
    try:
        if kind != _STRING:
            return np.ascontiguousarray(np.array(value, dtype=_TYPES[kind]))
        made = np.array(value, dtype=object)
        flat = [each if isinstance(each, bytes) else str(each).encode() for each in made.reshape(-1)]
        found = np.empty(len(flat), object)
        found[:] = flat
        return found.reshape(made.shape)
    except (TypeError, ValueError, OverflowError) as error:
        raise TensorFlowError(f"Failed to process element: {error}") from error


def _meta_graph() -> type[Any]:
    """The part of MetaGraphDef that tells the signatures; protobuf skips the rest."""
    text, message, repeated, optional = 9, 11, 3, 1  # FieldDescriptorProto: types and labels
    file = descriptor_pb2.FileDescriptorProto(name="meta_graph.proto", package="tensorflow", syntax="proto3")

    def add(name: str, *fields: tuple[str, int, int, int, str]) -> Any:
        made = file.message_type.add(name=name)
        for field, number, kind, label, of in fields:
            entry = made.field.add(name=field, number=number, type=kind, label=label)
            if of:
                entry.type_name = f".tensorflow.{of}"
        return made

    def add_map(owner: Any, entry: str, of: str) -> None:
        made = owner.nested_type.add(name=entry)
        made.options.map_entry = True
        made.field.add(name="key", number=1, type=text, label=optional)
        made.field.add(name="value", number=2, type=message, label=optional, type_name=f".tensorflow.{of}")

    add("TensorInfo", ("name", 1, text, optional, ""), ("dtype", 2, 5, optional, ""))
    signature = add(
        "SignatureDef",
        ("inputs", 1, message, repeated, "SignatureDef.InputsEntry"),
        ("outputs", 2, message, repeated, "SignatureDef.OutputsEntry"),
    )
    add_map(signature, "InputsEntry", "TensorInfo")
    add_map(signature, "OutputsEntry", "TensorInfo")
    meta = add("MetaGraphDef", ("signature_def", 5, message, repeated, "MetaGraphDef.SignatureDefEntry"))
    add_map(meta, "SignatureDefEntry", "SignatureDef")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.MetaGraphDef"))
