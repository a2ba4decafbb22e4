#!/usr/bin/python3
"""`make coverage`: which lines of the layers the unit tests run, by gcov, folder by folder; fails below the agreed share.

    coverage.py BUILD-DIRECTORY MINIMUM-PERCENT
"""
import glob
import gzip
import json
import os
import subprocess
import sys
import tempfile

FOLDERS = ("base", "net", "tls", "http", "xds", "mesh")


def lines_of(build):
    """{source file: {line: was run}} of all objects that have run; a header's line counts when any object ran it."""
    files = {}
    data = glob.glob(f"{build}/src/*/*.gcda")
    if not data:
        sys.exit(f"{build} has no coverage data: nothing built there has run")
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run(["gcov", "--json-format", "--hash-filenames", *map(os.path.abspath, data)], cwd=directory, check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for path in glob.glob(f"{directory}/*.gcov.json.gz"):
            with gzip.open(path) as file:
                for source in json.load(file)["files"]:
                    lines = files.setdefault(os.path.relpath(source["file"]) if os.path.isabs(source["file"]) else source["file"], {})
                    for line in source["lines"]:
                        lines[line["line_number"]] = lines.get(line["line_number"], False) or line["count"] > 0
    return files


def main():
    build, minimum = sys.argv[1], float(sys.argv[2])
    files = lines_of(build)
    total_run = total = 0
    print(f"{'folder':8s} {'lines':>7s} {'run':>7s}  share   least covered files")
    for folder in FOLDERS:
        ours = {name: lines for name, lines in files.items() if name.startswith(f"src/{folder}/")}
        unseen = [name for name in glob.glob(f"src/{folder}/*.c") if name not in ours]
        run = sum(sum(lines.values()) for lines in ours.values())
        count = sum(len(lines) for lines in ours.values())
        total_run, total = total_run + run, total + count
        worst = sorted((sum(lines.values()) / len(lines), os.path.basename(name)) for name, lines in ours.items() if len(lines) > 20)[:4]
        text = ", ".join([f"{os.path.basename(name)} 0" for name in unseen] + [f"{name} {share:.0%}" for share, name in worst])
        print(f"{folder:8s} {count:7d} {run:7d}  {run / max(count, 1):5.1%}   {text}")
    share = 100 * total_run / total
    print(f"{'all':8s} {total:7d} {total_run:7d}  {share:.1f}%   (at least {minimum:.0f}% is agreed)")
    if share < minimum:
        sys.exit(1)


if __name__ == "__main__":
    main()
