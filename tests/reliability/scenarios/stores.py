"""Stores in which files were swapped, or writing was cut short, and hostile checkpoints."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from callers import TIMEOUT_S
from promises import Figures, Noted, Promise, scenario

from face_embedding_models import manifest
from face_embedding_models.errors import ModelError
from face_embedding_models.mxnet import params, synthesis
from face_embedding_models.openvino import ir
from face_embedding_models.store import Store, sealed
from support import MOBILE, SYNTHETIC
from support.checkpoint_bombs import BOMBS
from support.processes import SERVE, serving

_KILLS = 20


@contextlib.contextmanager
def _copy(store: Path) -> Iterator[Store]:
    """Give a copy of a store, with the MobileFaceNet alone."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(store / MOBILE, Path(folder) / MOBILE)
        yield Store(Path(folder))


@scenario(Promise("servers that begin with an IR of other weights, its record forged or not", 0))
def _swapped(store: Path) -> Figures:
    with _copy(store) as copy, _copy(store) as other:
        known = manifest.load(MOBILE)
        files = synthesis.synthesize(known)
        (name,) = (name for name in files if name.endswith(".params"))
        arrays = {key: value * 0.5 for key, value in params.parse(files[name]).items()}
        ir.put_to_use(other, known, files | {name: params.dump(arrays)}, SYNTHETIC)
        model = copy.get(MOBILE)
        folder = model.ir_folder("f32")
        shutil.rmtree(folder)
        shutil.copytree(other.get(MOBILE).ir_folder("f32"), folder)
        begun = _begins(copy)
        record = sealed.read_record(folder) | model.identity("f32")
        (folder / sealed.RECORD_FILE).write_text(json.dumps(record))
        begun += _begins(copy)
        _run("models", "convert", MOBILE, "--store", str(copy.root))
        assert _begins(copy), "the server does not begin with an IR that was made anew either"
        yield begun


def _begins(store: Store) -> bool:
    try:
        with serving(store.root, log=subprocess.DEVNULL):
            return True
    except AssertionError:
        return False


def _command(*arguments: str) -> list[str]:
    return [sys.executable, *SERVE, *arguments]


def _run(*arguments: str) -> None:
    subprocess.run(_command(*arguments), check=True, capture_output=True, timeout=TIMEOUT_S)


@scenario(Promise(f"kill -9 at {_KILLS} moments of a conversion: stores without a model", 0))
def _killed(store: Path) -> Figures:
    with _copy(store) as copy:
        arguments = ("models", "convert", MOBILE, "--store", str(copy.root))
        start = time.perf_counter()
        _run(*arguments)
        whole_s = time.perf_counter() - start
        without, in_time = 0, 0
        for number in range(_KILLS):
            # In its second half it writes.
            moment = whole_s * (0.5 + 0.5 * number / _KILLS)
            with subprocess.Popen(_command(*arguments), stdout=subprocess.DEVNULL) as process:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(moment)
                in_time += process.poll() is None
                process.kill()
            try:
                copy.get(MOBILE).check_weights()
                ir.read(copy.get(MOBILE))
            except ModelError:
                without += 1
        yield Noted(without, f"{in_time} before its end")


@scenario(
    Promise(f"{len(BOMBS)} hostile checkpoints: most time until one is refused", 15, "s", 60),
    Promise(f"{len(BOMBS)} hostile checkpoints: most memory for one", 600, "MB"),
)
def _bombs(_: Path) -> Figures:
    most_s, most_kb = 0.0, 0
    for make, message in BOMBS.values():
        with tempfile.TemporaryDirectory() as folder:
            for name, data in zip(("m-symbol.json", "m-0000.params"), make(), strict=True):
                (Path(folder) / name).write_bytes(data)
            into = ("--store", f"{folder}/store", "--allow-unverified")
            command = _command("models", "import", MOBILE, folder, *into)
            start = time.perf_counter()
            with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
                assert process.stderr
                said = process.stderr.read()
                # Processes that it waited for count with it.
                _, status, used = os.wait4(process.pid, 0)
                process.returncode = os.waitstatus_to_exitcode(status)
            assert re.search(message, said), f"it was not refused: {said}"
            most_s = max(most_s, time.perf_counter() - start)
            most_kb = max(most_kb, used.ru_maxrss)
    yield most_s
    yield most_kb / 1024


SCENARIOS = (_swapped, _killed, _bombs)
