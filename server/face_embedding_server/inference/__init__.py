"""From an aligned face to its embedding: models, engines, and who is when at them."""
