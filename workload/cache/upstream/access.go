package upstream

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/capi-registry-cache/capi-registry-cache/workload/cache/report"
)

const (
	// accessPoll is how often files are looked at if nobody pulls, and how soon a check that is due is made.
	accessPoll = 5 * time.Second
	// accessRetry is how soon an upstream that could not be asked is asked again.
	accessRetry = 15 * time.Second
	// accessInterval is how long an answer counts. A token server that locks accounts sees little of a wrong password.
	accessInterval = 15 * time.Minute
)

// access is what is known of the credentials and certificates. The check of /v2/ decides. What requests tell meanwhile counts
// where the check finds nothing out, because the upstream answers /v2/ to everyone; otherwise a contradiction makes the check
// due, since a refusal may be about one repository only.
type access struct {
	mu         sync.Mutex
	generation uint64 // of the credentials that the rest is about
	checked    report.Access
	seen       report.Access
	due        bool
}

// renew forgets what is about other credentials.
func (a *access) renew(generation uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.renewLocked(generation)
}

func (a *access) renewLocked(generation uint64) {
	if a.generation != generation {
		a.generation, a.checked, a.seen, a.due = generation, report.Access{}, report.Access{}, true
	}
}

// recheck makes a check due, with all that is known kept until then.
func (a *access) recheck() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.due = true
}

// tell is for those who sent the credentials.
func (a *access) tell(generation uint64, what report.Access) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if generation < a.generation {
		return
	}
	a.renewLocked(generation)
	a.seen = what
	decided := a.checked.State == report.AccessAccepted || a.checked.State == report.AccessRejected
	a.due = a.due || decided && a.checked.State != what.State
}

// conclude takes the outcome of a check. One that found nothing out leaves what was known.
func (a *access) conclude(generation uint64, what report.Access) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if generation != a.generation {
		return
	}
	known := a.checked.State != "" && a.checked.State != report.AccessUnchecked
	if what.State == report.AccessUnchecked && known {
		return
	}
	a.checked = what
}

// told is what requests have told about the credentials.
func (a *access) told(generation uint64) report.Access {
	a.mu.Lock()
	defer a.mu.Unlock()
	if generation != a.generation {
		return report.Access{}
	}
	return a.seen
}

// current is what is known.
func (a *access) current() report.Access {
	a.mu.Lock()
	defer a.mu.Unlock()
	undecided := a.checked.State == report.AccessUnasked || a.checked.State == report.AccessUnchecked || a.checked.State == ""
	switch {
	case undecided && a.seen.State != "":
		return a.seen
	case a.checked.State == "":
		return report.Access{State: report.AccessUnchecked}
	default:
		return a.checked
	}
}

// takeDue tells whether a check is due now.
func (a *access) takeDue(last time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	interval := accessInterval
	if a.checked.State == "" || a.checked.State == report.AccessUnchecked || a.checked.State == report.AccessUntrusted {
		interval = accessRetry
	}
	due := a.due || time.Since(last) >= interval
	a.due = false
	return due
}

// Access is what became of the credentials and CA certificates, as CheckAccess and all requests found out.
func (c *Client) Access() report.Access {
	if !c.hasAccess() {
		return report.Access{State: report.AccessUnused}
	}
	return c.access.current()
}

func (c *Client) hasAccess() bool {
	return c.credentials.source != nil || c.options.CAFile != ""
}

