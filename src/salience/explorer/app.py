"""The routes of the HTTP API. Types validate each request, the explorer answers it, and the documentation uses both."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from fastapi import APIRouter, Depends, FastAPI, Query, Request
from fastapi.responses import FileResponse, HTMLResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

import salience
from salience.csv_text import as_csv
from salience.errors import UserError
from salience.explorer import answers as a
from salience.explorer.documentation import STYLE, render_page
from salience.explorer.refusals import Unknown
from salience.explorer.replies import BINARY, binary, file, handle_problems
from salience.explorer.security import Guard, allowed_hosts
from salience.explorer.state import Explorer
from salience.units import counted, printable

STATIC = Path(__file__).parent / "static"
IMAGE_OR = "raw bytes of an image, or JSON"
MOST_SHOWN = 64  # maximum number of images in one response
MEDIA = {"csv": "text/csv; charset=utf-8", "parquet": "application/vnd.apache.parquet"}


def require_known_parameters(request: Request) -> None:
    """Refuse query parameters that the route does not take, or that are given twice."""
    route = request.scope["route"]
    if route.path_format in PAGES:  # other sites may append parameters to its address
        return
    operation = request.app.openapi()["paths"].get(route.path_format, {}).get(request.method.lower(), {})
    known = [one["name"] for one in operation.get("parameters", ()) if one["in"] == "query"]
    asked = f"{request.method} {route.path_format}"
    for name in request.query_params:
        if name not in (*known, "token"):  # Guard reads the token
            takes = f"known parameters: {', '.join(known)}" if known else "it takes no parameters"
            raise UserError(f"{printable(name)[:80]}: unknown query parameter of {asked}; {takes}")
        if len(request.query_params.getlist(name)) > 1:
            raise UserError(f"{name}: given more than once to {asked}; give it once")


PAGES = ("/", "/docs")
# With HTMLResponse as the class of the response, FastAPI would document the errors, which are JSON, as HTML too.
PAGE: dict[int | str, dict[str, Any]] = {200: {"content": {"text/html": {"schema": {"type": "string"}}}}}
router = APIRouter(responses={"4XX": {"model": a.Problem}}, dependencies=[Depends(require_known_parameters)])


def make_app(explorer: Explorer, *, token: str | None = None, host: str | None = None) -> ASGIApp:
    """Create the application.  token: required in every request;  host: accepted host name, beside this machine's"""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        explorer.close()

    app = FastAPI(
        title="salience explore",
        description="The HTTP API of the page. Binary responses are little-endian. A row is an item's position.",
        version=salience.__version__,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.explorer = explorer
    handle_problems(app)
    app.include_router(router)
    app.mount("/static", StaticFiles(directory=STATIC, check_dir=False))
    return Guard(app, token=token, hosts=allowed_hosts(host))


def explorer_of(request: Request) -> Explorer:
    found: Explorer = request.app.state.explorer
    return found


async def raw_body(request: Request) -> bytes:
    return await request.body()


def is_image(request: Request) -> bool:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in ("application/json", BINARY) and not kind.startswith("image/"):
        raise UserError(f"body: unsupported type '{kind[:80]}'; send application/json, or an image as image/png")
    return kind != "application/json"


def documented(body: type[a.Body]) -> dict[str, Any]:
    """Document a request body that is an image or JSON."""
    image = {"schema": {"type": "string", "format": "binary"}}
    return {"requestBody": {"content": {"application/json": {"schema": body.model_json_schema()}, "image/*": image}}}


def bytes_of(what: str, *media: str) -> dict[int | str, dict[str, Any]]:
    binary: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
    return {200: {"description": what, "content": dict.fromkeys(media or (BINARY,), binary)}}


Here = Annotated[Explorer, Depends(explorer_of)]
Raw = Annotated[bytes, Depends(raw_body)]
Where = Annotated[str | None, Query(description="a condition on columns: label = 'shirt' AND cluster = 3")]


@router.get("/", response_class=Response, responses=PAGE)
def page() -> Response:
    """Return the web page. With ?token=T the token is stored as a cookie."""
    index = STATIC / "index.html"
    if not index.is_file():
        raise Unknown("page: this package was built without the page; /docs documents the HTTP API")
    return FileResponse(index, headers={"Cache-Control": "no-cache"})


@router.get("/docs", response_class=Response, responses=PAGE)
def docs(request: Request) -> Response:
    """Return this documentation as a web page."""
    return HTMLResponse(render_page(request.app.openapi()))


@router.get("/docs/style.css", include_in_schema=False)
def docs_style() -> Response:
    return Response(STYLE, media_type="text/css")


@router.get("/store")
def store(here: Here) -> a.StoreAnswer:
    """Describe the store: number of items, columns, maps that are ready, capabilities of the run."""
    return here.about()


@router.get("/points", response_class=Response, responses=bytes_of("float32 [n 2] within [-1, 1]"))
def points(request: Request, here: Here, map: str = "pca") -> Response:
    """Return the position of each item on a map."""
    version, found = here.columns.points(map)
    return binary(request, found, f"{here.mark}-{version}")


@router.get("/columns/{name}")
def column(here: Here, name: str) -> a.ColumnAnswer:
    """Describe a column: its classes or its range. `marked`, `predicted` and `confidence` always exist."""
    here.refresh()
    version, found = here.columns.column(name)
    return a.ColumnAnswer(
        name=name,
        kind=found.kind,
        classes=list(found.classes),
        counts=list(found.counts),
        missing=found.missing,
        low=found.low,
        high=found.high,
        version=version,
    )


@router.get(
    "/columns/{name}/values",
    response_class=Response,
    responses=bytes_of("categories: uint16 [n], 65535 if missing; numbers: float32 [n], NaN if missing"),
)
def column_values(request: Request, here: Here, name: str) -> Response:
    """Return the value of a column for each item."""
    version, found = here.columns.column(name)
    return binary(request, found.values, f"{here.mark}-{version}")


@router.get("/items/{row}")
def item(here: Here, row: a.Row) -> a.Item:
    """Return all columns of one item."""
    return here.item(row)


@router.get("/items/{row}/image", response_class=Response, responses=bytes_of("a small image", "image/png"))
def item_image(request: Request, here: Here, row: a.Row) -> Response:
    """Return the thumbnail of one item."""
    from salience.explorer.pictures import media_type

    found = here.store.thumbnails(here.items.require([row]))[0]
    if found is None:
        raise Unknown(f"row: item {row} has no thumbnail")
    return file(request, found, media_type(found))


@router.get("/items/{row}/media", response_class=Response, responses=bytes_of("a file to play", "audio/wav"))
def item_media(request: Request, here: Here, row: a.Row) -> Response:
    """Return one item as a file that a browser plays, read from the source of the run."""
    kind, found = here.media.of(int(here.items.require([row])[0]))
    return file(request, found, kind)


@router.get("/items/{row}/neighbours")
def neighbours(here: Here, row: a.Row, k: a.K = 12) -> a.Neighbours:
    """Return the nearest neighbours of an item, without the item itself."""
    return a.Neighbours(hits=here.neighbours(row, k))


@router.post("/search", openapi_extra=documented(a.SearchBody))
def search(request: Request, here: Here, body: Raw, k: a.K = 24, where: Where = None) -> a.Found:
    """Find the items nearest to an item, a vector or an image. A condition can filter them, or be the whole search.

    For an image, `k` and `where` are query parameters; otherwise all parameters are in the JSON body.
    """
    if not is_image(request):
        if given := [name for name in ("k", "where") if name in request.query_params]:
            said = "given in the query string, which is only for images; send it in the JSON body"
            raise UserError(f"{', '.join(given)}: {said}")
        return here.search(a.SearchBody.model_validate_json(body))
    hits = here.nearest(here.model.embed_image(body)[0], k, where)
    return a.Found(hits=hits, matching=None if where is None else len(here.where(where)))


@router.get("/rows", response_class=Response, responses=bytes_of("int32 rows, ascending"))
def rows(here: Here, where: str) -> Response:
    """Return the rows that satisfy a condition."""
    return Response(here.where(where).astype("<i4").tobytes(), media_type=BINARY, headers={"Cache-Control": "no-store"})


@router.post("/embed", openapi_extra=documented(a.EmbedBody))
def embed(request: Request, here: Here, body: Raw) -> a.Vectors:
    """Compute the embedding of an image, or of rows of a table."""
    if is_image(request):
        return a.Vectors(vectors=here.model.embed_image(body).tolist())
    return a.Vectors(vectors=here.model.embed_rows(a.EmbedBody.model_validate_json(body).rows).tolist())


@router.post("/predict", openapi_extra=documented(a.PredictBody))
def predict(request: Request, here: Here, body: Raw) -> a.Predictions:
    """Predict the class of an image, of vectors, or of items with the live classifier."""
    if is_image(request):
        here.classifier.wait_for_newest()  # refuses before the run is loaded
        return a.Predictions(predictions=here.predictions(here.model.embed_image(body)))
    asked = a.PredictBody.model_validate_json(body)
    if (asked.rows is None) == (asked.vectors is None):
        raise UserError("rows, vectors: expected exactly one of them; give rows or vectors")
    if asked.rows is not None:
        return a.Predictions(predictions=here.predictions(here.store.vectors(here.items.require(asked.rows))))
    vectors = asked.vectors or []
    if any(len(vector) != here.store.dim for vector in vectors):
        raise UserError(f"vectors: each must have {counted(here.store.dim, 'number')}")
    return a.Predictions(predictions=here.predictions(np.array(vectors).reshape(-1, here.store.dim)))


@router.get("/labels")
def labels(here: Here) -> a.LabelsAnswer:
    """Count the items of each class that are labelled by hand; /labels/export lists them."""
    here.classifier.refresh()
    return here.labels.summary()


@router.post("/labels")
def label(here: Here, body: a.LabelsBody) -> a.LabelsAnswer:
    """Label items, or remove their labels. The change is saved before the response."""
    here.labels.mark(body.rows, body.ids, body.label)
    here.classifier.refresh()
    return here.labels.summary()


@router.post("/labels/undo")
def undo(here: Here) -> a.LabelsAnswer:
    """Undo the last labelling."""
    here.labels.undo()
    here.classifier.refresh()
    return here.labels.summary()


@router.get("/labels/export", response_class=Response, responses=bytes_of("a file", *MEDIA.values()))
def export(
    here: Here, what: Literal["labels", "predictions"] = "labels", format: Literal["csv", "parquet"] = "csv"
) -> Response:
    """Export the columns item, label, which `salience predict` reads; or item, predicted, confidence, which it writes.

    In CSV, a cell that a spreadsheet would run as a formula starts with an apostrophe, which `predict` removes.
    """
    table = pd.DataFrame(here.labels.table() if what == "labels" else here.prediction_table())
    if format == "csv":
        content = as_csv(table, "%.4f")[0].encode()
    else:
        written = io.BytesIO()
        table.to_parquet(written, index=False)
        content = written.getvalue()
    named = {"Content-Disposition": f'attachment; filename="{what}.{format}"', "Cache-Control": "no-store"}
    return Response(content, media_type=MEDIA[format], headers=named)


@router.get("/classifier")
def classifier(here: Here) -> a.ClassifierAnswer:
    """Describe the live classifier: its accuracy, and items to label next. Repeat until `version` is the labels'."""
    return here.classifier.answer()


@router.get("/jobs")
def jobs(here: Here) -> list[a.Job]:
    """List the background jobs and their progress."""
    return here.jobs.all()


@router.post("/jobs/umap")
def umap(here: Here) -> a.Job:
    """Compute the map `umap` and write it to the store."""
    return here.jobs.umap()


@router.post("/jobs/cluster")
def cluster(here: Here, body: a.ClusterBody) -> a.Job:
    """Cluster the items and write the column `cluster`."""
    return here.jobs.cluster(body.method, body.k)


@router.post("/jobs/anomalies")
def anomalies(here: Here) -> a.Job:
    """Compute the anomaly score of each item and write the column `anomaly`."""
    return here.jobs.anomalies()


@router.post("/jobs/duplicates")
def duplicates(here: Here) -> a.Job:
    """Find near-duplicates and write the column `duplicate_of`."""
    return here.jobs.duplicates()


@router.get("/clusters")
def clusters(here: Here) -> a.Clusters:
    """Return the size, typical items and most common label of each cluster."""
    return here.clusters()


@router.get("/outliers")
def outliers(here: Here) -> a.Outliers:
    """Return the items with the highest anomaly scores, and the nearest pairs of duplicates."""
    return here.outliers()


@router.get("/runs")
def runs(here: Here) -> a.Runs:
    """List the runs: health, metrics, cost."""
    return a.Runs(runs=here.runs.all())


@router.get("/runs/curves")
def curves(here: Here, name: str) -> a.Curves:
    """Return the training curves of a run, by its name in /runs."""
    return a.Curves(curves=here.runs.curves(name))


@router.get("/reconstruct")
def reconstruct(here: Here, rows: Annotated[str, Query(pattern=r"^\d{1,15}(,\d{1,15})*$")]) -> a.ImagePairs:
    """Reconstruct items from their embeddings.  rows: 1,2,3"""
    wanted = [int(row) for row in rows.split(",")]
    if len(wanted) > MOST_SHOWN:
        raise UserError(f"rows: expected at most {MOST_SHOWN} images, got {len(wanted)}; request fewer")
    return a.ImagePairs(images=here.model.reconstruct(here.items.require(wanted)))


@router.get("/sample")
def sample(
    here: Here,
    n: Annotated[int, Query(ge=1, le=MOST_SHOWN)] = 16,
    seed: Annotated[int, Query(ge=0, lt=2**31)] = 0,
) -> a.Images:
    """Generate new items with the run."""
    return a.Images(images=here.model.sample(n, seed))


@router.get("/interpolation")
def interpolation(
    here: Here,
    start: Annotated[a.Row, Query(alias="from")],
    to: a.Row,
    steps: Annotated[int, Query(ge=3, le=MOST_SHOWN)] = 9,
) -> a.Images:
    """Interpolate between the embeddings of two items; the result includes both ends."""
    first, last = here.items.require([start, to])
    return a.Images(images=here.model.interpolate(int(first), int(last), steps))
