"""External teachers: torchvision classifiers and ONNX files, and their input preprocessing."""
