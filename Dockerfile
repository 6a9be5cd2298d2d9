# The image of sockudo-queue: docker build -t sockudo-queue .
# BASE is a slim Debian or a derivative whose python3 is 3.11 or newer. Alpine will not do: pycurl and pydantic-core
# would have to be compiled there. BASE may end with a digest, which pins it; BASE_DIGEST writes that into a label:
#   --build-arg BASE=docker.io/library/debian:trixie-slim@sha256:… --build-arg BASE_DIGEST=sha256:…
ARG BASE=docker.io/library/debian:trixie-slim

FROM ${BASE} AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 python3-venv \
    && python3 -m venv /opt/pip \
    && python3 -m venv --without-pip /opt/sockudo-queue
WORKDIR /src
# Wheels alone, and only those whose hashes are written down: no compiler is needed, and none is installed.
COPY requirements/build.txt requirements/image.txt requirements/
RUN /opt/pip/bin/pip install --no-cache-dir --only-binary=:all: --require-hashes -r requirements/build.txt \
    && /opt/pip/bin/pip --python /opt/sockudo-queue/bin/python install --no-cache-dir --no-compile \
        --only-binary=:all: --require-hashes -r requirements/image.txt
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY sockudo_queue sockudo_queue
# Compiled here, since nothing can be written at run time. Hashes instead of times: the layers may be made anew.
RUN /opt/pip/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheel . \
    && /opt/pip/bin/pip --python /opt/sockudo-queue/bin/python install --no-cache-dir --no-compile --no-deps /wheel/*.whl \
    && /opt/sockudo-queue/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/sockudo-queue

FROM ${BASE}
# The authorities are for a Redis with TLS; endpoints are checked against those that come with the wheels.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3 \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt /var/cache/debconf/*-old /var/log/apt /var/log/dpkg.log
COPY --from=build /opt/sockudo-queue /opt/sockudo-queue
ENV PATH=/opt/sockudo-queue/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# The configuration is mounted as /etc/sockudo-queue/config.json or config/config.json, or QUEUE_CONFIG_FILE names it.
WORKDIR /etc/sockudo-queue
# Any other number will do too: nothing is written, and no name is looked up.
USER 65532:65532
EXPOSE 9602
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 CMD ["sockudo-queue", "health"]
ENTRYPOINT ["sockudo-queue"]
CMD ["run"]
# Last: they change with every commit, and what comes after them is made anew then.
ARG BASE
ARG BASE_DIGEST=unknown
ARG VERSION=unknown
ARG REVISION=unknown
ARG CREATED=unknown
ARG REPOSITORY=unknown
LABEL org.opencontainers.image.title="sockudo-queue" \
      org.opencontainers.image.description="Delivers the webhooks that a Sockudo server puts on a queue, and loses none." \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.source="${REPOSITORY}" \
      org.opencontainers.image.url="${REPOSITORY}" \
      org.opencontainers.image.documentation="${REPOSITORY}/tree/main/docs" \
      org.opencontainers.image.base.name="${BASE}" \
      org.opencontainers.image.base.digest="${BASE_DIGEST}"
