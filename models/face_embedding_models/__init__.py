"""Model files: manifests, the store, and the way from an MXNet checkpoint to OpenVINO IR."""
