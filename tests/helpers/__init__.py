"""What tests share: waiting, processes, brokers, ways to them, coordinators, workers and clients."""
