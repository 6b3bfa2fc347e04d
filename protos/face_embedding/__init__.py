"""The contract of face-embedding, generated from the proto files beside the code."""
