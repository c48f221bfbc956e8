# One image for `coordinator` and `worker-stub`.
#
# pip uses the configuration that the base image has. Where it needs more (a mirror, a certificate), give it a file:
#   docker build --secret id=pip.conf,src=pip.conf .

FROM python:3.13-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore \
    PIP_CACHE_DIR=/var/cache/pip PIP_CONFIG_FILE=/run/secrets/pip.conf
WORKDIR /build
# The environment has no pip of its own: the one beside it installs into it, and stays behind with this stage.
RUN python -m venv --without-pip /opt/coordinator
COPY requirements/runtime.txt requirements/build.txt requirements/
RUN --mount=type=cache,target=/var/cache/pip --mount=type=secret,id=pip.conf \
    pip --python /opt/coordinator/bin/python install --require-hashes --only-binary :all: -r requirements/runtime.txt \
    && pip install --require-hashes --only-binary :all: -r requirements/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY coordinator coordinator
COPY worker_stub worker_stub
# Without isolation, else pip would download a builder that nobody has pinned.
RUN pip wheel --no-index --no-deps --no-build-isolation --wheel-dir dist . \
    && pip --python /opt/coordinator/bin/python install --no-index --no-deps dist/*.whl

FROM python:3.13-slim
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Batch coordinator" \
      org.opencontainers.image.description="A batch coordinator for crawlers on RabbitMQ, and its reference worker" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version=$VERSION \
      org.opencontainers.image.revision=$REVISION
# By hand, for a base as small as this need not have useradd.
RUN echo 'coordinator:x:10001:' >>/etc/group \
    && echo 'coordinator:x:10001:10001::/var/lib/coordinator:/usr/sbin/nologin' >>/etc/passwd \
    && install --directory --owner=10001 --group=10001 --mode=0700 /var/lib/coordinator \
    && install --directory --owner=10001 --group=10001 --mode=0755 /run/coordinator
COPY --from=build /opt/coordinator /opt/coordinator
ENV PATH=/opt/coordinator/bin:$PATH COORDINATOR_HOME=/var/lib/coordinator WORKER_ALIVE_FILE=/tmp/worker-alive
WORKDIR /var/lib/coordinator
# By number, so that an orchestrator can tell that it is not root.
USER 10001:10001
EXPOSE 8787
# Of the coordinator, where one runs, else of the worker.
HEALTHCHECK --interval=10s --timeout=10s --retries=3 --start-period=1m --start-interval=1s \
    CMD ["python", "-m", "coordinator.healthcheck"]
CMD ["coordinator", "--help"]
