"""A program that uses the hub, whose address its package reads when it is imported.

Prints JSON: what came back, or the error.
"""

import json
import sys
from pathlib import Path

import torch

import snnsim as sn
from snnsim.errors import SnnsimError


def net():
    torch.manual_seed(0)
    return sn.Sequential(sn.Dense(3, 4), sn.LIF(4, dt=1.0))


def push(name: str, folder: str) -> dict:
    sn.save_pretrained(net(), Path(folder), {"classes": ["a"]}, push_to=name)
    return {"written": sorted(each.name for each in Path(folder).iterdir())}


def pull(name: str, folder: str) -> dict:
    found = sn.from_pretrained(name)
    x = torch.rand(5, 2, 3, generator=torch.Generator().manual_seed(1))
    same = torch.equal(found(x)[0], net().eval()(x)[0])
    return {"same": same, "about": found.about}


if __name__ == "__main__":
    what, name, folder = sys.argv[1:]
    try:
        answer = {"push": push, "pull": pull}[what](name, folder)
    except SnnsimError as error:
        answer = {"error": str(error), "kind": type(error).__name__}
    print(json.dumps(answer))
