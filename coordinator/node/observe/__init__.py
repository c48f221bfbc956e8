"""What the coordinator measures and shows: counts, throughput, the broker's figures."""