// CheckAccess asks the upstream until ctx ends whether it takes the credentials, and whether it can be trusted: at once, when a
// file changes, when requests tell otherwise, and every 15 minutes. Without credentials and CA file it asks nothing.
func (c *Client) CheckAccess(ctx context.Context) {
	if !c.hasAccess() {
		return
	}
	ticker := time.NewTicker(accessPoll)
	defer ticker.Stop()
	var last time.Time
	for {
		who := c.credentials.current() // reads what has changed, and so makes a check due
		c.transports.get()
		if c.access.takeDue(last) {
			last = time.Now()
			before := c.access.current().State
			c.access.conclude(who.generation, c.checkAccess(ctx, who))
			c.logAccess(before)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// checkAccess asks for /v2/ with the credentials, and never without those that there are.
func (c *Client) checkAccess(ctx context.Context, who credentials) report.Access {
	if problem := c.unreadable(who); problem != "" {
		return report.Access{State: report.AccessUnreadable, Message: problem}
	}
	q, err := c.newQuestion(http.MethodGet, "/v2/", nil)
	if err == nil {
		err = c.Available()
	}
	if err != nil {
		return report.Access{State: report.AccessUnchecked}
	}
	response, err := c.askUpstream(ctx, q, who)
	c.settle(err)
	if err == nil {
		_ = response.Body.Close()
	}
	return c.judge(who, err)
}

// judge says what the answer to a check means.
func (c *Client) judge(who credentials, err error) report.Access {
	var e *Error
	errors.As(err, &e)
	seen := c.access.told(who.generation)
	switch {
	case e != nil && e.Kind == TLS:
		return report.Access{State: report.AccessUntrusted, Message: lasting(e.Error())}
	case seen.State == report.AccessWithheld:
		return seen
	case who.anonymous() && (err == nil || e != nil && e.Status > 0 && e.Status < http.StatusInternalServerError):
		return report.Access{State: report.AccessAccepted} // its certificate was
	case refused(err):
		return report.Access{State: report.AccessRejected, Message: e.Error()}
	case err != nil:
		return report.Access{State: report.AccessUnchecked}
	case seen.State == report.AccessAccepted:
		return seen
	default:
		return report.Access{State: report.AccessUnasked}
	}
}

// unreadable says what is wrong with files of which no good content was ever read.
func (c *Client) unreadable(who credentials) string {
	if c.credentials.source != nil && who.anonymous() {
		return c.credentials.complaint.text()
	}
	if c.options.CAFile != "" && !c.transports.trusts() {
		return c.transports.complaint.text()
	}
	return ""
}

func (c *Client) logAccess(before report.AccessState) {
	now := c.access.current()
	if now.State == before {
		return
	}
	line := logrus.WithFields(logrus.Fields{"upstream": c.host, "state": string(now.State)})
	if now.Message != "" {
		line = line.WithField("answer", now.Message)
	}
	switch now.State {
	case report.AccessAccepted, report.AccessUnasked, report.AccessUnchecked:
		line.Info("checked the credentials and certificates of the upstream")
	default:
		line.Warn("checked the credentials and certificates of the upstream")
	}
}

// tellToken records what the token server said to credentials.
func (c *Client) tellToken(who credentials, err error) {
	switch {
	case who.anonymous():
	case err == nil:
		c.access.tell(who.generation, report.Access{State: report.AccessAccepted})
	case refused(err):
		c.access.tell(who.generation, report.Access{State: report.AccessRejected, Message: err.Error()})
	}
}

// tellBasic records what the upstream said to credentials that were sent with the request. Any answer but 401 means that it knows
// them.
func (c *Client) tellBasic(who credentials, given grant, err error) {
	var e *Error
	errors.As(err, &e)
	switch {
	case who.anonymous() || !strings.HasPrefix(given.value, "Basic "):
	case err == nil || e != nil && e.Kind != Unauthorized && e.Status > 0 && e.Status < http.StatusInternalServerError:
		c.access.tell(who.generation, report.Access{State: report.AccessAccepted})
	case e != nil && e.Kind == Unauthorized:
		c.access.tell(who.generation, report.Access{State: report.AccessRejected, Message: e.Error()})
	}
}

// tellWithheld records that the token server is not one that may see the credentials.
func (c *Client) tellWithheld(who credentials, realm *url.URL) {
	c.access.tell(who.generation, report.Access{
		State:   report.AccessWithheld,
		Message: "the token server " + realm.Scheme + "://" + realm.Host + " is not under the domain of " + c.host,
	})
}

// lasting leaves out what changes from one failure to the next (the time at which a certificate was found to be expired), and the
// guess that crypto/x509 makes after it.
func lasting(text string) string {
	text, _, _ = strings.Cut(text, ": current time")
	text, _, _ = strings.Cut(text, " (possibly")
	return text
}
