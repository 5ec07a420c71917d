package address_test

import (
	"net/netip"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/capi-registry-cache/capi-registry-cache/controllers/registrycache/address"
)

func TestNextTakesAddressesFromTheTopOfTheStaticBand(t *testing.T) {
	for name, tc := range map[string]struct {
		cidr string
		want []string
	}{
		"the default of kubeadm":             {"10.96.0.0/12", []string{"10.96.1.0", "10.96.0.255", "10.96.0.254"}},
		"a /16":                              {"10.128.0.0/16", []string{"10.128.1.0", "10.128.0.255"}},
		"a /20 is the first with 256":        {"10.96.0.0/20", []string{"10.96.1.0"}},
		"a /22 has 64":                       {"10.96.0.0/22", []string{"10.96.0.64", "10.96.0.63"}},
		"a /24 has 16 and skips cluster DNS": {"10.96.0.0/24", []string{"10.96.0.16", "10.96.0.15", "10.96.0.14", "10.96.0.13", "10.96.0.12", "10.96.0.11", "10.96.0.9"}},
		"a /28 ends before broadcast":        {"192.168.7.16/28", []string{"192.168.7.30", "192.168.7.29"}},
		"a /30 has one beside kubernetes":    {"10.0.0.0/30", []string{"10.0.0.2"}},
		"host bits are ignored":              {"10.96.0.77/24", []string{"10.96.0.16"}},
		"IPv6 /112":                          {"fd00:10:96::/112", []string{"fd00:10:96::100", "fd00:10:96::ff"}},
		"IPv6 /108":                          {"fd00:10:96::/108", []string{"fd00:10:96::100"}},
		"IPv6 /64":                           {"fd00:10:96:7::/64", []string{"fd00:10:96:7::100"}},
		"IPv6 /124 has a last address":       {"fd00::/124", []string{"fd00::f", "fd00::e", "fd00::d", "fd00::c", "fd00::b", "fd00::9"}},
		"the highest CIDR does not overflow": {"255.255.255.0/24", []string{"255.255.255.16"}},
		"the whole of IPv4":                  {"0.0.0.0/0", []string{"0.0.1.0"}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			band, err := address.Parse(tc.cidr)
			g.Expect(err).NotTo(HaveOccurred())
			used := map[netip.Addr]bool{}
			for _, want := range tc.want {
				got, err := band.Next(used)
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(got.String()).To(Equal(want))
				used[got] = true
			}
		})
	}
}

func TestNextSkipsUsedAddresses(t *testing.T) {
	g := NewWithT(t)
	band, err := address.Parse("10.96.0.0/12")
	g.Expect(err).NotTo(HaveOccurred())
	got, err := band.Next(map[netip.Addr]bool{netip.MustParseAddr("10.96.1.0"): true, netip.MustParseAddr("10.96.0.254"): true})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(got.String()).To(Equal("10.96.0.255"))
}

func TestNextSaysWhenTheBandIsExhausted(t *testing.T) {
	for name, cidr := range map[string]string{
		"one address":             "10.0.0.1/32",
		"no host":                 "10.0.0.0/31",
		"IPv6 of one address":     "fd00::/128",
		"IPv6 of kubernetes only": "fd00::/127",
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			band, err := address.Parse(cidr)
			g.Expect(err).NotTo(HaveOccurred())
			_, err = band.Next(nil)
			g.Expect(err).To(MatchError(address.ErrExhausted))
		})
	}
}

func TestParseNamesTheValueAndWhatIsAccepted(t *testing.T) {
	for name, cidr := range map[string]string{
		"no mask": "10.96.0.0", "empty": "", "a word": "services", "mask too long": "10.96.0.0/33",
		"IPv4 in IPv6": "::ffff:10.96.0.0/108", "a zone": "fe80::%eth0/64",
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			_, err := address.Parse(cidr)
			g.Expect(err).To(MatchError(And(ContainSubstring("%q", cidr), ContainSubstring("accepted are"), ContainSubstring("10.96.0.0/12"))))
		})
	}
}

// FuzzNext: whatever the CIDR, addresses are distinct, inside it, in the band, never the first nor the tenth,
// and the choice depends on its arguments only.
func FuzzNext(f *testing.F) {
	for _, seed := range []string{"10.96.0.0/12", "10.0.0.0/30", "fd00:10:96::/112", "::/0", "255.255.255.255/32", "x", "10.0.0.7/28"} {
		f.Add(seed, uint16(40))
	}
	f.Fuzz(func(t *testing.T, cidr string, count uint16) {
		band, err := address.Parse(cidr)
		if err != nil {
			return
		}
		prefix := netip.MustParsePrefix(cidr).Masked()
		first, tenth, top := place(prefix, 1), place(prefix, 10), place(prefix, 256)
		used := map[netip.Addr]bool{}
		for range min(count, 300) {
			addr, err := band.Next(used)
			if err != nil {
				return
			}
			again, _ := band.Next(used)
			if again != addr || used[addr] || !prefix.Contains(addr) || (top.IsValid() && top.Less(addr)) || addr == first || addr == tenth {
				t.Fatalf("%s: %s after %d addresses", cidr, addr, len(used))
			}
			used[addr] = true
		}
		if len(used) > 254 {
			t.Fatalf("%s: %d addresses", cidr, len(used))
		}
	})
}

// place is the address n places above the base, the zero address if there is none.
func place(prefix netip.Prefix, n int) netip.Addr {
	addr := prefix.Addr()
	for range n {
		addr = addr.Next()
	}
	return addr
}
