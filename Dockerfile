# One image for all rooms; the arguments choose the process:
#   docker run IMAGE producer_gateway run
#   docker run IMAGE consumer run
#   docker run IMAGE reconciler run
#   docker run IMAGE spend_guard run
# What people do by hand is the command `billing`: docker run --entrypoint billing IMAGE report
# A second target, `litellm`, is the LiteLLM proxy of the lock, for docker-compose.yml.

FROM python:3.11-slim-trixie AS base
ENV UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_PYTHON_DOWNLOADS=never
RUN pip install --no-cache-dir --disable-pip-version-check uv==0.13.9
WORKDIR /app
COPY pyproject.toml uv.lock ./

FROM base AS dependencies
RUN --mount=type=cache,target=/root/.cache/uv \
    uv sync --locked --no-default-groups --group tracing

FROM base AS litellm-dependencies
RUN --mount=type=cache,target=/root/.cache/uv \
    uv sync --locked --only-group litellm

FROM python:3.11-slim-trixie AS litellm
ENV PATH=/app/.venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp
COPY --from=litellm-dependencies /app/.venv /app/.venv
WORKDIR /app
USER 65532:65532
EXPOSE 4000
ENTRYPOINT ["litellm"]
CMD ["--config", "/app/config.yaml", "--port", "4000"]

# What every call passes through, compiled from the source that the image has: decision record 0034. This base is the
# same Python with a C compiler.
FROM python:3.11-trixie AS compiled
ENV UV_LINK_MODE=copy \
    UV_PYTHON_DOWNLOADS=never
RUN pip install --no-cache-dir --disable-pip-version-check uv==0.13.9
WORKDIR /app
COPY pyproject.toml uv.lock ./
RUN --mount=type=cache,target=/root/.cache/uv \
    uv sync --locked --no-default-groups --group compiler
COPY deploy/compile.py deploy/compile.py
COPY schemas schemas
COPY charging charging
RUN .venv/bin/python deploy/compile.py /compiled

# The last stage is what a plain `docker build .` makes.
FROM python:3.11-slim-trixie AS rooms
ARG VERSION=0.2.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="billing-stream" \
      org.opencontainers.image.description="LiteLLM generic_api callbacks to exact charge receipts: gateway and consumer" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# The rooms listen on loopback by default, which nobody outside a container can reach.
# Modules come from PYTHONPATH alone: whatever the working directory holds is not imported.
ENV PATH=/app/.venv/bin:/app:$PATH \
    PYTHONPATH=/app \
    PYTHONSAFEPATH=1 \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    GATEWAY_HOST=0.0.0.0 \
    GATEWAY_METRICS_HOST=0.0.0.0 \
    CONSUMER_METRICS_HOST=0.0.0.0 \
    RECONCILER_METRICS_HOST=0.0.0.0 \
    SPEND_GUARD_HOST=0.0.0.0 \
    SPEND_GUARD_METRICS_HOST=0.0.0.0
WORKDIR /app
COPY --from=dependencies /app/.venv .venv
COPY LICENSE billing ./
COPY schemas schemas
COPY runtime runtime
COPY charging charging
COPY ledger ledger
COPY producer_gateway producer_gateway
COPY consumer consumer
COPY operator_cli operator_cli
COPY reconciler reconciler
COPY spend_guard spend_guard
COPY --from=compiled /compiled ./
# The root file system may be read-only, so bytecode is written now or never. A new volume of Docker's takes its owner
# from the directory it is mounted on: that is the spool's, in the compose file.
RUN python -m compileall -q schemas runtime charging ledger producer_gateway consumer operator_cli reconciler spend_guard \
    && install --directory --owner=65532 --group=65532 --mode=0700 /var/lib/billing-spool
# Numeric, so that Kubernetes can see that it is not root; the files stay root's and unwritable.
USER 65532:65532
EXPOSE 8080 9090 9091 9095 8081 9096
ENTRYPOINT ["python", "-m"]
CMD ["producer_gateway", "--help"]
