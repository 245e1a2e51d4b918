# One image for the server and the workers: the compose file gives each its command.
FROM python:3.11-slim AS source

ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 HAYSTACK_TELEMETRY_ENABLED=False

WORKDIR /src
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY ragsaver ./ragsaver

# What docker-compose.test.yml runs; nobody else builds it.
FROM source AS tests

RUN pip install -e '.[cpu,dev]' && useradd --create-home --uid 10001 ragsaver
COPY docs ./docs
COPY tests ./tests
USER ragsaver

FROM source

RUN pip install '.[cpu,postgres,qdrant,workers]' && rm -rf /src

# Not root: what parses foreign documents gets no more rights than it needs.
RUN useradd --create-home --uid 10001 ragsaver \
    && mkdir -p /data /project \
    && chown ragsaver:ragsaver /data /project
USER ragsaver
WORKDIR /project
ENV RAGSAVER_HOME=/data
VOLUME /data
EXPOSE 8765
CMD ["ragsaver", "serve", "--host", "0.0.0.0"]
