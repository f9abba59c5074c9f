"""What compressed networks cost, in bits."""
