# syntax=docker/dockerfile:1
# Two stages: build with Rust and a C compiler (SQLite, ring and mimalloc are compiled in), run on
# glibc alone. Root certificates and time zones are in the binary, so the image needs no packages.
# Another base, such as a distroless `cc` image: --build-arg RUNTIME_IMAGE=…
ARG RUST_VERSION=1.95
ARG RUNTIME_IMAGE=debian:bookworm-slim

FROM rust:${RUST_VERSION}-slim-bookworm AS build
WORKDIR /src
COPY . .
# The caches live outside the image's layers: a rebuild compiles what has changed.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin tollgate \
    && install -D -m 0755 target/release/tollgate /out/usr/local/bin/tollgate \
    && install -d -m 0750 -o 65532 -g 65532 /out/var/lib/tollgate \
    && install -d -m 0755 /out/etc/tollgate

FROM ${RUNTIME_IMAGE}
COPY --from=build /out/ /
# A number, so that Kubernetes can see that it is not root (`runAsNonRoot`).
USER 65532:65532
# The ledger's place; mount a volume there.
WORKDIR /var/lib/tollgate
# 8080: the API. 9090: metrics, probes, dashboard. Health is asked for over HTTP on the admin
# listener (/livez, /readyz), so there is no HEALTHCHECK and no shell is needed.
EXPOSE 8080 9090
ENTRYPOINT ["tollgate"]
CMD ["serve"]
