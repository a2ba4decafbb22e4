#!/usr/bin/python3
"""The tree is the architecture: a folder of src/ includes only itself and lower layers, a program never another program."""
import pathlib
import re
import sys

LAYERS = ["kube", "xds", "telemetry", "http", "tls", "net", "mesh", "base"]
PROGRAMS = ["ztunnel", "ambard", "cni", "waypoint", "ambarctl"]
INCLUDE = re.compile(r'^\s*#\s*include\s+"([a-z0-9_]+)/[^"]+"')


def may_include(folder, other):
    if folder == other or other == "proto":
        return other != "proto" or folder in PROGRAMS + ["kube", "xds"]
    if other in PROGRAMS:
        return False
    if folder in PROGRAMS:
        return True
    if folder == "mesh":
        return other == "base"
    return LAYERS.index(other) > LAYERS.index(folder)


def main():
    source = pathlib.Path(__file__).resolve().parent.parent / "src"
    wrong, seen = [], 0
    for path in sorted(source.rglob("*.[ch]")):
        folder = path.relative_to(source).parts[0]
        if folder not in LAYERS + PROGRAMS:
            wrong.append(f"{path.relative_to(source.parent)}: a folder that the architecture does not know")
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            match = INCLUDE.match(line)
            if not match:
                continue
            seen += 1
            other = match.group(1)
            if other not in LAYERS + PROGRAMS + ["proto"] or not may_include(folder, other):
                wrong.append(f"{path.relative_to(source.parent)}:{number}: {folder} may not include {other}")
    for line in wrong:
        print(line)
    print(f"includes: {seen} checked, {len(wrong)} upward")
    return 1 if wrong or seen == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
