"""A small corpus of two topics, in every form that a source of texts has."""

from __future__ import annotations

import random
from pathlib import Path

import pandas as pd
import pytest

SEA = "ship harbour wave sailor anchor tide storm island captain mast rope deck"
KITCHEN = "oven bread butter knife onion pepper soup kettle flour sugar plate spoon"
TOPICS = {"sea": SEA.split(" "), "kitchen": KITCHEN.split(" ")}
COMMON = ["the", "a", "of", "and", "with", "near", "under", "every", "small", "old"]


def make_texts(n: int = 64, seed: int = 0) -> tuple[list[str], list[str]]:
    """Sentences of 8 to 40 words, and their topics."""
    rng = random.Random(seed)
    texts, topics = [], []
    for number in range(n):
        topic = list(TOPICS)[number % 2]
        words = [rng.choice(TOPICS[topic] if rng.random() < 0.5 else COMMON) for _ in range(rng.randint(8, 40))]
        texts.append(" ".join(words) + ".")
        topics.append(topic)
    return texts, topics


@pytest.fixture(scope="session")
def corpus() -> tuple[list[str], list[str]]:
    return make_texts()


@pytest.fixture
def table(tmp_path: Path, corpus: tuple[list[str], list[str]]) -> Path:
    """A CSV file with a column of texts and one of topics."""
    path = tmp_path / "notes.csv"
    pd.DataFrame({"note": corpus[0], "topic": corpus[1]}).to_csv(path, index=False)
    return path
