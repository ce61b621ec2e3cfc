"""Writer of LiteRT (TensorFlow Lite) flatbuffer files.

The schema classes are those of the installed LiteRT, so files match its version.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
_IDENTIFIER = b"TFL3"
_SCHEMA_VERSION = 3
_ALIGNMENT = 16
_LAST_OLD_OPERATOR = 127


@dataclass(frozen=True)
class Quantization:
    """Quantisation parameters: value = `scale * (integer - zero_point)`.

    Attributes:
        scales: one, or one per index of `axis`.
        zero_points: one per scale.
        axis: axis of the tensor in the file.
    """

    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int = 0


class Writer:
    """Collects tensors and layers of a model."""

    def __init__(self) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self._schema: Any = schema
        self._types = {"float32": 0, "int32": 2, "int8": 9}
        self._graph = schema.SubGraphT()
        self._graph.tensors, self._graph.operators = [], []
        self._model = schema.ModelT()
        self._model.operatorCodes, self._model.buffers = [], [schema.BufferT()]
        self._codes: dict[str, int] = {}

    def tensor(
        self,
        name: str,
        shape: Sequence[int],
        kind: str = "float32",
        quantization: Quantization | None = None,
    ) -> int:
        """Add an input or intermediate tensor; returns its index."""
        tensor = self._schema.TensorT()
        tensor.name, tensor.shape, tensor.type = name, list(shape), self._types[kind]
        tensor.buffer, tensor.hasRank = 0, True
        if quantization is not None:
            found = self._schema.QuantizationParametersT()
            found.scale, found.zeroPoint = list(quantization.scales), list(quantization.zero_points)
            found.quantizedDimension = quantization.axis
            tensor.quantization = found
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def constant(self, name: str, value: Array, quantization: Quantization | None = None) -> int:
        """Add a constant tensor of float32, int32 or int8; returns its index."""
        index = self.tensor(name, value.shape, str(value.dtype), quantization)
        buffer = self._schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(value).tobytes(), np.uint8)
        self._graph.tensors[index].buffer = len(self._model.buffers)
        self._model.buffers.append(buffer)
        return index

    def layer(
        self,
        operator: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        options: str = "",
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        """Add a layer.

        Args:
            operator: schema name, such as CONV_2D.
            inputs: indices of tensors.
            outputs: indices of tensors.
            options: schema class of its options without the suffix `Options`, such as Conv2D.
            settings: fields of the options.
        """
        layer = self._schema.OperatorT()
        layer.opcodeIndex = self._code(operator)
        layer.inputs, layer.outputs = list(inputs), list(outputs)
        if options:
            found = getattr(self._schema, f"{options}OptionsT")()
            for key, value in (settings or {}).items():
                assert hasattr(found, key), key
                setattr(found, key, value)
            layer.builtinOptions = found
            layer.builtinOptionsType = getattr(self._schema.BuiltinOptions, f"{options}Options")
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
