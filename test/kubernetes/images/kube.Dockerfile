# kube-apiserver, kube-controller-manager and kube-scheduler: one layer under three names.
FROM scratch
COPY files/ /usr/local/bin/
ENV PATH=/usr/local/bin
