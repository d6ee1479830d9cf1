# Stands in for nvcr.io/nvidia/tritonserver: the real server of the tool folder (2.51.0), where the official image has it.
ARG DEBIAN
FROM ${DEBIAN}
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 libpython3.11 \
    && rm -rf /var/lib/apt/lists/*
COPY pytriton/tritonserver /opt/tritonserver
# where the server's rpath, three folders up from bin and lib, looks
COPY nvidia_pytriton.libs /nvidia_pytriton.libs
