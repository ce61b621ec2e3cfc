"""Writer of LiteRT (TensorFlow Lite) flatbuffer files.

The schema classes are those of the installed LiteRT, so files match its version.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
_IDENTIFIER = b"TFL3"
_SCHEMA_VERSION = 3
_ALIGNMENT = 16
_LAST_OLD_OPERATOR = 127
_TYPES = {"float32": 0, "int32": 2, "int8": 9}
_OPTIONS = {"MEAN": "Reducer"}
"""Schema names of options that do not follow from their operator's name."""


@dataclass(frozen=True)
class Quantization:
    """Quantisation parameters: value = `scale * (integer - zero_point)`."""

    scales: tuple[float, ...]  # one, or one per index of `axis`
    zero_points: tuple[int, ...]
    axis: int = 0  # of the tensor in the file


class Writer:
    """Collects tensors and layers of a model."""

    def __init__(self) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self.counts = Counter[str]()
        self.quantizations: dict[int, Quantization] = {}  # by index of the tensor
        self._schema: Any = schema
        self._graph = schema.SubGraphT()
        self._graph.tensors, self._graph.operators = [], []
        self._model = schema.ModelT()
        self._model.operatorCodes, self._model.buffers = [], [schema.BufferT()]
        self._codes: dict[str, int] = {}

    def tensor(
        self, name: str, shape: Sequence[int], scales: Quantization | None = None, kind: str = ""
    ) -> int:
        """Add an input or intermediate tensor; returns its index."""
        index, tensor = len(self._graph.tensors), self._schema.TensorT()
        tensor.name, tensor.shape = name, list(shape)
        tensor.type = _TYPES[kind or ("int8" if scales else "float32")]
        tensor.buffer, tensor.hasRank = 0, True
        if scales is not None:
            self.quantizations[index] = scales
            found = tensor.quantization = self._schema.QuantizationParametersT()
            found.scale, found.zeroPoint = list(scales.scales), list(scales.zero_points)
            found.quantizedDimension = scales.axis
        self._graph.tensors.append(tensor)
        return index

    def constant(self, name: str, value: Array, scales: Quantization | None = None) -> int:
        """Add a constant tensor of float32, int32 or int8; returns its index."""
        index = self.tensor(name, value.shape, scales, str(value.dtype))
        buffer = self._schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(value).tobytes(), np.uint8)
        self._graph.tensors[index].buffer = len(self._model.buffers)
        self._model.buffers.append(buffer)
        return index

    def layer(
        self, operator: str, inputs: Sequence[int], outputs: Sequence[int], **settings: Any
    ) -> None:
        """Add a layer between tensors, with its operator and settings by their schema names."""
        self.counts[operator] += 1
        layer = self._schema.OperatorT()
        layer.opcodeIndex = self._code(operator)
        layer.inputs, layer.outputs = list(inputs), list(outputs)
        options = _OPTIONS.get(operator, operator.title().replace("_", "")) + "Options"
        if hasattr(self._schema, f"{options}T"):
            layer.builtinOptions = getattr(self._schema, f"{options}T")()
            layer.builtinOptionsType = getattr(self._schema.BuiltinOptions, options)
        for key, value in settings.items():
            assert hasattr(layer.builtinOptions, key), key
            setattr(layer.builtinOptions, key, value)
        self._graph.operators.append(layer)

    def content(self, source: int, target: int) -> bytes:
        """Serialise the file; deterministic."""
        self._graph.inputs, self._graph.outputs = [source], [target]
        self._model.subgraphs, self._model.version = [self._graph], _SCHEMA_VERSION
        builder = _builder()
        builder.Finish(self._model.Pack(builder), _IDENTIFIER)
        return bytes(builder.Output())

    def _code(self, operator: str) -> int:
        if operator not in self._codes:
            number = getattr(self._schema.BuiltinOperator, operator)
            code = self._schema.OperatorCodeT()
            code.builtinCode, code.version = number, 1
            code.deprecatedBuiltinCode = min(number, _LAST_OLD_OPERATOR)
            self._codes[operator] = len(self._model.operatorCodes)
            self._model.operatorCodes.append(code)
        return self._codes[operator]


def _builder() -> Any:
    """A flatbuffers builder that aligns weights, which LiteRT uses in place."""
    import flatbuffers

    class Aligned(flatbuffers.Builder):  # type: ignore[misc]
        def CreateNumpyVector(self, values: Array) -> int:  # noqa: N802
            data = np.ascontiguousarray(values).tobytes()
            self.StartVector(values.itemsize, values.size, _ALIGNMENT)
            self.head -= len(data)
            self.Bytes[self.head : self.head + len(data)] = data
            end: int = self.EndVector()
            return end

    return Aligned(1024)
