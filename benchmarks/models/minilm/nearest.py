"""Print the nearest pairs of embedded texts, and the neighbours of three of them.

    python benchmarks/models/minilm/nearest.py sentences.jsonl vectors.jsonl

The first file is the input of `headrace run`, the second one its output.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

PAIRS = 5
NEIGHBOURS = 3
QUERIES = ("housing-02", "banking-support-06", "weather-05")
WIDTH = 92


@dataclass(frozen=True, kw_only=True)
class Embedded:
    """Texts with their vectors, row by row; `similarity[i, j]` is a cosine."""

    ids: list[str]
    texts: list[str]
    similarity: NDArray[np.float32]


def read_rows(path: Path) -> list[dict[str, object]]:
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def load(sentences: Path, vectors: Path) -> Embedded:
    texts = {str(row["custom_id"]): str(row["text"]) for row in read_rows(sentences)}
    rows = [row for row in read_rows(vectors) if not row["error"]]
    matrix = np.asarray([row["output"] for row in rows], dtype=np.float32)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    ids = [str(row["custom_id"]) for row in rows]
    return Embedded(ids=ids, texts=[texts[row_id] for row_id in ids], similarity=matrix @ matrix.T)


def shorten(text: str) -> str:
    return text if len(text) <= WIDTH else text[: WIDTH - 1].rstrip() + "…"


def nearest_pairs(embedded: Embedded, count: int) -> list[tuple[int, int]]:
    """The most similar pairs, best first; a text is in one pair only, so that they differ."""
    upper = np.triu(embedded.similarity, k=1)
    order = np.argsort(upper, axis=None)[::-1]
    pairs: list[tuple[int, int]] = []
    used: set[int] = set()
    for first, second in zip(*np.unravel_index(order, upper.shape), strict=True):
        if len(pairs) == count:
            break
        if not used & {first, second} and embedded.texts[first] != embedded.texts[second]:
            pairs.append((first, second))
            used |= {first, second}
    return pairs


def print_pairs(embedded: Embedded) -> None:
    print(f"\nNearest pairs of {len(embedded.ids)} texts (cosine)")
    for first, second in nearest_pairs(embedded, PAIRS):
        print(f"\n  {embedded.similarity[first, second]:.2f}  {shorten(embedded.texts[first])}")
        print(f"        {shorten(embedded.texts[second])}")


def print_neighbours(embedded: Embedded, query: str) -> None:
    row = embedded.ids.index(query)
    best = [int(other) for other in np.argsort(embedded.similarity[row])[::-1] if other != row]
    print(f"\nNearest to: {shorten(embedded.texts[row])}")
    for other in best[:NEIGHBOURS]:
        print(f"  {embedded.similarity[row, other]:.2f}  {shorten(embedded.texts[other])}")


def main() -> None:
    embedded = load(Path(sys.argv[1]), Path(sys.argv[2]))
    print_pairs(embedded)
    for query in QUERIES:
        if query in embedded.ids:
            print_neighbours(embedded, query)


if __name__ == "__main__":
    main()
