"""Compiles the public protos into the wheel; everything else is in pyproject.toml.

The stubs keep the paths that they have in the repository, `protos/tts/v1`: a descriptor pool
refuses the same messages under another file name. They lie in a namespace package (no
`__init__.py`), so that a checkout's own `protos`, wherever it is on the path, comes first.
"""

from __future__ import annotations

import importlib.resources
import shutil
import tempfile
from pathlib import Path

from grpc_tools import protoc
from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

HERE = Path(__file__).resolve().parent
PUBLIC = Path("protos/tts/v1")


def import_root() -> Path:
    """Return the folder that holds `protos`: the repository, or an unpacked sdist."""
    for root in (HERE.parent, HERE):
        if any((root / PUBLIC).glob("*.proto")):
            return root
    raise SystemExit(f"no {PUBLIC}/*.proto beside {HERE}: build from a checkout or from an sdist")


class BuildWithStubs(build_py):
    """Also writes the stubs."""

    def run(self) -> None:
        super().run()
        root = import_root()
        target = Path(self.build_lib).resolve()
        target.mkdir(parents=True, exist_ok=True)
        arguments = ["protoc", f"-I{root}", f"-I{importlib.resources.files('grpc_tools') / '_proto'}"]
        arguments += [f"--python_out={target}", f"--grpc_python_out={target}"]
        arguments += sorted(str(path) for path in (root / PUBLIC).glob("*.proto"))
        if protoc.main(arguments) != 0:
            raise SystemExit("protoc failed")


class SdistWithProtos(sdist):
    """Also packs the protos, which lie outside this folder."""

    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        super().make_release_tree(base_dir, files)
        target = Path(base_dir) / PUBLIC
        target.mkdir(parents=True, exist_ok=True)
        for path in (import_root() / PUBLIC).glob("*.proto"):
            shutil.copy(path, target)


# A build folder of its own each time: what an older build left in a shared one would be packed too.
with tempfile.TemporaryDirectory() as build_folder:
    setup(
        cmdclass={"build_py": BuildWithStubs, "sdist": SdistWithProtos},
        options={"build": {"build_base": build_folder}},
    )
