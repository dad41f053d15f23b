"""The runtime: lanes, relay, the embedded runner, metrics, logs and the command line."""
