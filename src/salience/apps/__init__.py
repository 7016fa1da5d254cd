"""What a representation is good for: one verb, one file."""

from salience.apps.export import embed_to
from salience.apps.predict import predict

__all__ = ["embed_to", "predict"]
