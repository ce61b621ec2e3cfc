"""Networks: supernet, subnets, weights, batch-norm statistics, ONNX export, equivalence."""
