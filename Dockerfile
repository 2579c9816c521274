# The image of clarion-collector: one static binary and nothing else. No shell, no libc, no user database.
#
#   docker build -t clarion-collector:latest .
#   docker buildx build --platform linux/amd64,linux/arm64 -t clarion-collector:latest .
#
# The builder runs on the machine's own architecture and compiles for TARGETARCH. Without BuildKit both are empty, and
# the image is made for the machine that builds; on arm64 give --build-arg BUILDPLATFORM=linux/arm64 then. deploy/container/Dockerfile.prebuilt packs a binary that is
# there already; keep its last stage and this one's alike (tests/deploy/compose.sh compares them).
ARG RUST_VERSION=1.95.0
ARG DEBIAN_RELEASE=bookworm
ARG BUILDPLATFORM

FROM --platform=${BUILDPLATFORM:-linux/amd64} rust:${RUST_VERSION}-slim-${DEBIAN_RELEASE} AS builder
ARG TARGETARCH
WORKDIR /src

# C compilers for ring and zstd, the linker for the other architecture. The target is chosen once and kept in a file.
RUN set -eu; \
    case "${TARGETARCH:-$(dpkg --print-architecture)}" in \
        amd64) target=x86_64-unknown-linux-gnu; cross="gcc-x86-64-linux-gnu libc6-dev-amd64-cross" ;; \
        arm64) target=aarch64-unknown-linux-gnu; cross="gcc-aarch64-linux-gnu libc6-dev-arm64-cross" ;; \
        *) echo "no build for architecture ${TARGETARCH}: amd64 and arm64 are supported" >&2; exit 1 ;; \
    esac; \
    if [ "$target" = "$(rustc -vV | sed -n 's/^host: //p')" ]; then cross=; fi; \
    apt-get update; \
    # Names are those of the Debian release above; a version would be gone with its next point release.
    # The machine's own compiler as well: build scripts run here.
    apt-get install -y --no-install-recommends gcc libc6-dev $cross; \
    rm -rf /var/lib/apt/lists/*; \
    rustup target add "$target"; \
    echo "$target" > /target

ENV CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER=x86_64-linux-gnu-gcc \
    CC_x86_64_unknown_linux_gnu=x86_64-linux-gnu-gcc \
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
    CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc \
    CARGO_TERM_COLOR=never

COPY . .
# --target keeps crt-static away from build scripts, which must be able to load procedural macros.
RUN set -eu; \
    target=$(cat /target); \
    RUSTFLAGS="-C target-feature=+crt-static" cargo build --locked --release --target "$target"; \
    mkdir -p /image/usr/local/bin /image/var/lib/clarion-collector /image/run/clarion-collector/targets; \
    cp "target/$target/release/clarion-collector" /image/usr/local/bin/clarion-collector; \
    chmod 0755 /image/usr/local/bin/clarion-collector

FROM scratch
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="clarion-collector" \
      org.opencontainers.image.description="Receives NetFlow v5, v9 and IPFIX, and delivers every flow by HTTP, or says where it was lost" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=builder /image/usr/ /usr/
# Owned by the process: a new volume on them takes the owner over. Nothing else is ever written.
COPY --from=builder --chown=65532:65532 /image/var/lib/ /var/lib/
COPY --from=builder --chown=65532:65532 /image/run/ /run/
# A number, because there is no /etc/passwd, and because all who share a UDP port must be one user.
USER 65532:65532
ENV CLARION_COLLECTOR_DATA_DIR=/var/lib/clarion-collector
# Name of the instance, learned templates, spool: what must outlive a restart.
VOLUME ["/var/lib/clarion-collector"]
EXPOSE 2055/udp 4739/udp 8081/tcp
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=15s --retries=3 CMD ["/usr/local/bin/clarion-collector", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/clarion-collector"]
