# A stand-in for docker.io/prom/prometheus where nothing can be pulled: Debian's Prometheus, with the same entry point and user.
ARG BASE_IMAGE
FROM ${BASE_IMAGE}
COPY prometheus promtool /bin/
RUN install --directory --owner=65534 --group=65534 /prometheus && mkdir -p /etc/prometheus
USER 65534
ENTRYPOINT ["/bin/prometheus"]
