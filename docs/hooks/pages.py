"""The hook of mkdocs that puts what is generated into the pages that ask for it.

A page asks with a line of its own: `<!-- contract -->`, `<!-- settings -->`, `<!-- bench -->`,
`<!-- peers -->` or `<!-- reliability -->`.
"""

from functools import cache
from pathlib import Path
from typing import Any

import bench_page
import contract_file
import contract_page
import google.rpc
import peers_page
import reliability_page
import settings_page
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from mkdocs.exceptions import PluginError

ROOT = Path(__file__).parents[2]
CONTRACTS = {
    "contract.md": "face_embedding/v1/face_embedding.proto",
    "contract-v2.md": "face_embedding/open_inference/open_inference.proto",
}
# Where the .proto files that ours imports are installed.
IMPORTED = Path(google.rpc.__path__[0]).parents[1]
BENCH_RESULTS = ROOT / "benchmarks" / "results" / "latest.json"
PEERS_RESULTS = ROOT / "benchmarks" / "results" / "peers.json"
RELIABILITY_RESULTS = ROOT / "tests" / "reliability" / "results.json"
CONTRACT, SETTINGS, BENCH = "<!-- contract -->", "<!-- settings -->", "<!-- bench -->"
PEERS = "<!-- peers -->"
RELIABILITY = "<!-- reliability -->"


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Fill in what is generated."""
    path = page.file.src_uri
    if CONTRACT in markdown:
        markdown = markdown.replace(CONTRACT, contracts()[path])
    elif path in CONTRACTS:
        raise PluginError(f"{path} does not ask for its contract")
    if SETTINGS in markdown:
        markdown = markdown.replace(SETTINGS, settings_page.render())
    if BENCH in markdown:
        markdown = markdown.replace(BENCH, bench_page.render(BENCH_RESULTS))
    if PEERS in markdown:
        markdown = markdown.replace(PEERS, peers_page.render(PEERS_RESULTS))
    if RELIABILITY in markdown:
        markdown = markdown.replace(RELIABILITY, reliability_page.render(RELIABILITY_RESULTS))
    return markdown


@cache
def contracts() -> dict[str, str]:
    """Return the contracts as Markdown, by page."""
    files = {page: describe(proto) for page, proto in CONTRACTS.items()}
    links = contract_page.links_of(files)
    return {page: contract_page.render(file, links[page]) for page, file in files.items()}


def describe(proto: str) -> FileDescriptorProto:
    """Return the description of one of the project's .proto files."""
    return contract_file.describe(proto, (ROOT / "protos", IMPORTED))
