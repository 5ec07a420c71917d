package front

import (
	"net/http"
)

// Fault is what goes wrong between an upstream and those who ask it.
type Fault string

// The faults that a Front knows.
const (
	None         Fault = "none"
	Refused      Fault = "refused"          // nobody listens, open connections are closed
	BlackHole    Fault = "black hole"       // packets vanish, also those of open connections
	ServerError  Fault = "500"              // every request is answered with it
	RateLimited  Fault = "429"              // every request, with Retry-After: 30
	Unauthorized Fault = "401"              // every request, with a Basic challenge
	Reset        Fault = "reset in mid-way" // the second half of content never comes, the connection is reset
	Slow         Fault = "1 KB/s"           // content comes at SlowRate
	WrongDigest  Fault = "wrong digest"     // content has the right length and one wrong byte
)

// Faults are all but None, in the order of reports.
var Faults = []Fault{Refused, BlackHole, ServerError, RateLimited, Unauthorized, Reset, Slow, WrongDigest}

// SlowRate is what Slow lets through for each answer, in bytes per second.
const SlowRate = 1024

// refuse answers for the faults that leave nothing to the registry, and tells whether it did.
func (f Fault) refuse(w http.ResponseWriter) bool {
	var status int
	var code string
	switch f {
	case ServerError:
		status, code = http.StatusInternalServerError, "UNKNOWN"
	case RateLimited:
		w.Header().Set("Retry-After", "30")
		status, code = http.StatusTooManyRequests, "TOOMANYREQUESTS"
	case Unauthorized:
		w.Header().Set("WWW-Authenticate", `Basic realm="upstream"`)
		status, code = http.StatusUnauthorized, "UNAUTHORIZED"
	default:
		return false
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(`{"errors":[{"code":"` + code + `","message":"told to by the test"}]}`))
	return true
}
