"""Publishing: Triton's repository API, versions by hand, and the side-car that trains and publishes."""
