"""The live classifier: a thread that trains on the latest labels and writes its predictions to the store."""

from __future__ import annotations

import logging
import threading
import time
from typing import Literal

import numpy as np
import torch

from salience.explorer.answers import ClassifierAnswer, CurvePoint
from salience.explorer.labelling import Labels
from salience.explorer.learning import Learner, TrainingResult, extend_curve
from salience.explorer.refusals import NotYet
from salience.store import Store

REST = 15.0  # seconds between two writes of the predictions
PATIENCE = 10.0  # seconds that a request waits for the current training, which takes about one
CLOSING = 0.5  # seconds that the server waits for the current training when it stops; the training can be repeated
THREADS = 1  # on busy cores, small matrix products take up to 20 times as long with several threads
State = Literal["absent", "training", "ready"]
COLUMNS = ("predicted", "confidence")
log = logging.getLogger(__name__)


class Classifier:
    """Trains in one thread. The next training uses all labels that arrive during the current one."""

    def __init__(self, store: Store, labels: Labels, learner: Learner):
        self.store = store
        self.labels = labels
        self.learner = learner
        self.learnt = learner.nothing(0)
        self._curve: dict[int, CurvePoint] = {}
        self._wanted = labels.version
        self._written = 0 if not set(COLUMNS) & set(store.columns) else -1  # version of the columns
        self._wrote_at = time.monotonic()
        self._closing = False
        self._changed = threading.Condition()
        self._writing = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="classifier", daemon=True)
        self._thread.start()

    def refresh(self) -> None:
        """Check for new labels and wake the thread if there are any."""
        version = self.labels.version
        with self._changed:
            if version != self._wanted:
                self._wanted = version
                self._changed.notify_all()

    def answer(self) -> ClassifierAnswer:
        self.refresh()
        with self._changed:
            learnt, wanted, curve = self.learnt, self._wanted, self._curve
        trained: State = "ready" if learnt.head is not None else "absent"
        return ClassifierAnswer(
            state="training" if learnt.version != wanted else trained,
            version=learnt.version,
            labelled=learnt.labelled,
            classes=list(learnt.classes),
            suggestions=list(learnt.suggestions),
            curve=[curve[labelled] for labelled in sorted(curve)],
            confused=learnt.confused,
        )

    def wait_for_newest(self) -> TrainingResult:
        """Wait for the classifier of the current labels and return it. Raises NotYet with fewer than two classes."""
        self.refresh()
        with self._changed:
            wanted = self._wanted
            self._changed.wait_for(lambda: self.learnt.version >= wanted or self._closing, PATIENCE)
            learnt = self.learnt
        if learnt.version < wanted:
            raise NotYet("labels: the classifier is still training; repeat the request later")
        if learnt.head is None:
            raise NotYet("labels: the classifier needs labelled items of at least two classes; label some first")
        return learnt

    def save_predictions(self) -> None:
        """Write the predictions to the store, unless it already has them."""
        with self._writing:
            learnt = self.learnt
            if learnt.version == self._written:
                return
            names = np.array([*learnt.classes, None], object)
            codes = np.where(learnt.predicted < len(learnt.classes), learnt.predicted, len(learnt.classes))
            try:
                self.store.write_columns(dict(zip(COLUMNS, (names[codes], learnt.confidence), strict=True)))
            except (ValueError, OSError) as problem:  # items were added in the meantime, or the disk is full
                log.warning("the predictions were not saved: %s", problem)
            self._written, self._wrote_at = learnt.version, time.monotonic()

    def close(self) -> None:
        """Stop the thread and save the predictions. A running training is abandoned, because the process ends soon."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(CLOSING)
        if not self._thread.is_alive():
            self.save_predictions()

    def _run(self) -> None:
        torch.set_num_threads(THREADS)  # applies to this thread
        while not self._closing:
            if self.learnt.version != self._wanted:
                self._train()
            with self._changed:
                due = self._wrote_at + REST - time.monotonic() if self.learnt.version != self._written else None
                if self.learnt.version == self._wanted and (due is None or due > 0):
                    self._changed.wait_for(lambda: self._closing or self.learnt.version != self._wanted, due)
                write = self.learnt.version != self._written and time.monotonic() >= self._wrote_at + REST
            if write and not self._closing:
                self.save_predictions()

    def _train(self) -> None:
        wanted = self._wanted
        try:
            known, classes, codes = self.labels.codes()
            learnt = self.learner.learn(known.version, classes, codes)
        except Exception:  # the thread continues with the next labels
            log.exception("the training of the classifier failed")
            learnt = self.learner.nothing(wanted)
        with self._changed:
            self.learnt, self._curve = learnt, extend_curve(self._curve, learnt)
            self._wanted = max(self._wanted, learnt.version)
            self._changed.notify_all()
