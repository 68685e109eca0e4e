"""Making a trained network smaller: pruning, sparsity, and the chains that combine such steps."""
