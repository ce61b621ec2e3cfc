"""Teachers from elsewhere: what they want to see, torchvision's classifiers, ONNX files."""
