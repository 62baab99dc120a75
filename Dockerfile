# The image of stripe-mongo-sync: Node, what was compiled, and the packages that it needs at run time. Another base, such as a pinned
# digest or a mirror's copy, by --build-arg BASE_IMAGE=registry.example.com/node:24-bookworm-slim@sha256:…
ARG BASE_IMAGE=node:24-bookworm-slim

# No package here is native, so what is built on one platform runs on all: the last stage only copies, and needs no emulator for arm64.
FROM --platform=$BUILDPLATFORM ${BASE_IMAGE} AS packages
WORKDIR /build
COPY package.json package-lock.json .npmrc ./
# Types, source maps and manuals are for those who compile against a package.
RUN npm ci --ignore-scripts --omit=dev \
 && find node_modules -type f ! -iname 'license*' \
      \( -name '*.d.ts' -o -name '*.d.mts' -o -name '*.d.cts' -o -name '*.map' -o -iname '*.md' -o -name '*.markdown' \) -delete

FROM --platform=$BUILDPLATFORM ${BASE_IMAGE} AS build
WORKDIR /build
COPY package.json package-lock.json .npmrc ./
RUN npm ci --ignore-scripts
COPY tsconfig.json tsconfig.build.json ./
COPY src src
RUN npx tsc -p tsconfig.build.json --declaration false --sourceMap false --inlineSources false

FROM ${BASE_IMAGE}
WORKDIR /app
COPY --from=packages /build/node_modules node_modules
COPY config config
COPY LICENSE package.json CHANGELOG.md ./
COPY image/healthcheck.js ./
COPY --from=build /build/dist dist

# Of a process that works in bounded buffers: measured in docs/deploy.md. Raise both where requests carry batches of megabytes.
ENV NODE_ENV=production \
    NODE_OPTIONS="--max-semi-space-size=2 --max-old-space-size=96" \
    HTTP_HOST=0.0.0.0

# A number, as Kubernetes proves runAsNonRoot by it. Nothing is written to disk: the root may be read-only.
USER 10001:10001
EXPOSE 9464
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=90s --retries=3 CMD ["node", "/app/healthcheck.js"]
ENTRYPOINT ["node", "/app/dist/main.js"]
CMD ["run"]

ARG VERSION=0.0.0-dev
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
ARG SOURCE=unknown
ARG BASE_IMAGE
LABEL org.opencontainers.image.title="stripe-mongo-sync" \
      org.opencontainers.image.description="Keeps a MongoDB mirror of a Stripe account's customers true" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.base.name="${BASE_IMAGE}"
