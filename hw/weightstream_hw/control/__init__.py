"""What runs a network: descriptors, configuration, rounds."""
