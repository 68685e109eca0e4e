"""Making networks smaller: pruning, quantisation, weight sharing, storage, and what they cost."""
