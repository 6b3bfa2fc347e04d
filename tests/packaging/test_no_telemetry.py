"""Nothing that the server imports reports to its makers."""

import subprocess
import sys

PROGRAM = """
import sys
from face_embedding_models.openvino import ir, quantization
from face_embedding_server import server
from face_embedding_server.inference.backends import openvino
import nncf
print(sys.modules["openvino_telemetry"])
from openvino.tools.ovc import telemetry_utils
print(telemetry_utils.tm.__name__)
"""


def test_engine_does_not_report() -> None:
    """OpenVINO and NNCF find no module to report with."""
    command = [sys.executable, "-c", PROGRAM]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    first, stub = output.splitlines()[-2:]
    assert first == "None"
    assert stub == "openvino.tools.ovc.telemetry_stub"
