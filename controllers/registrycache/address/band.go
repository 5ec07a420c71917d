package address

import (
	"errors"
	"fmt"
	"net/netip"
)

const (
	// minOffset, maxOffset and step are those of Kubernetes: offset = min(max(16, size/16), 256).
	minOffset = 16
	maxOffset = 256
	step      = 16

	// kubernetesService and dnsService are the places in the CIDR that clusters use themselves.
	kubernetesService = 1
	dnsService        = 10

	// manyBits is a number of host bits from which on size/16 is not below maxOffset.
	manyBits = 12
)

// ErrExhausted says that a Band holds no address that is not used.
var ErrExhausted = errors.New("no address is left for static allocation")

// Band is the part of a Service CIDR that Kubernetes keeps for static allocation.
type Band struct {
	prefix netip.Prefix
	// top is the distance of the highest address of the band from the base of the CIDR; 0: the band is empty.
	top int
}

// Parse returns the Band of a Service CIDR, such as 10.96.0.0/12 or fd00:10:96::/112. Host bits may be set.
// The error names the value and what is accepted; the caller knows the field.
func Parse(cidr string) (Band, error) {
	prefix, err := netip.ParsePrefix(cidr)
	if err != nil || prefix.Addr().Is4In6() {
		return Band{}, fmt.Errorf("%q is not a CIDR; accepted are IPv4 and IPv6 CIDRs such as 10.96.0.0/12 or fd00:10:96::/112", cidr)
	}
	prefix = prefix.Masked()
	return Band{prefix: prefix, top: top(prefix)}, nil
}

// top is the offset of Kubernetes, or the last usable address of a CIDR that is smaller than that. IPv4 has no
// use for its last address, the broadcast address.
func top(prefix netip.Prefix) int {
	hostBits := prefix.Addr().BitLen() - prefix.Bits()
	if hostBits >= manyBits {
		return maxOffset
	}
	size := 1 << hostBits
	last := size - 1
	if prefix.Addr().Is4() {
		last--
	}
	return max(0, min(last, max(minOffset, size/step)))
}

// CIDR is the Service CIDR that the Band is part of, without host bits.
func (b Band) CIDR() netip.Prefix { return b.prefix }

// Next returns the highest address of the Band that is not used, or an error that wraps ErrExhausted.
func (b Band) Next(used map[netip.Addr]bool) (netip.Addr, error) {
	for place := b.top; place > kubernetesService; place-- {
		if place == dnsService {
			continue
		}
		if addr := add(b.prefix.Addr(), place); !used[addr] {
			return addr, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("%w in %s; accepted are fewer caches or a Service CIDR that is not smaller than /24 (IPv6: /120)", ErrExhausted, b.prefix)
}

// add returns the address n places above base. The base of a CIDR has zeroes where n, at most 256, has bits, so
// a carry never leaves the CIDR.
func add(base netip.Addr, n int) netip.Addr {
	raw := base.AsSlice()
	for i := len(raw) - 1; i >= 0 && n > 0; i-- {
		n += int(raw[i])
		raw[i] = byte(n)
		n >>= 8
	}
	addr, _ := netip.AddrFromSlice(raw)
	return addr
}
