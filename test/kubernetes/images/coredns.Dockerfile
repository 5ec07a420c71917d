FROM scratch
COPY files/ /
ENTRYPOINT ["/coredns"]
