"""Runtime `openvino`."""
