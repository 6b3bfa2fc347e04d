"""The Open Inference Protocol: `open_inference.proto` and the code generated from it."""
