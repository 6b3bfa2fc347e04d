"""Model files: manifests, the store, and the way from an MXNet checkpoint to OpenVINO IR."""

import sys

# OpenVINO and NNCF report their use to their makers when they are imported, unless this is missing.
# It never is sent from here: a server of faces talks to its callers alone.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # What stops an import.
