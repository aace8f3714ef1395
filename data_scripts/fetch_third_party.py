"""Fetch the scripts by others that the book's pages and their tests carry: `make third-party`.

The files are committed, so only whoever moves to a newer version runs this. It needs npm for
`npm pack`, which downloads an archive and runs nothing. Files of Python packages come from the
environment; the licences of ONNX Runtime need the extra "export". Afterwards
third_party.sha256 holds the checksum of every file; a test compares.
"""

import gzip
import hashlib
import json
import re
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SUMS = ROOT / "data_scripts" / "third_party.sha256"
WIDGETS, MATHJAX, AXE = "book/_static/widgets", "book/_static/mathjax", "tests/axe"
REVEAL = "book/_static/reveal"
RUNTIME = "maskdiff_edu/widgets/js/lab/ort"  # in the package, for notebooks too
VIEWER = "maskdiff_edu/widgets/js/lab/niivue"

# npm package -> {file, or folder ending in a slash, inside the package: where it goes}
NPM = {
    "requirejs@2.3.8": {"require.js": f"{WIDGETS}/require.js"},  # its licence heads the file
    "@jupyter-widgets/html-manager@1.0.15": {"dist/embed-amd.js": f"{WIDGETS}/embed-amd.js"},
    "mathjax@3.2.2": {
        "es5/tex-chtml-full.js": f"{MATHJAX}/tex-chtml-full.js",
        "es5/output/chtml/fonts/woff-v2/": f"{MATHJAX}/output/chtml/fonts/woff-v2/",
        "LICENSE": f"{MATHJAX}/LICENSE",
    },
    # No theme: each loads fonts of its own. Version 6 moved the notes, so a deck would not start.
    "reveal.js@5.2.1": {
        "dist/reset.css": f"{REVEAL}/reset.css",
        "dist/reveal.css": f"{REVEAL}/reveal.css",
        "dist/reveal.js": f"{REVEAL}/reveal.js",
        "plugin/notes/notes.js": f"{REVEAL}/notes.js",
        "LICENSE": f"{REVEAL}/LICENSE",
    },
    # One file of script, for one thread. The engine is kept compressed, since a server may not
    # compress it by itself: 3.7 MB instead of 14.2 in the package and over the wire. It is not
    # called .gz, which some servers tell the browser to unpack.
    "onnxruntime-web@1.30.0": {
        "dist/ort.wasm.bundle.min.mjs": f"{RUNTIME}/ort.js",
        "dist/ort-wasm-simd-threaded.wasm": f"{RUNTIME}/ort.wasm.packed",
    },
    # The viewer of scans, in one module and compressed for the same reason: 0.9 MB instead of 3.1.
    # Its archives of today hold no licence; the text has not changed since.
    "@niivue/niivue@0.69.0": {"dist/index.js": f"{VIEWER}/niivue.packed"},
    "@niivue/niivue@0.44.2": {"LICENSE": f"{VIEWER}/LICENSE"},
    "axe-core@4.14.1": {
        "axe.min.js": f"{AXE}/axe.min.js",
        "LICENSE": f"{AXE}/LICENSE",
        "LICENSE-3RD-PARTY.txt": f"{AXE}/LICENSE-3RD-PARTY.txt",
    },
}
# The same for installed Python packages; the paths are those below site-packages, by their end.
INSTALLED = {
    "anywidget": {
        "anywidget/nbextension/index.js": f"{WIDGETS}/anywidget.js",
        "licenses/LICENSE": f"{WIDGETS}/LICENSE-anywidget",
    },
    # The widget manager is part of ipywidgets' repository; its own archive holds no licence.
    "ipywidgets": {"licenses/LICENSE": f"{WIDGETS}/LICENSE-html-manager"},
    # The same of ONNX Runtime, and of what its engine is made of.
    "onnxruntime": {
        "onnxruntime/LICENSE": f"{RUNTIME}/LICENSE",
        "onnxruntime/ThirdPartyNotices.txt": f"{RUNTIME}/ThirdPartyNotices.txt",
    },
}

# What holds packages of others -> the source map that names them, and where their licences go.
BUNDLES = (
    (
        "@jupyter-widgets/html-manager",
        "dist/embed.js.map",
        f"{WIDGETS}/LICENSE-embed-amd.txt",
    ),
    ("@niivue/niivue", "dist/index.js.map", f"{VIEWER}/LICENSE-bundled.txt"),
)

