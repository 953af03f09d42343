"""As `clipsearch serve`, but with the tiny model, so that nothing waits for torch.

    python tiny_server.py INDEX [FOLDER PLACE]

serves on a free port, and says where in a line on stderr when requests are answered. LIMITS are
those of its connections, and ACCESS is who may ask, as JSON.
"""

import json
import os
import sys
from pathlib import Path

from tiny import open_tiny

from clipsearch.web import server
from clipsearch.web.connections import Limits


def main(index: str, *mounted: str) -> None:
    places = dict([mounted]) if mounted else None
    told = {"token": None, "origins": []} | json.loads(os.environ.get("ACCESS", "{}"))
    access, listening = server.check_access("127.0.0.1", **told), server.listen("127.0.0.1", 0)
    address = server.address_of(listening, access)
    server.run(
        lambda: open_tiny(Path(index), create=False, mounted=places), listening, access,
        ready=lambda: print("tiny: serving", address, file=sys.stderr, flush=True),
        limits=Limits(**json.loads(os.environ.get("LIMITS", "{}"))),
    )  # fmt: skip


if __name__ == "__main__":  # which the processes that decode pictures run again
    main(*sys.argv[1:])
