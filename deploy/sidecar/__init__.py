"""`recserve sidecar`: trains on each new dataset and publishes what is not worse."""
