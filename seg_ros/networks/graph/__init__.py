"""The graph of a network: tracing, coupled channels, removing channels, cost."""
