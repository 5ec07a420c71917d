# kube-proxy and what it calls: iptables with its plugins, nft, conntrack, and the libraries of all of these.
FROM capi-registry-cache/debian AS debian
RUN set -eu; \
    tools="/usr/sbin/xtables-nft-multi /usr/sbin/nft /usr/sbin/conntrack"; \
    plugins=$(echo /usr/lib/*/xtables/*.so); \
    libraries=$(ldd $tools $plugins | awk '$2 == "=>" { print $3 } $1 ~ /^\/.*ld-linux/ { print $1 }' | sort -u); \
    mkdir -p /out; \
    cp -L --parents $tools $plugins $libraries /out; \
    for name in iptables iptables-save iptables-restore ip6tables ip6tables-save ip6tables-restore; do \
        ln -s xtables-nft-multi "/out/usr/sbin/$name"; \
    done

FROM capi-registry-cache/kube
COPY --from=debian /out /
ENV PATH=/usr/local/bin:/usr/sbin
