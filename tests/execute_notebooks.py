"""Execute the notebooks and save them with their outputs, without what differs from run to run."""

import argparse
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).resolve().parents[1] / "docs" / "notebooks"
#: All that is kept of a notebook's metadata: versions of kernels and editors change.
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
#: Seconds of a cell: the first one that opens a simulated machine may compile it.
TIMEOUT = 1200


def execute(path: Path) -> None:
    """Execute a notebook in its folder, and save it."""
    notebook = nbformat.read(path, as_version=4)
    # Pieces of printed text come as they are timed: one output a cell is the same each time.
    client = NotebookClient(notebook, timeout=TIMEOUT, coalesce_streams=True)
    client.execute(cwd=str(path.parent))
    strip(notebook)
    nbformat.write(notebook, path)


def strip(notebook: nbformat.NotebookNode) -> None:
    """Remove times and versions; number cells by their place."""
    notebook.metadata = nbformat.from_dict(METADATA)
    for number, cell in enumerate(notebook.cells, 1):
        cell.id = f"cell-{number}"
        tags = cell.metadata.get("tags")
        cell.metadata = nbformat.from_dict({"tags": tags} if tags else {})


def main() -> None:
    """Execute all notebooks, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("notebooks", nargs="*", type=Path, default=sorted(NOTEBOOKS.glob("*.ipynb")))
    for path in parser.parse_args().notebooks:
        start = time.perf_counter()
        execute(path.resolve())
        print(f"{path.name}: {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
