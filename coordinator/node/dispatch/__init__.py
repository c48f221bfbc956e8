"""From a seed's queue to the next batch: consumers, turns and plans."""
