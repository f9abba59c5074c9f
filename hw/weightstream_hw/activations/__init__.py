"""The activation memory, and what brings its columns to the lanes."""
