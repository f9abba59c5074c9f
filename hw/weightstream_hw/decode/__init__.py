"""From memory words to symbols: stream fetch, queues, keys, lanes."""
