FROM scratch
COPY files/ /usr/local/bin/
ENV PATH=/usr/local/bin
