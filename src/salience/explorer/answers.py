"""Types of requests and responses. The validation and the documentation of the HTTP API are generated from them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Row = Annotated[int, Field(ge=0, lt=2**53, description="position of an item in the store")]
Number = Annotated[float, Field(ge=-3e38, le=3e38)]  # range of float32
K = Annotated[int, Field(ge=1, le=1000, description="number of items to return")]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Problem(BaseModel):
    error: str = Field(description="one plain line")


class ColumnName(BaseModel):
    name: str
    kind: Literal["category", "number", "text"]


class StoreAnswer(BaseModel):
    name: str
    rows: int
    dim: int
    modality: str
    method: str | None
    run: str | None
    columns: list[ColumnName]
    maps: list[str] = Field(description="the maps that are ready")
    can: list[str] = Field(description="capabilities of the run; empty if the run cannot be found")
    thumbnails: bool


class ColumnAnswer(BaseModel):
    name: str
    kind: Literal["category", "number"]
    classes: list[str]
    counts: list[int]
    missing: int
    low: float | None
    high: float | None
    version: int


class Item(BaseModel):
    row: int
    id: str
    image: bool
    media: str | None = Field(description="MIME type of the item as a file to play; null without one")
    columns: dict[str, str | float | None]


class Hit(BaseModel):
    row: int
    id: str
    distance: float | None = Field(description="1 - cosine similarity; null if the search compared no embeddings")
    label: str | None


class Neighbours(BaseModel):
    hits: list[Hit]


class SearchBody(Body):
    """Search near an item (by row or id) or near a vector; with `where` alone, return the rows that satisfy it."""

    row: Row | None = None
    id: str | None = None
    vector: list[Number] | None = None
    text: str | None = Field(None, description="text from a search box: an id, a vector [1, 2], a row, or a condition")
    k: K = 24
    where: str | None = Field(None, description="a condition on columns: label = 'shirt' AND cluster = 3")


class Found(BaseModel):
    hits: list[Hit]
    matching: int | None = Field(description="number of rows that satisfy `where`; null without `where`")
    row: Annotated[int | None, Field(description="row of the query, if the query is an item")] = None


class EmbedBody(Body):
    rows: list[list[float | str | bool | None]] = Field(description="rows of a table, in the order of its columns")


class Vectors(BaseModel):
    vectors: list[list[float]]


class PredictBody(Body):
    vectors: list[list[Number]] | None = None
    rows: list[Row] | None = None


class Prediction(BaseModel):
    label: str
    confidence: float
    probabilities: dict[str, float]


class Predictions(BaseModel):
    predictions: list[Prediction]


class ClassCount(BaseModel):
    name: str
    count: int


class Undo(BaseModel):
    label: str | None
    count: int


class LabelsAnswer(BaseModel):
    version: int
    classes: list[ClassCount]
    labelled: int
    undo: Undo | None = Field(description="the labelling that undo would remove")


class LabelsBody(Body):
    rows: list[Row] | None = None
    ids: list[str] | None = None
    label: str | None = Field(description="the label; null removes labels")


class Suggestion(BaseModel):
    row: int
    id: str
    label: str
    confidence: float


class CurvePoint(BaseModel):
    labelled: int
    accuracy: float
    low: float
    high: float
    judged: Literal["source labels", "cross-validation"]


class ClassifierAnswer(BaseModel):
    state: Literal["absent", "training", "ready"]
    version: int = Field(description="version of the labels that the classifier was trained on")
    labelled: int
    classes: list[str]
    suggestions: list[Suggestion] = Field(description="the most informative items to label next")
    curve: list[CurvePoint]
    confused: str


class ClusterBody(Body):
    method: Literal["kmeans", "gmm", "hdbscan"] = "kmeans"
    k: Annotated[int, Field(ge=1, le=10_000)] | None = None


class Job(BaseModel):
    name: Literal["umap", "cluster", "anomalies", "duplicates"]
    state: Literal["absent", "running", "done", "failed"] = "absent"
    share: float = 0.0
    said: str = ""


class Cluster(BaseModel):
    cluster: int
    size: int
    rows: list[int] = Field(description="the most typical items")
    label: str | None
    share: float | None


class Clusters(BaseModel):
    clusters: list[Cluster]


class Anomaly(BaseModel):
    row: int
    id: str
    score: float


class Duplicate(BaseModel):
    rows: list[int]
    ids: list[str]
    distance: float


class Outliers(BaseModel):
    anomalies: list[Anomaly] | None
    duplicates: list[Duplicate] | None


class Finding(BaseModel):
    what: str
    why: str
    change: str


class RunAnswer(BaseModel):
    name: str
    method: str
    finished: bool
    verdict: str | None = Field(description="verdict of the diagnosis; null if health was not recorded")
    findings: list[Finding]
    figures: dict[str, list[float | None]] = Field(description="name -> value, low, high; null if there is no interval")
    seconds: float | None
    can: list[str]
    this: bool = Field(description="whether this run made the store")


class Runs(BaseModel):
    runs: list[RunAnswer]


class Curve(BaseModel):
    step: list[float]
    value: list[float]


class Curves(BaseModel):
    curves: dict[str, Curve]


class Images(BaseModel):
    images: list[str] = Field(description="PNG files in base64")


class ImagePairs(BaseModel):
    images: list[list[str]] = Field(description="original and reconstruction, PNG files in base64")
