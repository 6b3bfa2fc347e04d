"""ONNX files: what is read of them, and their conversion to OpenVINO."""
