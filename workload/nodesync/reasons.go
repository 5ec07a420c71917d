package main

import (
	"strings"
)

// cannotWrite stands in the reason of an upstream whose files cannot be written.
const cannotWrite = "cannot write to"

// reasonOther is the code of what none of reasonCodes is.
const reasonOther = "other"

// reasonCodes are what stands in the reasons that the unit gives (configure-containerd-registries.sh), and the codes that metrics have for
// them. The first that fits counts.
var reasonCodes = []struct{ text, code string }{
	{"does not answer", "cache_not_answering"},
	{cannotWrite, "write_failed"},
	{"is not ours", "foreign_file"},
	{"containerd was not found", "containerd_not_found"},
	{"containerd does not read", "containerd_config_unreadable"},
	{"exclude config_path", "containerd_registry_mirrors"},
	{"containers run", "containers_running"},
	{"would no longer read", "containerd_other_directory"},
	{"could not be set", "containerd_config_not_set"},
	{"config_path of containerd is", "containerd_config_path"},
	{"curl was not found", "curl_not_found"},
}

// nodeReasons are the codes of what concerns a whole node.
var nodeReasons = map[string]string{
	ReasonNoSystemd: "no_systemd", ReasonWriteFailed: "write_failed", ReasonPending: "pending",
}

// reasonCode is the code of a reason that the unit gives.
func reasonCode(why string) string {
	for _, r := range reasonCodes {
		if strings.Contains(why, r.text) {
			return r.code
		}
	}
	return reasonOther
}
