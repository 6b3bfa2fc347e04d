"""The command `embed` with many images: what it costs, and that a kill loses nothing."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from faces_in_parquet import ROOT

from face_embedding_client.parquet import StoredEmbeddings, vectors
from face_embedding_models.store import Store
from support import Golden, wait_until
from support.processes import child_environment, serving

IMAGES = 6_000
# Processor time of the fastest engine for one face of MobileFaceNet, int8 on two cores.
ENGINE_MS = 1.6
MAX_MB = 300
# Nothing is computed, so that what is left is the command.
CONSTANT = (str(ROOT / "benchmarks" / "with_engine.py"), "constant")
# A process of its own starts the command: what a large one starts counts its memory as its own.
MEASURING = """
import json, resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([used.ru_utime + used.ru_stime, used.ru_maxrss]))
"""


@pytest.fixture
def images(golden: Golden, tmp_path: Path) -> list[Path]:
    """Copies of aligned faces."""
    contents = [file.read_bytes() for file in golden.files]
    files = [tmp_path / f"{number:05}.png" for number in range(IMAGES)]
    for number, file in enumerate(files):
        file.write_bytes(contents[number % len(contents)])
    return files


@pytest.mark.alone
def test_killed(
    images: list[Path], store: Store, tmp_path: Path, tell: Callable[[str], None]
) -> None:
    """Killed in the middle and gone on with, it gives a row for each image, and is no limit."""
    output, part = tmp_path / "x.parquet", tmp_path / "x.parquet.part"
    listed = tmp_path / "list"
    listed.write_text("\n".join(map(str, images)))
    flags = ["embed", "--files-from", str(listed), "--output", str(output)]
    with serving(store.root, program=CONSTANT) as server:
        command = [sys.executable, "-m", "face_embedding_client", *flags]
        command += ["--address", server.address]
        killed_s = killed(command, lambda: part.exists() and part.stat().st_size > 1 << 20)
        kept = [json.loads(line) for line in part.read_bytes().splitlines()[1:-1]]
        assert 0 < len(kept) < IMAGES
        resumed_s, peak_mb = measured([*command, "--resume"])
    batches = list(StoredEmbeddings(output).faces(["file", "embedding"]))
    names = [name for batch in batches for name in batch.column("file").to_pylist()]
    assert names == [str(image) for image in images]
    norms = np.concatenate([np.linalg.norm(vectors(batch), axis=1) for batch in batches])
    np.testing.assert_allclose(norms, 1, atol=1e-5)
    spent_ms = 1e3 * (killed_s + resumed_s) / IMAGES
    tell(
        f"embed: {IMAGES:,} images, killed after {len(kept):,}: {len(names):,} rows, "
        f"{spent_ms:.2f} ms of processor time each, peak {peak_mb:.0f} MB"
    )
    assert spent_ms < ENGINE_MS
    assert peak_mb < MAX_MB


def killed(command: list[str], when: Callable[[], bool]) -> float:
    """Kill a command; return the processor time that it took."""
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=child_environment()
    )
    wait_until(when)
    process.send_signal(signal.SIGKILL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == -signal.SIGKILL
    return usage.ru_utime + usage.ru_stime


def measured(command: list[str]) -> tuple[float, float]:
    """Run a command; return the processor time that it took, and its memory's peak in MB."""
    ended = subprocess.run(
        [sys.executable, "-c", MEASURING, *command],
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=child_environment(),
    )
    spent_s, peak_kb = json.loads(ended.stdout.splitlines()[-1])
    return spent_s, peak_kb / 1024
