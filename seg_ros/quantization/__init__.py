"""Lower precision: 8-bit layers, folded normalisation, shared weights."""
