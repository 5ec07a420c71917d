# The load balancer that CAPD puts before the API servers. CAPD names the program itself, writes the real configuration
# and sends SIGHUP; that configuration asks for more connections than a low limit on open files allows, hence the wrapper
# that is found first.
FROM capi-registry-cache/debian
RUN printf '#!/bin/sh\nexec /usr/sbin/haproxy -n 4000 "$@"\n' >/usr/local/sbin/haproxy && chmod 0755 /usr/local/sbin/haproxy
COPY files/ /usr/local/etc/haproxy/
ENTRYPOINT ["haproxy", "-W", "-db", "-f", "/usr/local/etc/haproxy/haproxy.cfg"]
