FROM scratch
COPY files/ /
USER 65535:65535
ENTRYPOINT ["/pause"]
