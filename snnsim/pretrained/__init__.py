"""Networks in folders and on hubs: a file with the network, and a card that says what it is.

Beside the functions are the reference networks that come with the package, each in a folder of its
own with the command that makes it again.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch import nn

from snnsim import checkpoint
from snnsim.errors import CheckpointError, ConfigError, nearest
from snnsim.pretrained.hub import download, is_hub_name, upload
from snnsim.saving import load, save

NETWORK, CARD = "network.safetensors", "README.md"
OF_A_RUN = "best.safetensors"
HERE = Path(__file__).parent

__all__ = ["from_pretrained", "reference_networks", "save_pretrained"]


def save_pretrained(
    net: nn.Module,
    folder: Path | str,
    about: dict[str, Any] | None = None,
    *,
    card: str = "",
    push_to: str = "",
    private: bool = False,
) -> Path:
    """Write a network into a folder from which :func:`from_pretrained` loads it, or to a hub.

    Args:
        net: a network that :func:`snnsim.save` takes.
        folder: the folder, made if it is missing; what it has under the same names is replaced.
        about: values that belong to the network, as for :func:`snnsim.save`; ``None`` for those
            with which it was loaded.
        card: the text of its ``README.md`` in Markdown; empty for one that names its layers.
            ``snnsim share RUN FOLDER`` writes one with data, results and cost.
        push_to: ``"user/name"``, where on the Hugging Face hub the folder is uploaded as well;
            needs the extra ``hub`` and a login.
        private: whether only its owner sees it there.

    Returns:
        The folder.

    Raises:
        ConfigError: if the network cannot be saved, or ``push_to`` is no name.
        SnnsimError: if the upload fails; the folder is written all the same.

    >>> import tempfile, torch
    >>> import snnsim as sn
    >>> net = sn.Sequential(sn.Dense(3, 4), sn.LIF(4, dt=1.0))
    >>> folder = save_pretrained(net, tempfile.mkdtemp(), {"classes": ["a", "b", "c", "d"]})
    >>> sorted(path.name for path in folder.iterdir())
    ['README.md', 'network.safetensors']
    >>> from_pretrained(folder).about["classes"]
    ['a', 'b', 'c', 'd']
    """
    folder = Path(folder)
    if push_to and not is_hub_name(push_to):
        raise ConfigError(f"push_to is {push_to!r}, but must be of the form 'user/name'")
    told = getattr(net, "about", {}) if about is None else about
    save(net, folder / NETWORK, told)
    checkpoint.write_text(folder / CARD, card or plain_card(net, folder.absolute().name))
    if push_to:
        upload(folder, (NETWORK, CARD), push_to, private)
    return folder


def from_pretrained(
    name: Path | str, *, revision: str | None = None, classes: Iterable[type] = ()
) -> Any:
    """Load a network from a folder, a hub, or of those that come with the package.

    No code of the file is executed, wherever it comes from.

    Args:
        name: a folder of :func:`save_pretrained` or of a run; one of :func:`reference_networks`;
            or ``"user/name"`` on the Hugging Face hub, which needs the extra ``hub`` and is kept
            in its cache. A folder comes first.
        revision: on a hub, the branch, tag or commit; ``None`` for the newest.
        classes: your own neurons, layers and surrogates that the network contains.

    Returns:
        The network, in evaluation mode, on the CPU; its attribute ``about`` says what it is.

    Raises:
        CheckpointError: if there is no such network, or its file is damaged.

    >>> net = from_pretrained("spoken-digits-learned-delays")
    >>> net.about["classes"][:3]
    ['zero', 'one', 'two']
    """
    folder = Path(name)
    if folder.is_dir():
        return load(file_in(folder), classes)
    known = reference_networks()
    if str(name) in known:
        return load(HERE / str(name) / NETWORK, classes)
    if is_hub_name(str(name)) and not folder.exists():
        return load(download(str(name), NETWORK, revision), classes)
    raise CheckpointError(
        f"there is no network {str(name)!r}{nearest(str(name), known)}; give a folder, a name of "
        f"the form user/name on a hub, or one of {', '.join(known)}"
    )


def file_in(folder: Path) -> Path:
    """Return the file with the network of a folder, that of :func:`save_pretrained` or of a run."""
    for name in (NETWORK, OF_A_RUN):
        if (folder / name).is_file():
            return folder / name
    raise CheckpointError(
        f"{folder} has neither {NETWORK} nor {OF_A_RUN}; give a folder of save_pretrained or of a "
        "run"
    )


def reference_networks() -> list[str]:
    """Return the names of the networks that come with the package; each has a card beside it."""
    return sorted(path.parent.name for path in HERE.glob(f"*/{NETWORK}"))


def plain_card(net: nn.Module, name: str) -> str:
    """Return a card that says what can be seen of a network alone.

    Args:
        net: the network.
        name: what it is called.
    """
    count = sum(parameter.numel() for parameter in net.parameters())
    return f"""---
library_name: snnsim
tags: [spiking-neural-network]
---

# {name}

A spiking network with {count:,} parameters, saved by snnsim.

```python
import snnsim as sn

net = sn.from_pretrained({name!r})
```

```text
{net}
```
"""
