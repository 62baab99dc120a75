# The image of stripe-mongo-sync: Node, what was compiled, and the packages that it needs at run time. Another base, such as a pinned
# digest or a mirror's copy, by --build-arg BASE_IMAGE=registry.example.com/node:24-bookworm-slim@sha256:…
ARG BASE_IMAGE=node:24-bookworm-slim
# BuildKit sets it. Builders that do not know it take "linux" for their own platform.
ARG BUILDPLATFORM=${BUILDPLATFORM:-linux}

# No package here is native, so what is built on one platform runs on all: the last stage only copies, and needs no emulator for arm64.
FROM --platform=$BUILDPLATFORM ${BASE_IMAGE} AS packages
WORKDIR /build
COPY package.json package-lock.json .npmrc ./
# npm takes a lock file only with the manifests of all workspaces.
COPY simulator/package.json simulator/
RUN npm ci --ignore-scripts

FROM packages AS build
COPY tsconfig.json tsconfig.build.json ./
COPY src src
RUN npx tsc -p tsconfig.build.json --declaration false --sourceMap false --inlineSources false --outDir /app/dist
WORKDIR /app
COPY package.json LICENSE CHANGELOG.md image/healthcheck.js ./
COPY config/default.yaml config/
# Any user may run it and none may change it, whatever the umask that the checkout was made under.
RUN chmod -R a+rX,go-w .

FROM packages AS production
# Without `optional`, types that are a development dependency as well as somebody's optional peer would stay. Sources, types, source maps
# and manuals are for those who compile against a package, or debug it.
# The link to the simulator, a workspace, would lead nowhere.
RUN npm prune --ignore-scripts --omit=dev --omit=optional \
 && rm -f node_modules/stripe-simulator \
 && find node_modules -type f ! -iname 'license*' ! -iname 'notice*' \
      \( -name '*.ts' -o -name '*.mts' -o -name '*.cts' -o -name '*.map' -o -iname '*.md' -o -name '*.markdown' \) -delete \
 && chmod -R a+rX,go-w node_modules

FROM ${BASE_IMAGE}
WORKDIR /app
COPY --from=production /build/node_modules node_modules
COPY --from=build /app ./

# Of a process that works in bounded buffers: measured in docs/deploy.md. Raise both where requests carry batches of megabytes.
ENV NODE_ENV=production \
    NODE_OPTIONS="--max-semi-space-size=8 --max-old-space-size=96" \
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
