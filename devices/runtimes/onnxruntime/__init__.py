"""Runtime `onnxruntime`."""
