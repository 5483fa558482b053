"""Write the fixed bytes of the wire from docs/protocol.md alone, without batchpilot.

Run it once for a new version of the protocol; bytes of a version that was released never change.

    python tests/broker/contract/make.py [FOLDER]
"""

import hashlib
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

import msgpack


SECRET = bytes(range(32))
INSTANCE = b"0123abcd"
CLASS = {
    "ncpus": 2,
    "memory": 512.0,
    "gpus": 1,
    "walltime": 3600.0,
    "pool": "slurm",
    "threads": [4, 2],
    "isolation": "process",
    "priority": -3,
    "measure_memory": True,
    "template": [["account", "stat"], ["partition", "long"]],
}
CHUNK = {
    "id": 70000,
    "class": "00c0ffee0000",
    "epoch": "ab" * 32,
    "attempt": 3,
    "ranges": [[7, 9], [4, 4]],
    "offsets": struct.pack("<5I", 0, 1, 3, 6, 10),
    "pars": b"abbcccdddd",
    "budget": 1.5,
    "isolation": "slot",
    "resources": CLASS,
    "seed": 42,
    "shown": {"walltime": 3600, "partition": "long"},
}
AGENT = {
    "id": "a-1",
    "pool": "local",
    "host": "node7",
    "boot": "b007",
    "pid": 4242,
    "pid_start": 99,
    "slots": 8,
    "cores": 16,
    "memory": 1024.0,
    "gpus": 2,
    "deadline": 1.75e9,
    "started": 1.7e9,
    "protocol": [1, 0],
    "python": "3.11",
    "cloudpickle": "3.1.2",
    "allocation": "17.3",
    "scheduler_id": "4711_3",
    "registry": "/home/u/registry",
}
ROW = struct.pack("<IIBBHIddQfI", 7, 3, 1, 0, 5, 12, 100.5, 101.25, 640, 33.5, 12 + 48 + 4)
REPORT = {
    "kind": "report",
    "agent": "a-1",
    "segment": "a-1.results",
    "from": 100,
    "to": 228,
    "rows": struct.pack("<Q", 100) + ROW,
    "notes": [[3, struct.pack("<QdI", 70000, 0.75, 4)]],
    "running": [[9, 3, 102.5, 2**64 - 1]],
}


def sealed(
    purpose: bytes,
    message: Any,
    *,
    version: tuple[int, int] = (1, 0),
    secret: bytes = SECRET,
    instance: bytes = INSTANCE,
) -> bytes:
    body = bytes(version) + packed(message)
    mac = hashlib.blake2b(
        instance + b"\0" + purpose + b"\0" + body, key=secret, digest_size=32
    ).digest()
    return mac + body


def frame(kind: int, payload: bytes) -> bytes:
    checked = struct.pack("<BBI", kind, 0, len(payload))
    crc = zlib.crc32(checked + payload)
    return b"bp" + checked + struct.pack("<I", crc) + payload


def packed(message: Any) -> bytes:
    return bytes(msgpack.packb(message, use_bin_type=True))


CALL: list[Any] = ["batchpilot_agent.chunk", None, [CHUNK], {}]

FILES = {
    "class": sealed(b"class", CLASS),
    "chunk": sealed(b"chunk", CALL),
    "chunk-data": zlib.compress(sealed(b"chunk", CALL), 9),
    "agent": sealed(b"agent", AGENT),
    "report": sealed(b"event", REPORT),
    "hello": sealed(
        b"event", {"kind": "hello", "agent": "a-1", "generation": 2, "held": [5, 70000]}
    ),
    "nudge": sealed(b"event", {"kind": "nudge"}),
    "cancel": sealed(b"control", {"kind": "cancel", "ranges": [[1, 5], [9, 9]], "attempt": 2}),
    "request": sealed(
        b"request",
        {
            "kind": "request",
            "id": "0f" * 16,
            "until": 1.7e9,
            "host": "h",
            "user": "u",
            "verb": "_kill",
            "body": packed([[[3, 4]], {}]),
        },
    ),
    "minor": sealed(b"event", {"kind": "nudge", "added_in_1_7": True}, version=(1, 7)),
    "major": sealed(b"event", {"kind": "nudge"}, version=(2, 0)),
    "other-secret": sealed(b"event", {"kind": "nudge"}, secret=bytes(32)),
    "other-instance": sealed(b"event", {"kind": "nudge"}, instance=b"0123abce"),
    "segment": b"".join(
        (
            frame(8, packed({"version": 1, "agent": "a-1", "instance": "0123abcd"})),
            frame(2, struct.pack("<QdH", 70000, 100.25, 5)),
            frame(1, ROW + b"body"),
            frame(3, struct.pack("<QdI", 70000, 0.75, 4)),
            frame(4, packed([70000, [[8, 9]], "drain", False])),
            frame(5, struct.pack("<IIQI", 7, 3, 2**64 - 1, 0) + b"hello, log!\n"),
            frame(6, packed([[[1, 5]], 2])),
            frame(7, packed([70000, [[7, 9], [4, 4]], 3])),
        )
    ),
}


def main(folder: Path) -> None:
    for name, data in FILES.items():
        text = data.hex()
        lines = [text[at : at + 96] for at in range(0, len(text), 96)]
        (folder / f"{name}.hex").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
