"""What makes an item strange: name of the score -> (the function of a method that it needs, what it means)."""

SCORES = {
    "likelihood": (
        "log_likelihood",
        "minus the log-likelihood in nats, or its bound, or up to a constant",
    ),
    "reconstruction": ("decode", "the mean squared error of the reconstruction, on the unit scale"),
    "neighbours": (None, "the mean distance to the nearest {k} embeddings of ordinary items"),
}