# Where the widget manager would look for a script that the page does not bring: another host.
FALLBACK, NOWHERE = b'"https://cdn.jsdelivr.net/npm/"', b'"no-other-host/"'


def cut_fallback(path: Path) -> None:
    """Let the widget manager look on the page's own host alone, where there is nothing."""
    content = path.read_bytes()
    if content.count(FALLBACK) != 2:
        sys.exit(f"{path}: expected the address of the other host twice; look where it went")
    path.write_bytes(content.replace(FALLBACK, NOWHERE))


def fetch_npm(package: str, wanted: dict[str, str]) -> list[Path]:
    """Copy the wanted files of an npm package; return where they went. Some go compressed."""
    written = []
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["npm", "pack", "--silent", package], cwd=folder, check=True)
        [archive] = Path(folder).glob("*.tgz")
        with tarfile.open(archive) as tar:
            for member in filter(tarfile.TarInfo.isfile, tar):
                inside = member.name.removeprefix("package/")
                for source, target in wanted.items():
                    is_in_folder = source.endswith("/") and inside.startswith(source)
                    if inside == source or is_in_folder:
                        path = ROOT / (target + inside[len(source) :])
                        content = tar.extractfile(member).read()
                        if path.suffix == ".packed":
                            content = gzip.compress(content, mtime=0)  # the same bytes again
                        written.append(write(path, content))
    return written


def collect_licences(package: str, source_map: str, target: Path) -> Path:
    """One file with the licences of all packages that a bundle holds, by its source map's names.

    `npm install` finds their versions, and runs no script of theirs.
    """
    with tempfile.TemporaryDirectory() as folder:
        quiet = ("--silent", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock")
        subprocess.run(["npm", "install", *quiet, package], cwd=folder, check=True)
        modules = Path(folder) / "node_modules"
        bundle = modules / package.rpartition("@")[0] / source_map
        inside = re.findall(r'node_modules/((?:@[^/"]+/)?[^/"]+)/[^"]*"', bundle.read_text("utf-8"))
        parts = [licence_of(modules, name) for name in sorted(set(inside))]
    return write(target, ("\n\n" + "-" * 80 + "\n\n").join(parts).encode())


def licence_of(modules: Path, name: str) -> str:
    """Name, version and licence of an npm package, with the text where its archive has one."""
    described = sorted(modules.glob(f"**/{name}/package.json"))
    if not described:
        return f"{name}: a tool that made the bundle; a few lines of it are inside. MIT."
    about = json.loads(described[0].read_text("utf-8"))
    files = [p for p in described[0].parent.iterdir() if re.match("licen[cs]e", p.name, re.I)]
    text = files[0].read_text("utf-8") if files else "(its archive holds no text of it)"
    jupyter = name.startswith(("@jupyter", "@lumino"))
    see = " Copyright Project Jupyter Contributors: see LICENSE-html-manager." if jupyter else ""
    return f"{name} {about['version']}, {about.get('license')}.{see}\n\n{text.strip()}"


def copy_installed(package: str, wanted: dict[str, str]) -> list[Path]:
    """Copy the wanted files of an installed Python package; return where they went."""
    written = []
    try:
        files = distribution(package).files
    except PackageNotFoundError:
        sys.exit(f'this needs {package}: .venv/bin/python -m pip install -e ".[book,test,export]"')
    for source, target in wanted.items():
        [found] = [path for path in files if str(path).endswith(source)]
        written.append(write(ROOT / target, found.read_binary()))
    return written


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def checksums(paths: list[Path]) -> str:
    """Lines as `sha256sum` writes and checks them, from the repository's top folder."""
    return "".join(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(ROOT).as_posix()}\n"
        for path in sorted(paths)
    )


def main() -> None:
    try:
        written = [path for item in NPM.items() for path in fetch_npm(*item)]
    except FileNotFoundError:
        sys.exit("this needs npm, which comes with Node; the book itself does not")
    written += [path for item in INSTALLED.items() for path in copy_installed(*item)]
    for name, source_map, target in BUNDLES:
        package = next(package for package in NPM if package.startswith(name))
        written.append(collect_licences(package, source_map, ROOT / target))
    cut_fallback(ROOT / WIDGETS / "embed-amd.js")
    SUMS.write_text(checksums(written), encoding="utf-8")
    print(f"{len(written)} files, checksums in {SUMS.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
