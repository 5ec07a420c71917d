package stack

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// CutOff tells by what packets from container networks to the outside are dropped: the interfaces of the default
// routes. It is an error when the first rules of DOCKER-USER do not drop what leaves through one of them: an
// address that is dead on purpose must be a black hole, never someone else's.
func CutOff(ctx context.Context) (interfaces []string, err error) {
	routes, err := output(ctx, "ip", "-4", "route", "show", "default")
	if err != nil {
		return nil, err
	}
	rules, err := output(ctx, "iptables", "-w", "-S", "DOCKER-USER")
	if err != nil {
		return nil, err
	}
	interfaces = defaultInterfaces(routes)
	dropped := droppedFirst(rules)
	for _, i := range interfaces {
		if !dropped[i] {
			return nil, fmt.Errorf("containers reach the outside through %s: DOCKER-USER begins with %q, accepted is -o %s -j DROP first", i, rules, i)
		}
	}
	if len(interfaces) == 0 {
		return nil, errors.New("no default route: nothing to be cut off from")
	}
	return interfaces, nil
}

// defaultInterfaces reads the output of ip route show default.
func defaultInterfaces(routes string) []string {
	var interfaces []string
	fields := strings.Fields(routes)
	for i, f := range fields {
		if f == "dev" && i+1 < len(fields) {
			interfaces = append(interfaces, fields[i+1])
		}
	}
	return interfaces
}

// droppedFirst reads the output of iptables -S: the interfaces of the drop rules before any other rule.
func droppedFirst(rules string) map[string]bool {
	dropped := map[string]bool{}
	for _, line := range strings.Split(rules, "\n") {
		f := strings.Fields(line)
		switch {
		case len(f) > 0 && f[0] == "-N":
		case len(f) == 6 && f[2] == "-o" && f[4] == "-j" && f[5] == "DROP":
			dropped[f[3]] = true
		default:
			return dropped
		}
	}
	return dropped
}
