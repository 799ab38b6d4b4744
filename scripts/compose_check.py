"""Checks of the compose files that Compose itself does not make. Usage: compose_check.py FILE...

All files are taken as one project. Prints what is wrong, a line each, and ends with 1 if there is anything.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

OWN_IMAGES = "datastreaming/"


def services(files: list[str]) -> dict[str, dict[str, Any]]:
    """Every service with the keys that any of the files gives it."""
    merged: dict[str, dict[str, Any]] = defaultdict(dict)
    for file in files:
        for name, service in YAML().load(Path(file).read_text(encoding="utf-8"))["services"].items():
            merged[name].update(service)
    return merged


def problems(project: dict[str, dict[str, Any]]) -> list[str]:
    found = []
    builders: dict[str, list[str]] = defaultdict(list)
    for name, service in project.items():
        if "build" in service:
            builders[service["image"]].append(name)
    for image, names in builders.items():
        if len(names) > 1:
            found.append(f"{', '.join(names)} all build {image}: parallel builds fail; leave `build` to one of them")
    for name, service in project.items():
        image = service.get("image", "")
        if image.startswith(OWN_IMAGES):
            if image not in builders:
                found.append(f"{name}: no service builds {image}")
            if service.get("pull_policy") != "never":
                found.append(f"{name}: {image} could be pulled from a registry: set `pull_policy: never`")
        for volume in service.get("volumes", []):
            source = volume.get("source", "") if isinstance(volume, dict) else volume
            if source.startswith((".", "/", "~")):
                found.append(f"{name}: {source} may be unreadable in the container: copy it into the image")
    return found


if __name__ == "__main__":
    lines = problems(services(sys.argv[1:]))
    print("\n".join(f"compose_check: {line}" for line in lines), file=sys.stderr)
    sys.exit(1 if lines else 0)
