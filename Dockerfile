# The manager, as one static binary. `make docker-build` compiles it first and gives this file and the binary as the
# whole context, so no base image has to be pulled and nothing else is sent.
FROM scratch
COPY manager /manager
USER 65532:65532
ENTRYPOINT ["/manager"]
