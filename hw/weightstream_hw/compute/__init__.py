"""From symbols to outputs: products, sums, requantisation."""
