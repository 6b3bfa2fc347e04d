"""The gRPC server of face-embedding."""
