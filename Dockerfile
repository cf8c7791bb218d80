# A BIDS app for CPUs. In the checkout:
#     docker build -t napari-pvs .
#     docker run --rm -v /data:/data:ro -v /out:/out napari-pvs /data /out participant
FROM python:3.11-slim-bookworm

WORKDIR /opt/napari-pvs
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src src
# PyTorch's own index has the build without CUDA
RUN pip install --no-cache-dir -c constraints.txt \
    --extra-index-url https://download.pytorch.org/whl/cpu ".[fast]" bids-validator-deno

# whoever runs it may have no home
ENV MPLCONFIGDIR=/tmp/matplotlib DENO_DIR=/tmp/deno
ENTRYPOINT ["napari-pvs", "run"]
