"""What a representation is good for: one verb, one file."""

from salience.verbs.export import embed_to
from salience.verbs.predict import predict

__all__ = ["embed_to", "predict"]
