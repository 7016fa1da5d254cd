"""The scripts that measure, one file a measurement. Those with a peer's name run in the peers' environment."""
